"""The output of ``es-rerank bench engine``: tables of speed and quality, and what was not measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..research.bench.engine import SystemRow, label
from ..research.bench.engine_report import EngineReport, mean_of
from ..research.bench.paired import Added
from .output import stdout

_CAPTION = (
    "x fp32 peer: speed divided by that of the fastest fp32 peer in the same round, median and 95 % "
    "interval; x any peer: the same with peers of any precision. MB: peak memory. difference: the largest "
    "from torch, in logits (FlashRank: in probabilities). nDCG@10: order by the model alone; joined: with "
    "the first stage's score, by --calibration. All fp32 systems have the same nDCG@10, because their scores "
    "agree."
)
_ON_OUR_GRID = (
    "The weights are those of the bundled int8 graph, converted to fp32. So es-rerank's own int8 rounds only "
    "activations here, not weights. Give MODEL to measure what int8 costs in quality."
)


def show_engine_report(report: EngineReport) -> None:
    """Print the tables, what could not be measured, and the captions that explain the columns."""
    done = [row for row in report.rows if row.reason is None]
    title = (
        f"{report.pairs} pairs, {report.rounds} rounds; {report.machine['cpu']}, {report.threads} threads, "
        f"Python {report.machine['python']}"
    )
    _print_table(
        title,
        ("batch", "pairs/s", "min-max", "x fp32 peer"),
        [(label(row.system), _speed(row)) for row in done],
    )
    _print_table(
        "",
        ("x any peer", "nDCG@10", "MB", "difference"),
        [(label(row.system), _quality(report, row)) for row in done],
    )
    if joined := [
        (name, [f"{value:.4f}"])
        for name, by_collection in report.joined.items()
        if (value := mean_of(by_collection)) is not None
    ]:
        _print_table("", ("nDCG@10, joined",), joined)
    stdout.print(_CAPTION, highlight=False, soft_wrap=True)
    for collection in report.collections:
        if collection.queries:
            stdout.print(
                f"nDCG@10 of {collection.name}: first stage (BM25) {collection.ndcg():.4f}, "
                f"{collection.queries} queries, window {collection.window}",
                highlight=False,
                soft_wrap=True,
            )
    for row in report.rows:
        if row.reason is not None:
            stdout.print(
                f"not measured: {label(row.system)} {row.version}: {row.reason}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    if report.on_our_grid:
        stdout.print(_ON_OUR_GRID, highlight=False, soft_wrap=True)


def _print_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> None:
    shown = Table("", title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for name, cells in rows:
        shown.add_row(name, *cells)
    stdout.print(shown)


def _speed(row: SystemRow) -> list[str]:
    return [
        str(row.batch),
        f"{row.pairs_per_second or 0:.1f}",
        f"{row.low or 0:.0f}-{row.high or 0:.0f}",
        _interval(row.ratio),
    ]


def _quality(report: EngineReport, row: SystemRow) -> list[str]:
    ndcg = mean_of(report.ndcg[label(row.system)])
    return [
        _interval(row.ratio_any),
        "" if ndcg is None else f"{ndcg:.4f}",
        f"{row.peak_rss_mb or 0:.0f}",
        f"{row.largest_difference or 0:.1e}",
    ]


def _interval(ratio: Added | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
