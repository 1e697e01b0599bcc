"""What ``cost`` times: passages of exact lengths, in every precision, with rising numbers of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Self

from ...models import LoadedEmbedder
from ...models.load import model_folder
from ...models.local.bi_encoder import BiEncoder
from ...models.local.cross_encoder import CrossEncoder
from ...models.manifest import Manifest, Precision
from ...settings import BUNDLED_EMBEDDER
from .cost import (
    EMBEDDED,
    LINE_TOKENS,
    THREADS_CANDIDATES,
    TOKENS,
    Budget,
    Cell,
    Speed,
    passages_of_length,
    thread_counts,
    timed,
)
from .cost_report import CostReport

CutPassages = Callable[[int], list[str]]
"""A function that takes a number of tokens and returns passages of that length, as many as the largest
window."""

ShowSteps = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
"""A function that takes what is done and in how many steps; its block gives a function that takes the name of
each step.
"""


class CostTexts:
    """The texts that passages are cut from, and the query that every passage is paired with."""

    def __init__(self, texts: Sequence[str], query: str) -> None:
        self.query, self._texts = query, texts

    def beside_query(self, model: CrossEncoder) -> CutPassages:
        """Return a function that gives passages. Query and passage together have the tokens asked for."""
        tokenizer = model.tokenizer
        return self._cut(model, lambda passage: len(tokenizer.encode(self.query, passage).ids))

    def for_embedder(self, model: LoadedEmbedder, prefix: str) -> CutPassages:
        """Return a function that gives passages. Prefix and passage together have the tokens asked for."""
        tokenizer = model.tokenizer
        return self._cut(model, lambda passage: len(tokenizer.encode(prefix + passage).ids))

    def _cut(self, model: CrossEncoder | LoadedEmbedder, length: Callable[[str], int]) -> CutPassages:
        return cache(partial(passages_of_length, self._texts, model.tokenizer, length))


class Precisions:
    """The cross-encoder of a folder in each of its precisions; the end of the block closes the models."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        self._folder, self._manifest, self._threads = folder, manifest, threads
        self._open = ExitStack()

    def __enter__(self) -> Self:
        precisions: list[Precision] = sorted(self._manifest.variants, reverse=True)
        self.models: Mapping[Precision, CrossEncoder] = {
            precision: self._open.enter_context(self.load(precision, self._threads))
            for precision in precisions
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def default(self) -> CrossEncoder:
        """The model in its default precision."""
        return self.models[self._manifest.default_variant]

    def load(self, precision: Precision, threads: int) -> CrossEncoder:
        """Return the model in a precision, with ``threads`` runs at a time."""
        return CrossEncoder(self._folder, threads=threads, variant=precision)


def time_cells(
    report: CostReport,
    wanted: Sequence[tuple[int, int]],
    precisions: Precisions,
    passages: CutPassages,
    left: Budget,
    steps: ShowSteps,
) -> None:
    """Time the cells (candidates, tokens) in every precision, and add them to the report.

    A cell that is reached after the budget is added without a time.
    """
    with steps("timing", len(wanted) * len(precisions.models)) as step:
        for candidates, tokens in wanted:
            for precision, model in precisions.models.items():
                step(f"{candidates} x {tokens} tokens")
                timing = (
                    timed(partial(model.score, report.query), passages(tokens)[:candidates], report.rounds)
                    if left.left
                    else None
                )
                report.cells.append(Cell(precision, candidates, tokens, timing))


def time_threads(
    report: CostReport, precisions: Precisions, passages: CutPassages, left: Budget, steps: ShowSteps
) -> None:
    """Time the same window with rising numbers of threads, while the budget lasts.

    Nothing is timed for a model that reads fewer than ``LINE_TOKENS`` tokens.
    """
    if report.manifest.max_length < LINE_TOKENS:
        return
    counts = thread_counts(report.threads)
    with steps("timing", len(counts) * len(precisions.models)) as step:
        for precision in precisions.models:
            for threads in counts:
                step(f"{threads} threads")
                if left.left:
                    with precisions.load(precision, threads) as model:
                        timing = timed(
                            partial(model.score, report.query),
                            passages(LINE_TOKENS)[:THREADS_CANDIDATES],
                            report.rounds,
                        )
                    report.by_threads.append(Speed.of(precision, threads, THREADS_CANDIDATES, timing))


def time_embedder(report: CostReport, texts: CostTexts, left: Budget, steps: ShowSteps) -> None:
    """Time the bundled embedder at every length that it reads without truncation, while the budget lasts."""
    with BiEncoder(model_folder(BUNDLED_EMBEDDER), threads=report.threads) as model:
        contract = model.manifest.bi_encoder
        assert contract is not None  # noqa: S101 the manifest checks it
        passages = texts.for_embedder(model, contract.passage_prefix)
        wanted = [tokens for tokens in TOKENS if tokens <= model.manifest.max_length]
        with steps("embedding", len(wanted)) as step:
            for tokens in wanted:
                step(f"{tokens} tokens")
                if left.left:
                    timing = timed(model.embed, passages(tokens)[:EMBEDDED], report.rounds)
                    report.embedder.append(Speed.of(model.manifest.default_variant, tokens, EMBEDDED, timing))
