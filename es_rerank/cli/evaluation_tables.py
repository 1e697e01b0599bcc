"""The output of ``es-rerank evaluate``: three rows for one experiment, or one row for each of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import fmean

from rich.markup import escape
from rich.table import Table

from ..research.evaluation.comparison import Comparison, Contrast, Mean, labels
from ..research.evaluation.experiment import HARM, Result
from ..research.evaluation.measures import Difference, Measures
from ..research.reliability import Reliability
from .output import stderr, stdout

_LEGEND = (
    "first: order of the first stage. alone: order by the model's logit. default: order of a search. p: "
    "paired t-test of the change over queries, two-sided, not corrected for the number of rows. +/-: number "
    "of queries that got better and worse. ECE: expected calibration error of the scores, and of the "
    f"probabilities of pairs alone. harmed: default below first by more than {HARM}. --html and --json show "
    "more: recall, reliability, queries."
)
_NAME = 15
"""Least width of a collection's name in characters, so that it is not broken letter by letter."""

_CHANGE = ("change", "p", "+/-")
_ROWS = ("first stage", "cross-encoder alone", "shipped default")


def show_result(result: Result) -> None:
    """Print one result as a table, and its comparison with the first stage."""
    stdout.print(table_of(result))
    stdout.print(verdict(result), highlight=False, soft_wrap=True)
    if result.reliability is not None and result.pair_reliability is not None:
        stdout.print(
            f"expected calibration error of the scores {result.reliability.expected_error:.3f}, of the "
            f"probabilities of pairs alone {result.pair_reliability.expected_error:.3f}",
            highlight=False,
            soft_wrap=True,
        )
    _show_skipped(result)


def show_comparison(compared: Comparison) -> None:
    """Print several results: one row each, their means, and which order is better than which."""
    for mean in compared.means:
        stdout.print(_results(compared, mean), "")
    if len(compared.means) > 1:
        stdout.print(_means(compared), "")
    for title, table in _contrasts(compared):
        stdout.print(f"[italic]{escape(title)}[/]", highlight=False)
        stdout.print(table, "")
    stdout.print(_LEGEND, highlight=False)
    for result in {(result.collection, result.split): result for result in compared.results}.values():
        _show_skipped(result)


def _show_skipped(result: Result) -> None:
    if result.skipped_queries:
        stderr.print(
            f"{escape(result.collection)}: {result.skipped_queries} judged queries have no relevant document "
            "and were left out",
            highlight=False,
        )


def table_of(result: Result) -> Table:
    """Return a table of the three orders, one row each."""
    title = escape(
        f"{result.collection}, {result.split}: {result.queries} queries, {result.stage}, window "
        f"{result.window}, {result.model}"
    )
    table = Table("", title=title, title_justify="left")
    for name in Measures.model_fields.values():
        table.add_column(str(name.alias), justify="right")
    table.add_column("difference", justify="right")
    for label, means in zip(_ROWS, (result.first_stage, result.cross_encoder, result.reranked), strict=True):
        change = means.ndcg_at_10 - result.first_stage.ndcg_at_10
        table.add_row(
            label,
            *(f"{value:.4f}" for value in (means.ndcg_at_10, means.rr_at_10, means.recall_at_100)),
            f"{change:+.4f}" if label != _ROWS[0] else "",
        )
    return table


def verdict(result: Result) -> str:
    """Return the paired comparison of first stage and shipped default as one line."""
    change = result.difference
    chance = (
        "too few queries for a test"
        if change.p_value is None
        else f"p = {change.p_value:.2g} (paired t-test, two-sided)"
    )
    speed = "" if result.pairs_per_second is None else f"; {result.pairs_per_second:.0f} pairs/s"
    alone = f"; in {result.left_alone} the first stage's order was left alone" if result.left_alone else ""
    harmed = f"; harmed: the default is below the first stage by more than {HARM}" if result.harmed else ""
    return (
        f"nDCG@10 {change.ndcg_at_10:+.4f}: {chance}; {change.wins} queries better, {change.losses} worse, "
        f"{change.ties} equal{alone}{speed}{harmed}"
    )


def _results(compared: Comparison, mean: Mean) -> Table:
    """Return a row for each collection and their mean, for one first stage and one reranker; 80 columns."""
    here = mean.of(compared.results)
    table = _table(
        f"{here[0].stage}, {labels(compared.results)[mean.reranker]}, window {here[0].window}",
        ("nDCG@10",),
        ("queries", "first", "alone", "default", *_CHANGE, "ECE", "pair"),
    )
    for result in here:
        values = (
            f"{means.ndcg_at_10:.4f}" for means in (result.first_stage, result.cross_encoder, result.reranked)
        )
        table.add_row(
            f"{_name(result, compared)}{' harmed' if result.harmed else ''}",
            f"{result.queries:,}",
            *values,
            *_change(result.difference),
            _error(result.reliability),
            _error(result.pair_reliability),
        )
    table.add_row(
        "mean",
        "",
        *_of_mean(mean),
        "",
        "",
        _fraction(mean.expected_error),
        _fraction(mean.pair_expected_error),
        style="bold",
    )
    return table


def _means(compared: Comparison) -> Table:
    """Return a row for each first stage and reranker: the means over collections, and how many it harms."""
    table = _table(
        "means over collections",
        ("first stage", "reranker"),
        ("first", "alone", "default", "change", "harmed"),
    )
    called = labels(compared.results)
    stage = ""
    for mean in compared.means:
        shown, stage = stage, mean.of(compared.results)[0].stage
        harmed = f"{len(mean.harmed)} of {mean.collections}" if mean.harmed else "none"
        table.add_row(
            "" if shown == stage else escape(stage), escape(called[mean.reranker]), *_of_mean(mean), harmed
        )
    return table


def _of_mean(mean: Mean) -> tuple[str, ...]:
    """Return first stage, alone and default of a mean, and the change from first stage to default."""
    values = (mean.first_stage, mean.cross_encoder, mean.reranked)
    return *(f"{value:.4f}" for value in values), f"{mean.reranked - mean.first_stage:+.4f}"


def _contrasts(compared: Comparison) -> Iterator[tuple[str, Table]]:
    """Yield a title and a table for each pair of orders: a row for each collection, and the mean change over
    them. The title is not the table's own, which would wrap it to the few columns.
    """
    places = {orders: i for i, orders in enumerate(dict.fromkeys(map(_orders, compared.contrasts)))}
    ordered = sorted(compared.contrasts, key=lambda contrast: places[_orders(contrast)])
    for (order, against), rows in groupby(ordered, key=_orders):
        table = _table(None, ("nDCG@10",), _CHANGE)
        changes = []
        for contrast in rows:
            table.add_row(_name(contrast, compared), *_change(contrast.difference))
            changes.append(contrast.difference.ndcg_at_10)
        if len(changes) > 1:
            table.add_row("mean", _signed(fmean(changes)), style="bold")
        yield f"{order}, against {against}", table


def _orders(contrast: Contrast) -> tuple[str, str]:
    return contrast.order, contrast.against


def _table(title: str | None, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(
        title=None if title is None else escape(title),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in texts:
        table.add_column(name, overflow="fold", min_width=_NAME)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _name(of: Result | Contrast, compared: Comparison) -> str:
    """Return a collection's name, with the split when several of its splits are compared."""
    splits = {result.split for result in compared.results if result.collection == of.collection}
    return escape(of.collection if len(splits) == 1 else f"{of.collection} {of.split}")


def _change(change: Difference) -> tuple[str, str, str]:
    chance = (
        "" if change.p_value is None else "<.0001" if change.p_value < 1e-4 else _fraction(change.p_value, 4)
    )
    return _signed(change.ndcg_at_10), chance, f"{change.wins}/{change.losses}"


def _signed(change: float) -> str:
    return f"{round(change, 4) + 0.0:+.4f}"


def _error(measured: Reliability | None) -> str:
    return _fraction(None if measured is None else measured.expected_error)


def _fraction(value: float | None, digits: int = 3) -> str:
    """Return a number from 0 to 1 without the zero before its point; "" for None."""
    return "" if value is None else f"{value:.{digits}f}".removeprefix("0")
