"""The output of ``es-rerank tune``: what was counted, the verdicts, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..research.tuning.judgements import SAID
from ..research.tuning.trained import VERSIONS, Trained
from ..research.tuning.tuning import PairVerdict, StageVerdict, Tuned, share_text
from ..research.tuning.verdict import SIGNIFICANCE, Judged
from .output import print_table, say, stdout

UNJUDGED: Mapping[str, str] = {
    "not relevant": "no judged document is irrelevant, so documents without a rating count as not relevant",
    "left out": "some judged documents are irrelevant, so documents without a rating are left out",
}
"""What a document without a rating counts as, in the words of the output."""


_WEIGHTS: Mapping[str | None, str] = {
    None: "",
    "shipped": ", with the shipped weights",
    "trained": ", with the trained weights",
}


def show_counts(counts: Mapping[str, int]) -> None:
    """Say on stderr what was read of the judgements, and what was left out."""
    for name, count in counts.items():
        say(f"{count:,} {SAID[name]}")


def show(answer: Mapping[str, Any], result: Tuned, trained: Trained | None = None) -> None:
    """Print the verdicts as tables, and in a sentence what was written or why nothing was."""
    queries = answer["queries"]
    say(
        f"learned from {queries['learned_from']:,} queries, judged on {queries['kept']:,} others (seed "
        f"{answer['seed']}); {UNJUDGED[answer['unjudged']]}"
    )
    print_table(_orders(answer, result, versions=1 if trained is None else VERSIONS))
    print_table(_probabilities(result))
    if trained is not None:
        say(
            f"trained on {trained.trained_on:,} of these queries: {trained.lists:,} lists, {trained.steps:,} "
            f"steps, {trained.seconds:,} s; fitted to the other {trained.fitted_on:,}, where nDCG@10 is "
            f"{trained.chosen_by['trained']:.4f}, and {trained.chosen_by['shipped']:.4f} with the shipped "
            "weights"
        )
        print_table(_orders(answer, trained.verdict, versions=VERSIONS, what="trained"))
        print_table(_probabilities(trained.verdict, "trained"))
    stdout.print(_sentence(answer), highlight=False, soft_wrap=True)


def _orders(answer: Mapping[str, Any], result: Tuned, *, versions: int, what: str = "tuned") -> Table:
    table = Table(
        title=escape(f"nDCG@10 of {answer['reranker']} on [{answer['index']}], window {answer['window']}"),
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("first stage", "alone", "shipped", what, "change", "p", "+/-", "visible", "verdict"):
        table.add_column(name, justify="left" if name in ("first stage", "verdict") else "right")
    for stage in result.stages:
        ndcg = stage.ndcg
        table.add_row(
            stage.first_stage,
            *(f"{value:.4f}" for value in (stage.first_stage_alone, ndcg.before, ndcg.after)),
            f"{ndcg.after - ndcg.before:+.4f}",
            *_chance(ndcg),
            "" if ndcg.visible is None else f"{ndcg.visible:.4f}",
            ndcg.outcome,
        )
    table.caption = (
        "alone: the first stage without reranking. p: paired t-test, two-sided. +/-: queries better and "
        f"worse. visible: the smallest change that so many queries would show. A verdict needs p below "
        f"{SIGNIFICANCE / (versions * len(result.stages)):.2g}."
    )
    table.caption_justify = "left"
    return table


def _probabilities(result: Tuned, what: str = "tuned") -> Table:
    table = Table(
        title="probabilities: mean squared error (Brier) and expected calibration error (ECE)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    # Trained weights are taken whole or not at all, so the column tells of them what was fitted.
    last = "taken" if what == "tuned" else "fitted"
    names = ("of", "Brier shipped", what, "p", "+/-", "ECE shipped", f"ECE {what}", "verdict", last)
    for name in names:
        table.add_column(name, justify="left" if name in ("of", "verdict", last) else "right")
    parts: list[tuple[str, StageVerdict | PairVerdict]] = [("pairs", result.pair)]
    parts += [(stage.first_stage, stage) for stage in result.stages]
    for name, part in parts:
        found = part.probabilities
        errors = ("-" if error is None else f"{error:.3f}" for error in (part.error_before, part.error_after))
        values = (
            ("-",) * 4 if found is None else (f"{found.before:.4f}", f"{found.after:.4f}", *_chance(found))
        )
        table.add_row(name, *values, *errors, "-" if found is None else found.outcome, _taken(part))
    return table


def _taken(part: StageVerdict | PairVerdict) -> str:
    if isinstance(part, StageVerdict) and part.choice == "order":
        return f"order, {share_text(part.blend)} first stage"
    return str(part.choice)


def _chance(found: Judged) -> tuple[str, str]:
    p = found.p_value
    shown = "" if p is None else "<.0001" if p < 1e-4 else f"{p:.2g}"
    return shown, f"{found.better}/{found.worse}"


def _sentence(answer: Mapping[str, Any]) -> str:
    better = answer["outcome"] == "better"
    if (out := answer["written"]) is not None:
        told, weights = "" if better else "Not better. ", _WEIGHTS[answer.get("weights")]
        return escape(
            f"{told}Written to {out}{weights}; use it with: es-rerank search {answer['index']} QUERY "
            f"--reranker {out}"
        )
    if better:
        return "Better. Nothing is written without --out FOLDER."
    return "Not better: the shipped model stays. Nothing is written."
