"""What ``es-rerank evaluate`` prints: one experiment as three rows, several as a row each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..research.evaluation.comparison import Comparison, Contrast, Mean, labels
from ..research.evaluation.experiment import Result
from ..research.evaluation.measures import Difference, Measures
from .output import stderr, stdout

_LEGEND = (
    "first: the first stage's order; alone: ordered by the model's logit; default: as a search answers; p: "
    "of change, by a paired t-test over queries, two-sided, not corrected for the number of rows; +/-: "
    "queries that got better and worse. --html and --json show more: recall, reliability, queries."
)
_NAME = 16
"""Characters that a collection's name has in any case, so that it is not folded letter by letter."""

_CHANGE = ("change", "p", "+/-")
_ROWS = ("first stage", "cross-encoder alone", "shipped default")


def show(result: Result) -> None:
    """Print a result as a table with what the difference means."""
    stdout.print(table_of(result))
    stdout.print(verdict(result), highlight=False, soft_wrap=True)
    _show_skipped(result)


def show_comparison(found: Comparison) -> None:
    """Print several results: a row each, the means, and what is better than what."""
    for mean in found.means:
        stdout.print(_results(found, mean), "")
    if found.contrasts:
        stdout.print(_contrasts(found), "")
    stdout.print(_LEGEND, highlight=False)
    for result in {(result.collection, result.split): result for result in found.results}.values():
        _show_skipped(result)


def _show_skipped(result: Result) -> None:
    if result.skipped_queries:
        stderr.print(
            f"{escape(result.collection)}: {result.skipped_queries} judged queries have no relevant document "
            "and were left out",
            highlight=False,
        )


def table_of(result: Result) -> Table:
    """Return the three runs, one row each."""
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
    """Return the paired comparison of first stage and shipped default in one line."""
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


def _results(found: Comparison, mean: Mean) -> Table:
    """Return a row for each collection and their mean, for one first stage and one reranker; 80 columns."""
    here = [
        result
        for result in found.results
        if (result.recalled_by, result.reranker) == (mean.recalled_by, mean.reranker)
    ]
    table = _table(
        f"{labels(found.results)[mean.reranker]} over {mean.recalled_by}, window {here[0].window}",
        ("nDCG@10",),
    )
    for name in ("queries", "first", "alone", "default", *_CHANGE):
        table.add_column(name, justify="right", no_wrap=True)
    for result in here:
        values = (
            f"{means.ndcg_at_10:.4f}" for means in (result.first_stage, result.cross_encoder, result.reranked)
        )
        table.add_row(_name(result, found), f"{result.queries:,}", *values, *_change(result.difference))
    means = (f"{value:.4f}" for value in (mean.first_stage, mean.cross_encoder, mean.reranked))
    table.add_row("mean", "", *means, f"{mean.reranked - mean.first_stage:+.4f}", style="bold")
    return table


def _contrasts(found: Comparison) -> Table:
    table = _table("one order against another", ("nDCG@10", "order", "against"))
    for name in _CHANGE:
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.contrasts:
        table.add_row(_name(each, found), escape(each.order), escape(each.against), *_change(each.difference))
    return table


def _table(title: str, texts: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, overflow="fold", min_width=_NAME)
    return table


def _name(of: Result | Contrast, found: Comparison) -> str:
    """Return a collection's name, with the split where there are several of it."""
    splits = {result.split for result in found.results if result.collection == of.collection}
    return escape(of.collection if len(splits) == 1 else f"{of.collection} {of.split}")


def _change(change: Difference) -> tuple[str, str, str]:
    chance = "" if change.p_value is None else "<.0001" if change.p_value < 1e-4 else f"{change.p_value:.2g}"
    return f"{round(change.ndcg_at_10, 4) + 0.0:+.4f}", chance, f"{change.wins}/{change.losses}"
