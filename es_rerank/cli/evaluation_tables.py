"""The output of ``es-rerank evaluate``: three rows for one experiment, or one row for each of several."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..research.evaluation.comparison import Comparison, Contrast, Mean, labels
from ..research.evaluation.experiment import Result
from ..research.evaluation.measures import Difference, Measures
from .output import stderr, stdout

_LEGEND = (
    "first: order of the first stage. alone: order by the model's logit. default: order of a search. p: "
    "paired t-test of the change over queries, two-sided, not corrected for the number of rows. +/-: "
    "number of queries that got better and worse. --html and --json show more: recall, reliability, queries."
)
_NAME = 16
"""Least width of a collection's name in characters, so that it is not broken letter by letter."""

_CHANGE = ("change", "p", "+/-")
_ROWS = ("first stage", "cross-encoder alone", "shipped default")


def show_result(result: Result) -> None:
    """Print one result as a table, and its comparison with the first stage."""
    stdout.print(table_of(result))
    stdout.print(verdict(result), highlight=False, soft_wrap=True)
    _show_skipped(result)


def show_comparison(compared: Comparison) -> None:
    """Print several results: one row each, their means, and which order is better than which."""
    for mean in compared.means:
        stdout.print(_results(compared, mean), "")
    if compared.contrasts:
        stdout.print(_contrasts(compared), "")
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
        f"{result.collection}, {result.split}: {result.queries} queries, {result.recalled_by}, window "
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
    return (
        f"nDCG@10 {change.ndcg_at_10:+.4f}: {chance}; {change.wins} queries better, {change.losses} worse, "
        f"{change.ties} equal{speed}"
    )


def _results(compared: Comparison, mean: Mean) -> Table:
    """Return a row for each collection and their mean, for one first stage and one reranker; 80 columns."""
    here = [
        result
        for result in compared.results
        if (result.recalled_by, result.reranker) == (mean.recalled_by, mean.reranker)
    ]
    table = _table(
        f"{labels(compared.results)[mean.reranker]} over {mean.recalled_by}, window {here[0].window}",
        ("nDCG@10",),
    )
    for name in ("queries", "first", "alone", "default", *_CHANGE):
        table.add_column(name, justify="right", no_wrap=True)
    for result in here:
        values = (
            f"{means.ndcg_at_10:.4f}" for means in (result.first_stage, result.cross_encoder, result.reranked)
        )
        table.add_row(_name(result, compared), f"{result.queries:,}", *values, *_change(result.difference))
    means = (f"{value:.4f}" for value in (mean.first_stage, mean.cross_encoder, mean.reranked))
    table.add_row("mean", "", *means, f"{mean.reranked - mean.first_stage:+.4f}", style="bold")
    return table


def _contrasts(compared: Comparison) -> Table:
    table = _table("comparison of two orders", ("nDCG@10", "order", "against"))
    for name in _CHANGE:
        table.add_column(name, justify="right", no_wrap=True)
    for contrast in compared.contrasts:
        names = (_name(contrast, compared), escape(contrast.order), escape(contrast.against))
        table.add_row(*names, *_change(contrast.difference))
    return table


def _table(title: str, texts: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, overflow="fold", min_width=_NAME)
    return table


def _name(of: Result | Contrast, compared: Comparison) -> str:
    """Return a collection's name, with the split when several of its splits are compared."""
    splits = {result.split for result in compared.results if result.collection == of.collection}
    return escape(of.collection if len(splits) == 1 else f"{of.collection} {of.split}")


def _change(change: Difference) -> tuple[str, str, str]:
    chance = "" if change.p_value is None else "<.0001" if change.p_value < 1e-4 else f"{change.p_value:.2g}"
    return f"{round(change.ndcg_at_10, 4) + 0.0:+.4f}", chance, f"{change.wins}/{change.losses}"
