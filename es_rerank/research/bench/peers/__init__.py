"""The peers that the bench measures: their versions, their packages, and the ways in which they are run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ....models.manifest import Precision
from ....types import Scale

Weights = Literal["ours", "torch", "optimum", "flat", "flat int8"]
"""The folder that a system reads.

``ours`` is this project's export, ``torch`` the torch folder, ``optimum`` the export of
sentence-transformers. ``flat`` and ``flat int8`` are this project's graph without graph passes, in fp32 or
int8, next to the torch folder's configuration. FlashRank, fastembed and infinity read this layout.
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A package that is installed in its own environment. ``requirement`` is its name with the extras that it
    needs.
    """

    name: str
    version: str
    requirement: str

    @property
    def pinned(self) -> str:
        """The requirement with its exact version, as it is installed."""
        return f"{self.requirement}=={self.version}"


@dataclass(frozen=True, slots=True)
class System:
    """One way of scoring pairs.

    ``peer`` is None for this project itself. ``worker`` is the system's name in ``worker.py``. ``scale`` is
    the scale of its scores. ``batches`` says whether the caller chooses a batch size. ``remembers`` says that
    every timed list was scored before and comes from the cache; its speed is not plotted.
    """

    name: str
    precision: Precision
    peer: str | None
    worker: str
    weights: Weights
    scale: Scale = "logit"
    batches: bool = True
    remembers: bool = False


PEERS = (
    # 6.2.0 needs transformers 5, but its ONNX backend (optimum-onnx 0.1.0) needs transformers below 4.58.
    # 5.7.0 is the newest version whose extra can be installed.
    Peer("sentence-transformers", "5.7.0", "sentence-transformers[onnx]"),
    Peer("flashrank", "0.2.10", "flashrank"),
    Peer("fastembed", "0.9.1", "fastembed"),
    Peer("infinity-emb", "0.0.78", "infinity-emb[torch,optimum]"),
    Peer("rerankers", "0.10.0", "rerankers[transformers]"),
)

SYSTEMS = (
    System("es-rerank", "fp32", None, "es-rerank-fp32", "ours", batches=False),
    System("es-rerank", "int8", None, "es-rerank-int8", "ours", batches=False),
    System("es-rerank, asked again", "int8", None, "es-rerank-again", "ours", batches=False, remembers=True),
    System(
        "sentence-transformers torch", "fp32", "sentence-transformers", "sentence-transformers-torch", "torch"
    ),
    System(
        "sentence-transformers ONNX", "fp32", "sentence-transformers", "sentence-transformers-onnx", "optimum"
    ),
    System(
        "sentence-transformers ONNX", "int8", "sentence-transformers", "sentence-transformers-int8", "optimum"
    ),
    System("infinity torch", "fp32", "infinity-emb", "infinity-torch", "torch"),
    # Does not pass token types (0.0.78, transformer/crossencoder/optimum.py); correct only for models without
    # them.
    System("infinity optimum", "fp32", "infinity-emb", "infinity-optimum", "flat"),
    System("rerankers torch", "fp32", "rerankers", "rerankers", "torch"),
    System("fastembed", "fp32", "fastembed", "fastembed", "flat"),
    System("fastembed, our int8", "int8", "fastembed", "fastembed", "flat int8"),
    System("FlashRank", "fp32", "flashrank", "flashrank", "flat", scale="probability"),
    System("FlashRank, our int8", "int8", "flashrank", "flashrank", "flat int8", scale="probability"),
)
"""The systems that are measured.

FlashRank and fastembed do not quantize; their authors give them int8 graphs. So they get the weights as this
project quantizes them, which runs faster than the quantization of sentence-transformers. They do not get this
project's graph passes: they make padded batches, and a graph without a mask cannot read these.
"""

REFERENCE = System("torch", "fp32", None, "torch", "torch")
"""transformers' own classes, one pair at a time. Every system's scores are compared with it; it is not timed.
"""

MODULAR_REFERENCE = replace(REFERENCE, worker="sentence-transformers-torch")
"""The same for a head of modules, which only sentence-transformers knows; its batch is one pair."""

EXPORT = System(
    "sentence-transformers export", "fp32", "sentence-transformers", "sentence-transformers-export", "torch"
)
"""Makes the folder ``optimum``: the graph and its int8 variant, as sentence-transformers exports them."""
