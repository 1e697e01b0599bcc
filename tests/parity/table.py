"""The architectures that are exported, each beside its reference: the rows of the README's parity table.

    uv run --extra dev --extra export python tests/parity/table.py

exports a tiny model of every architecture, compares it with the reference, prints the table and writes it
into the README. ``test_export_parity`` holds every row, ``test_families`` the README. The models have random
weights: what is compared is the path from text to logit, which is the same for the trained checkpoints of an
architecture.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

# Run as a program, it finds the modules of tests/support as pytest does.
sys.path.append(str(Path(__file__).parents[1] / "support"))

import tiny_torch
import torch
from optimum.exporters.onnx import main_export
from references import (
    DECODER_WINDOW,
    flagembedding_logits,
    mxbai_logits,
    pygaggle_logits,
    qwen3_logits,
    sentence_transformers_logits,
)

from es_rerank.export import ExportOptions, export_model
from es_rerank.export.passes import run_passes
from es_rerank.models.load import load_reranker
from es_rerank.models.manifest import write_manifest
from es_rerank.models.parity_pairs import PARITY_PAIRS, PARITY_PASSAGES, PARITY_QUERIES
from es_rerank.models.ready_made.importing import import_model
from es_rerank.types import FloatArray

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- parity: begin -->\n", "<!-- parity: end -->\n"
TOLERANCE = 1e-4
_COLUMNS = (
    "architecture",
    "family",
    "for example",
    "beside",
    "head",
    "pairs",
    "tolerance",
    "largest difference",
    "lists in the same order",
)


def our_logits(folder: Path) -> FloatArray:
    """What an exported folder says of every pair, float32, (n_pairs,)."""
    with load_reranker(folder, variant="fp32") as model:
        return np.concatenate([model.score(query, PARITY_PASSAGES).values for query in PARITY_QUERIES])


SENTENCE_TRANSFORMERS = ("sentence-transformers `CrossEncoder.predict`", sentence_transformers_logits)
FLAGEMBEDDING = ("FlagEmbedding's tokenisation, torch", flagembedding_logits)
PYGAGGLE = ("pygaggle's prompt and step, torch", pygaggle_logits)
QWEN3 = ("the model card's prompt and formula, torch", qwen3_logits)
MXBAI = ("mxbai-rerank's prompt and formula, torch", mxbai_logits)
DECODER = ExportOptions(kind="decoder", max_length=DECODER_WINDOW)
MONOT5 = ExportOptions(kind="monot5", truncation="prompt")
"""Cut as pygaggle cuts, so that over-long pairs can be compared too."""


@dataclass(frozen=True)
class Case:
    """One row: a tiny model, its reference, and how it is exported.
    ``examples`` are checkpoints of the Hub that are built so. ``ready_made``: the graph is optimum's,
    and it is imported.
    """

    architecture: str
    make: Callable[[Path], Path]
    family: str
    examples: str
    beside: tuple[str, Callable[[Path], FloatArray]] = SENTENCE_TRANSFORMERS
    head: str = "1 label"
    options: ExportOptions = field(default_factory=ExportOptions)
    ready_made: bool = False

    def __str__(self) -> str:
        return f"{self.architecture} as {self.family}, {self.head}"

    def row(self, bound: str) -> tuple[str, ...]:
        """Return the cells, given the largest difference in words."""
        lists = f"{len(PARITY_QUERIES)} of {len(PARITY_QUERIES)}"
        tolerance = f"{TOLERANCE:.0e}".replace("e-0", "e-")
        return (
            self.architecture,
            f"`{self.family}`",
            self.examples,
            self.beside[0],
            self.head,
            str(len(PARITY_PAIRS)),
            tolerance,
            bound,
            lists,
        )


CASES: tuple[Case, ...] = (
    Case("BERT", tiny_torch.bert, "bert", "`cross-encoder/ms-marco-MiniLM-L6-v2`"),
    Case(
        "BERT",
        lambda folder: tiny_torch.bert(folder, labels=2),
        "bert",
        "`castorini/monobert-large-msmarco`",
        head="2 labels",
    ),
    Case(
        "XLM-RoBERTa", tiny_torch.xlm_roberta, "xlm-roberta", "`cross-encoder/mmarco-mMiniLMv2-L12-H384-v1`"
    ),
    Case(
        "XLM-RoBERTa",
        lambda folder: tiny_torch.xlm_roberta(folder, labels=2),
        "xlm-roberta",
        "",
        head="2 labels",
    ),
    Case(
        "XLM-RoBERTa",
        tiny_torch.xlm_roberta,
        "bge",
        "`BAAI/bge-reranker-base`, `-large`, `-v2-m3`",
        FLAGEMBEDDING,
        options=ExportOptions(family="bge"),
    ),
    Case("DeBERTa-v2", tiny_torch.deberta, "deberta-v2", "`mixedbread-ai/mxbai-rerank-base-v1`"),
    Case(
        "DeBERTa-v2 kept in float16",
        lambda folder: tiny_torch.deberta(folder, dtype=torch.float16),
        "deberta-v2",
        "`mixedbread-ai/mxbai-rerank-large-v1`",
    ),
    Case("ModernBERT", tiny_torch.modernbert, "modernbert", "`Alibaba-NLP/gte-reranker-modernbert-base`"),
    Case(
        "RoBERTa",
        tiny_torch.roberta,
        "roberta",
        "`cross-encoder/stsb-roberta-base`, `stsb-distilroberta-base`",
    ),
    Case("CamemBERT", tiny_torch.camembert, "roberta", "`antoinelouis/crossencoder-camembert-base-mmarcoFR`"),
    Case("ELECTRA", tiny_torch.electra, "electra", "`cross-encoder/ms-marco-electra-base`"),
    Case("DistilBERT", tiny_torch.distilbert, "distilbert", ""),
    Case("ALBERT", tiny_torch.albert, "albert", ""),
    Case(
        "ModernBERT, head of modules",
        tiny_torch.modular,
        "modernbert",
        "`cross-encoder/ettin-reranker-17m-v1` to `-1b-v1`",
    ),
    Case(
        "T5",
        tiny_torch.t5,
        "monot5",
        "`castorini/monot5-base-msmarco`",
        PYGAGGLE,
        "2 tokens",
        replace(MONOT5, int8=False),
    ),
    Case(
        "T5 1.1",
        lambda folder: tiny_torch.t5(folder, tied=False, gated=True),
        "monot5",
        "",
        PYGAGGLE,
        "2 tokens",
        MONOT5,
    ),
    Case("mT5", tiny_torch.mt5, "monot5", "", PYGAGGLE, "2 tokens", MONOT5),
    Case(
        "Qwen3, decoder",
        tiny_torch.qwen3,
        "qwen3-reranker",
        "`Qwen/Qwen3-Reranker-0.6B`",
        QWEN3,
        "2 tokens",
        DECODER,
    ),
    Case(
        "Qwen2, decoder",
        tiny_torch.qwen2,
        "mxbai-rerank-v2",
        "`mixedbread-ai/mxbai-rerank-base-v2`, `-large-v2`",
        MXBAI,
        "2 tokens",
        DECODER,
    ),
)


class Compared(NamedTuple):
    """Logits of both sides, float32, (n_pairs,)."""

    ours: FloatArray
    theirs: FloatArray

    @property
    def difference(self) -> float:
        """The largest absolute difference of two logits."""
        return float(np.abs(self.ours - self.theirs).max())

    @property
    def same_order(self) -> int:
        """How many lists, one per query, come in the very same order;
        ties keep the order of the passages on both sides.
        """
        ours, theirs = (
            np.argsort(-values.reshape(len(PARITY_QUERIES), len(PARITY_PASSAGES)), axis=1, kind="stable")
            for values in self
        )
        return int((ours == theirs).all(axis=1).sum())


IMPORTED: tuple[Case, ...] = (
    Case(
        "BERT, ready-made ONNX", tiny_torch.bert, "bert", "`Xenova/ms-marco-MiniLM-L-6-v2`", ready_made=True
    ),
    Case(
        "XLM-RoBERTa, ready-made ONNX",
        tiny_torch.xlm_roberta,
        "xlm-roberta",
        "`Xenova/bge-reranker-base`",
        ready_made=True,
    ),
)
"""The rows whose graphs are as optimum writes them; ``test_import_parity`` holds them."""


class Exported(NamedTuple):
    """A torch folder, and what was made of it: fp32 is its default,
    and int8 beside it where that is exported.
    """

    source: Path
    folder: Path


def write_ready_made(source: Path) -> None:
    """Write ``onnx/model.onnx`` beside the torch weights of a folder, as optimum does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about its own exporter
        main_export(
            str(source),
            str(source / "onnx"),
            task="text-classification",
            library_name="transformers",
            device="cpu",
            dtype="fp32",
            do_validation=False,
        )


@cache
def exported(case: Case, root: Path) -> Exported:
    """Return the folders of a case, exported under ``root`` at the first call."""
    home = root / re.sub(r"\W+", "-", str(case)).lower()
    both = Exported(case.make(home / "source"), home / "out")
    if case.ready_made:
        write_ready_made(both.source)
        import_model(str(both.source), both.folder, rewrite=run_passes)
        return both
    manifest = export_model(str(both.source), both.folder, case.options)
    write_manifest(both.folder, manifest.model_copy(update={"default_variant": "fp32"}))
    return both


@cache
def compared(case: Case, root: Path) -> Compared:
    """Return what both sides say of every pair."""
    both = exported(case, root)
    return Compared(our_logits(both.folder), case.beside[1](both.source))


def bound(difference: float) -> str:
    """Return a power of ten at least three times the difference,
    so that the words are the same on every machine.
    """
    return f"under 1e{math.ceil(math.log10(max(3 * difference, 1e-9)))}"


def table(bounds: Mapping[Case, str]) -> str:
    """Return the table as Markdown."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(case.row(bounds[case]) for case in (*CASES, *IMPORTED))]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def stated(readme: str) -> str:
    """Return what a README has between its markers."""
    return readme.split(BEGIN)[1].split(END, maxsplit=1)[0]


def main() -> None:
    """Measure, print and write."""
    with tempfile.TemporaryDirectory() as scratch:
        measured = {case: compared(case, Path(scratch)) for case in (*CASES, *IMPORTED)}
    shown = Table(
        "architecture and family",
        "reference",
        "largest difference",
        "lists in the same order",
        title="exports beside their references",
    )
    for case, each in measured.items():
        if each.difference > TOLERANCE or each.same_order < len(PARITY_QUERIES):
            sys.exit(
                f"{case} differs by {each.difference:.1e} and keeps {each.same_order} of "
                f"{len(PARITY_QUERIES)} lists in order: nothing was written"
            )
        shown.add_row(
            str(case), case.beside[0], f"{each.difference:.1e}", f"{each.same_order} of {len(PARITY_QUERIES)}"
        )
    Console().print(shown)
    text = README.read_text(encoding="utf-8")
    block = table({case: bound(each.difference) for case, each in measured.items()})
    README.write_text(text.replace(f"{BEGIN}{stated(text)}{END}", f"{BEGIN}{block}{END}"), encoding="utf-8")


if __name__ == "__main__":
    main()
