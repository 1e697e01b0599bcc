"""``es-rerank bench cost``: measure the time of one window on this machine, by candidates, tokens and
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.table import Table

from ..collection import read_corpus, read_queries
from ..engine.pool import cores
from ..errors import ModelError
from ..models.load import model_folder
from ..models.local.bi_encoder import BiEncoder
from ..models.local.cross_encoder import CrossEncoder
from ..models.manifest import Manifest, Precision, read_manifest
from ..research.bench.cost import (
    BUDGET_S,
    CANDIDATES,
    EMBEDDED,
    LINE_CANDIDATES,
    LINE_TOKENS,
    ROUNDS,
    THREADS_CANDIDATES,
    TOKENS,
    Budget,
    Cell,
    Speed,
    cheapest_first,
    fit,
    passages_of,
    thread_counts,
    timed,
)
from ..research.bench.machine import machine
from ..research.evaluation.packaged import by_hash, packaged
from ..research.plots.curves import COLOURS, Curve, Line, Panel, curves
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .bench_options import Plot, Threads, check_plot, end_on_sigterm, steps
from .output import Json, print_json, stdout

_TEXTS = 5_000
"""Most texts of a collection that passages are cut from."""

Passages = Callable[[int], list[str]]
"""A function that takes a number of tokens and returns passages of that length, as many as the largest
window."""

Point = tuple[float, float]


def cost(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Exported folder, or Hub id of one, of a cross-encoder.", show_default="the bundled one"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Collection in BEIR layout whose texts are cut to length.", show_default="the packaged one"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="How often every cell is timed.")] = ROUNDS,
    budget: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds after which no further cell is begun; the output says how many are left out."
        ),
    ] = BUDGET_S,
    threads: Threads = 0,
    embedder: Annotated[
        bool, typer.Option("--embedder", help="Measure the bundled embedder as well, at the same lengths.")
    ] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Measure the time of a window on this machine: milliseconds by candidates and by tokens, and pairs per
    second by threads.
    """
    end_on_sigterm()
    check_plot(plot)
    texts = _Texts(data or packaged())
    report = _Report(
        read_manifest(model_folder(model or BUNDLED_RERANKER), kind="cross-encoder"),
        texts.query,
        rounds,
        threads or cores(),
    )
    left = Budget(budget)
    with _Rerankers(model_folder(model or BUNDLED_RERANKER), report.manifest, report.threads) as rerankers:
        passages = texts.beside_query(rerankers.default)
        lines, others = cheapest_first(report.manifest.max_length)
        _cells(report, lines, rerankers, passages, left)
        _threads(report, rerankers, passages, left)
        if embedder:
            _embedder(report, texts, left)
        _cells(report, others, rerankers, passages, left)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else report.show()


class _Texts:
    """The texts of a collection, and one of its queries: the one of median length."""

    def __init__(self, folder: Path) -> None:
        corpus = {document.id: document.text for document in read_corpus(folder) if document.text.strip()}
        self._texts = [corpus[name] for name in by_hash(corpus)[:_TEXTS]]
        queries = sorted(read_queries(folder).values(), key=len)
        self.query = queries[len(queries) // 2]

    def beside_query(self, model: CrossEncoder) -> Passages:
        """Return a function that gives passages of a total length in tokens, the query included."""
        tokenizer = model.tokenizer
        return self._cut(model, lambda passage: len(tokenizer.encode(self.query, passage).ids))

    def for_embedder(self, model: BiEncoder, prefix: str) -> Passages:
        """Return a function that gives passages of a total length in tokens, the model's prefix included."""
        tokenizer = model.tokenizer
        return self._cut(model, lambda passage: len(tokenizer.encode(prefix + passage).ids))

    def _cut(self, model: CrossEncoder | BiEncoder, length: Callable[[str], int]) -> Passages:
        return cache(partial(passages_of, self._texts, model.tokenizer, length))


class _Rerankers:
    """The model in each of its precisions; the end of the block closes them."""

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


# --- measuring ----------------------------------------------------------------------------------------------


def _cells(
    report: _Report,
    wanted: Sequence[tuple[int, int]],
    rerankers: _Rerankers,
    passages: Passages,
    left: Budget,
) -> None:
    """Time cells of the table, in every precision."""
    with steps("timing", len(wanted) * len(rerankers.models)) as step:
        for candidates, tokens in wanted:
            for precision, model in rerankers.models.items():
                step(f"{candidates} x {tokens} tokens")
                timing = (
                    timed(partial(model.score, report.query), passages(tokens)[:candidates], report.rounds)
                    if left.left
                    else None
                )
                report.cells.append(Cell(precision, candidates, tokens, timing))


def _threads(report: _Report, rerankers: _Rerankers, passages: Passages, left: Budget) -> None:
    """Time the same window with rising numbers of threads."""
    if report.manifest.max_length < LINE_TOKENS:
        return
    counts = thread_counts(report.threads)
    with steps("timing", len(counts) * len(rerankers.models)) as step:
        for precision in rerankers.models:
            for threads in counts:
                step(f"{threads} threads")
                if left.left:
                    with rerankers.load(precision, threads) as model:
                        timing = timed(
                            partial(model.score, report.query),
                            passages(LINE_TOKENS)[:THREADS_CANDIDATES],
                            report.rounds,
                        )
                    report.by_threads.append(Speed.of(precision, threads, THREADS_CANDIDATES, timing))


def _embedder(report: _Report, texts: _Texts, left: Budget) -> None:
    """Time the bundled embedder at every length that it reads without truncation."""
    with BiEncoder(model_folder(BUNDLED_EMBEDDER), threads=report.threads) as model:
        contract = model.manifest.bi_encoder
        assert contract is not None  # the manifest checks it
        passages = texts.for_embedder(model, contract.passage_prefix)
        wanted = [tokens for tokens in TOKENS if tokens <= model.manifest.max_length]
        with steps("embedding", len(wanted)) as step:
            for tokens in wanted:
                step(f"{tokens} tokens")
                if left.left:
                    timing = timed(model.embed, passages(tokens)[:EMBEDDED], report.rounds)
                    report.embedder.append(Speed.of(model.manifest.default_variant, tokens, EMBEDDED, timing))


# --- output -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Report:
    """The measurements, and the model they belong to. ``query`` is paired with every passage."""

    manifest: Manifest
    query: str
    rounds: int
    threads: int
    cells: list[Cell] = field(default_factory=list)
    by_threads: list[Speed] = field(default_factory=list)
    embedder: list[Speed] = field(default_factory=list)

    def against_candidates(self, precision: Precision) -> list[Point]:
        """Return (candidates, ms) of the cells with ``LINE_TOKENS`` tokens."""
        return sorted(
            (cell.candidates, cell.timing.ms)
            for cell in self._measured(precision)
            if cell.tokens == LINE_TOKENS and cell.timing
        )

    def against_tokens(self, precision: Precision) -> list[Point]:
        """Return (tokens, ms) of the cells with ``LINE_CANDIDATES`` candidates."""
        return sorted(
            (cell.tokens, cell.timing.ms)
            for cell in self._measured(precision)
            if cell.candidates == LINE_CANDIDATES and cell.timing
        )

    def against_threads(self, precision: Precision) -> list[Point]:
        """Return (threads, pairs per second)."""
        return [(speed.at, speed.per_second) for speed in self.by_threads if speed.precision == precision]

    def as_json(self) -> dict[str, Any]:
        about = {name: value for name, value in machine("").items() if name != "elasticsearch"}
        report: dict[str, Any] = {
            "machine": {**about, "threads": self.threads},
            "model": self.manifest.name,
            "max_length": self.manifest.max_length,
            "query": self.query,
            "rounds": self.rounds,
            "cells": [cell.as_json() for cell in self.cells],
            "fits": [line for precision in self._precisions() for line in self._fits(precision)],
            "threads": [speed.as_json("threads", "pairs") for speed in self.by_threads],
        }
        return {
            **report,
            **(
                {"embedder": [speed.as_json("tokens", "passages") for speed in self.embedder]}
                if self.embedder
                else {}
            ),
        }

    def _fits(self, precision: Precision) -> Iterator[dict[str, Any]]:
        """Yield the line fitted through each of the three series of points; None when there are too few
        points.
        """
        lines = {
            "candidates": self.against_candidates(precision),
            "tokens": self.against_tokens(precision),
            "threads": self.against_threads(precision),
        }
        for name, points in lines.items():
            line = fit(points)
            yield {
                "precision": precision,
                "against": name,
                "points": len(points),
                "line": None if line is None else line.as_json(),
            }

    def show(self) -> None:
        """Print a table for each precision, the fitted lines, and the speeds."""
        about = machine("")
        title = (
            f"{self.manifest.name}: milliseconds for a window, by tokens of each pair; {about['cpu']}, "
            f"{self.threads} threads, {self.rounds} rounds"
        )
        stdout.print(title, highlight=False, soft_wrap=True)
        for precision in self._precisions():
            stdout.print(self._table(precision))
            for fitted in self._fits(precision):
                if fitted["line"]:
                    line, unit = fitted["line"], "pairs/s" if fitted["against"] == "threads" else "ms"
                    said = (
                        f"{precision}, {unit} against {fitted['against']}: {line['slope']:g} each, "
                        f"{line['intercept']:+g}, R² {line['r2']:.4f}"
                    )
                    stdout.print(said, highlight=False, soft_wrap=True)
        measured = sum(cell.timing is not None for cell in self.cells)
        if measured < len(self.cells):
            stdout.print(
                f"measured: {measured} of {len(self.cells)} cells, until --budget was used up; empty cells "
                "were not measured",
                highlight=False,
                soft_wrap=True,
            )
        for speed in self.by_threads:
            pairs = (
                f"{speed.precision}, {speed.at} {'thread' if speed.at == 1 else 'threads'}: "
                f"{speed.per_second:.0f} pairs/s of {LINE_TOKENS} tokens"
            )
            stdout.print(pairs, highlight=False, soft_wrap=True)
        for speed in self.embedder:
            stdout.print(
                f"{BUNDLED_EMBEDDER} {speed.precision}, {speed.at} tokens: {speed.per_second:.0f} passages/s",
                highlight=False,
                soft_wrap=True,
            )

    def _table(self, precision: Precision) -> Table:
        shown = Table("candidates", title=precision, title_justify="left", box=None, pad_edge=False)
        timed_cells = {(cell.candidates, cell.tokens): cell.timing for cell in self._measured(precision)}
        lengths = [tokens for tokens in TOKENS if tokens <= self.manifest.max_length]
        for tokens in lengths:
            shown.add_column(f"{tokens} tokens", justify="right", no_wrap=True)
        for candidates in CANDIDATES:
            timings = [timed_cells.get((candidates, tokens)) for tokens in lengths]
            shown.add_row(
                str(candidates), *("" if timing is None else f"{timing.ms:.0f}" for timing in timings)
            )
        return shown

    def picture(self) -> str:
        """Return the points and their lines as SVG, one panel for each series of points.

        Raises ModelError when nothing was measured.
        """
        wanted = (
            (
                f"Cost by candidates, {LINE_TOKENS} tokens each",
                "candidates",
                "milliseconds",
                self.against_candidates,
            ),
            (
                f"Cost by length, {LINE_CANDIDATES} candidates",
                "tokens of each pair",
                "milliseconds",
                self.against_tokens,
            ),
            (
                f"Speed by threads, {THREADS_CANDIDATES} candidates of {LINE_TOKENS} tokens",
                "threads",
                "pairs per second",
                self.against_threads,
            ),
        )
        panels = []
        for title, across, up, points in wanted:
            if drawn := [
                _curve(precision, points(precision), colour)
                for precision, colour in zip(self._precisions(), COLOURS, strict=False)
            ]:
                panels.append(Panel(title, across, up, [curve for curve in drawn if curve.points]))
        if self.embedder:
            panels.append(
                Panel(
                    "Embedder by length",
                    "tokens",
                    "passages per second",
                    [Curve(BUNDLED_EMBEDDER, [(speed.at, speed.per_second) for speed in self.embedder])],
                )
            )
        panels = [panel for panel in panels if panel.curves]
        if not panels:
            raise ModelError(
                "nothing was measured within --budget, so there is nothing to draw; give it more seconds"
            )
        return curves(f"{self.manifest.name}, {machine('')['cpu']}, {self.threads} threads", panels)

    def _precisions(self) -> list[Precision]:
        return sorted({cell.precision for cell in self.cells}, reverse=True)

    def _measured(self, precision: Precision) -> list[Cell]:
        return [cell for cell in self.cells if cell.precision == precision and cell.timing is not None]


def _curve(precision: Precision, points: Sequence[Point], colour: str) -> Curve:
    line = fit(points)
    if line is None:
        return Curve(precision, points, colour)
    return Curve(
        f"{precision}, line: R² {line.r2:.4f}", points, colour, line=Line(line.slope, line.intercept)
    )
