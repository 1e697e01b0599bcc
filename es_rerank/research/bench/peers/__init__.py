"""The peers that the bench measures: which versions, what is installed for them, and which ways of theirs are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....models.manifest import Precision

Scale = Literal["logit", "probability"]
Weights = Literal["ours", "torch", "optimum", "flat", "flat int8"]
"""Which folder a system reads: our export; the torch folder; what sentence-transformers exports from it; the plain graph in
fp32 or in our int8, without our passes, with the torch folder's configuration beside it, in the flat layout of FlashRank,
fastembed and infinity."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A package that is installed in an environment of its own. ``requirement`` names it with the extras that it needs."""

    name: str
    version: str
    requirement: str

    @property
    def pinned(self) -> str:
        """What is installed."""
        return f"{self.requirement}=={self.version}"


@dataclass(frozen=True, slots=True)
class System:
    """One way of scoring pairs. ``peer`` None: this project itself. ``scale`` is that of its scores.

    ``worker`` is its name in ``worker.py``; ``batches``: whether a batch size is the caller's choice. ``exit_layer``: where
    all passages but a ``share`` stop, by the exit head there. ``remembers``: every list that is
    timed was scored before, and its speed is drawn in no picture.
    """

    name: str
    precision: Precision
    peer: str | None
    worker: str
    weights: Weights
    scale: Scale = "logit"
    batches: bool = True
    exit_layer: int | None = None
    share: float | None = None
    remembers: bool = False


PEERS = (
    # 6.2.0 needs transformers 5, its ONNX backend (optimum-onnx 0.1.0) transformers below 4.58: 5.7.0 is the newest
    # whose extra can be installed.
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
    # Leaves token types out (0.0.78, transformer/crossencoder/optimum.py): right for models without them.
    System("infinity optimum", "fp32", "infinity-emb", "infinity-optimum", "flat"),
    System("rerankers torch", "fp32", "rerankers", "rerankers", "torch"),
    System("fastembed", "fp32", "fastembed", "fastembed", "flat"),
    System("fastembed, our int8", "int8", "fastembed", "fastembed", "flat int8"),
    System("FlashRank", "fp32", "flashrank", "flashrank", "flat", scale="probability"),
    System("FlashRank, our int8", "int8", "flashrank", "flashrank", "flat int8", scale="probability"),
)
"""The systems that are measured. FlashRank and fastembed make no int8 graph themselves but are given such graphs by their
authors: so they get the weights as we quantise them, which is faster than as sentence-transformers does. Our graph passes
they do not get: a graph without a mask cannot read the padded batches that they make."""

SHARES = (0.3, 0.5)
"""Shares of the candidates that are read beyond an exit."""


def early_exit_system(layer: int, share: float) -> System:
    """Return the model that stops early on a layer, but for a share of the candidates."""
    return System(
        f"es-rerank, exit {layer} for {1 - share:.0%}",
        "int8",
        None,
        "es-rerank-exit",
        "ours",
        batches=False,
        exit_layer=layer,
        share=share,
    )


REFERENCE = System("torch", "fp32", None, "torch", "torch")
"""transformers' own classes, one pair at a time: what every system's scores are compared with; not timed."""

EXPORT = System(
    "sentence-transformers export", "fp32", "sentence-transformers", "sentence-transformers-export", "torch"
)
"""Makes the folder ``optimum``: the graph and its int8 variant, as sentence-transformers itself exports them."""
