"""``es-rerank bench cost``: measure the time of one window on this machine, by candidates, tokens and
threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..collection import read_corpus, read_queries
from ..engine.processor import cores
from ..models.load import model_folder
from ..models.manifest import Precision, read_manifest
from ..research.bench.cost import (
    BUDGET_S,
    CANDIDATE_COUNTS,
    COST_ROUNDS,
    LINE_TOKENS,
    TOKENS,
    Budget,
    cheapest_first,
)
from ..research.bench.cost_cells import CostTexts, Precisions, time_cells, time_embedder, time_threads
from ..research.bench.cost_report import CostReport
from ..research.bench.machine import machine
from ..research.evaluation.packaged import by_hash, packaged
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .bench_options import Plot, Threads, check_plot, steps
from .output import Json, print_json, stdout

_TEXTS = 5_000
"""Most texts of a collection that passages are cut from."""


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
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000, help="How often every cell is timed.")
    ] = COST_ROUNDS,
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
    check_plot(plot)
    texts = read_cost_texts(data or packaged())
    report = CostReport(
        read_manifest(model_folder(model or BUNDLED_RERANKER), kind="cross-encoder"),
        texts.query,
        rounds,
        threads or cores(),
    )
    left = Budget(budget)
    with Precisions(model_folder(model or BUNDLED_RERANKER), report.manifest, report.threads) as precisions:
        passages = texts.beside_query(precisions.default)
        lines, others = cheapest_first(report.manifest.max_length)
        time_cells(report, lines, precisions, passages, left, steps)
        time_threads(report, precisions, passages, left, steps)
        if embedder:
            time_embedder(report, texts, left, steps)
        time_cells(report, others, precisions, passages, left, steps)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else _show(report)


def read_cost_texts(folder: Path) -> CostTexts:
    """Return the texts of a collection, and one of its queries: the one of median length.

    Raises SourceError for a collection that cannot be read.
    """
    corpus = {document.id: document.text for document in read_corpus(folder) if document.text.strip()}
    queries = sorted(read_queries(folder).values(), key=len)
    return CostTexts([corpus[name] for name in by_hash(corpus)[:_TEXTS]], queries[len(queries) // 2])


def _show(report: CostReport) -> None:
    """Print a table for each precision, the fitted lines, and the speeds."""
    about = machine()
    title = (
        f"{report.manifest.name}: milliseconds for a window, by tokens of each pair; {about['cpu']}, "
        f"{report.threads} threads, {report.rounds} rounds"
    )
    stdout.print(title, highlight=False, soft_wrap=True)
    for precision in report.precisions():
        stdout.print(_table(report, precision))
        for fitted in report.fits(precision):
            if fitted["line"]:
                line, unit = fitted["line"], "pairs/s" if fitted["against"] == "threads" else "ms"
                sentence = (
                    f"{precision}, {unit} against {fitted['against']}: {line['slope']:g} each, "
                    f"{line['intercept']:+g}, R² {line['r2']:.4f}"
                )
                stdout.print(sentence, highlight=False, soft_wrap=True)
    measured = sum(cell.timing is not None for cell in report.cells)
    if measured < len(report.cells):
        stdout.print(
            f"measured: {measured} of {len(report.cells)} cells, until --budget was used up; empty cells "
            "were not measured",
            highlight=False,
            soft_wrap=True,
        )
    for speed in report.by_threads:
        pairs = (
            f"{speed.precision}, {speed.at} {'thread' if speed.at == 1 else 'threads'}: "
            f"{speed.per_second:.0f} pairs/s of {LINE_TOKENS} tokens"
        )
        stdout.print(pairs, highlight=False, soft_wrap=True)
    for speed in report.embedder:
        stdout.print(
            f"{BUNDLED_EMBEDDER} {speed.precision}, {speed.at} tokens: {speed.per_second:.0f} passages/s",
            highlight=False,
            soft_wrap=True,
        )


def _table(report: CostReport, precision: Precision) -> Table:
    shown = Table("candidates", title=precision, title_justify="left", box=None, pad_edge=False)
    timed_cells = {(cell.candidates, cell.tokens): cell.timing for cell in report.measured_cells(precision)}
    lengths = [tokens for tokens in TOKENS if tokens <= report.manifest.max_length]
    for tokens in lengths:
        shown.add_column(f"{tokens} tokens", justify="right", no_wrap=True)
    for candidates in CANDIDATE_COUNTS:
        timings = [timed_cells.get((candidates, tokens)) for tokens in lengths]
        shown.add_row(str(candidates), *("" if timing is None else f"{timing.ms:.0f}" for timing in timings))
    return shown
