"""Comparison of several experiments: collections, first stages and rerankers, their means and their
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...retrievers.grammar.tree import FirstStage
from .experiment import QueryResult, Result
from .measures import Difference, difference


class Mean(BaseModel):
    """Mean nDCG@10 of one first stage and one reranker over the collections. Every collection has the same
    weight.

    ``expected_error`` and ``pair_expected_error`` are the mean expected calibration errors of the scores and
    of the pairs alone, over the collections in which a hit is judged; None where there is none. ``harmed``
    names the collections whose shipped default is below the first stage by more than ``experiment.HARM``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recalled_by: FirstStage
    embedder: str | None
    reranker: str
    collections: int
    first_stage: float
    cross_encoder: float
    reranked: float
    expected_error: float | None
    pair_expected_error: float | None
    harmed: list[str]

    def of(self, results: Sequence[Result]) -> list[Result]:
        """Return those of ``results`` that this is the mean of."""
        return [result for result in results if _kind(result) == _kind(self)]


class Contrast(BaseModel):
    """The difference between two orders of the same queries of a collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    split: str
    order: str
    against: str
    difference: Difference


class Comparison(BaseModel):
    """The result of ``es-rerank evaluate`` for several collections, first stages or rerankers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: list[Result]
    means: list[Mean]
    contrasts: list[Contrast]

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values, with the keys that the command line documents."""
        return self.model_dump(mode="json", by_alias=True)


def comparison(results: Sequence[Result]) -> Comparison:
    """Return the comparison of at least one result.

    Means are in the order of the first stages in ``results``, and in each in the order of the rerankers.

    There are two groups of contrasts. When BM25 is one of the first stages, the reranked order over every
    other first stage is compared with BM25 without reranking. When there are several rerankers, every other
    reranker is compared with the first one over the same first stage, both in the reranked order and in the
    order by the cross-encoder alone. Each p-value is of one contrast; it is not corrected for their number.
    """
    return Comparison(
        results=list(results),
        means=_means(results),
        contrasts=[*_with_bm25(results), *_with_first_reranker(results)],
    )


def labels(results: Sequence[Result]) -> dict[str, str]:
    """Return the label of each reranker in a table, by the name that the user gave.

    The label is the model's own name if only one reranker has it, else the name that the user gave.
    """
    models = {result.reranker: result.model for result in results}
    own = list(models.values())
    return {named: model if own.count(model) == 1 else named for named, model in models.items()}


def _kind(of: Result | Mean) -> tuple[FirstStage, str | None, str]:
    return of.recalled_by, of.embedder, of.reranker


def _means(results: Sequence[Result]) -> list[Mean]:
    return [
        _mean([result for result in results if _kind(result) == kind])
        for kind in dict.fromkeys(map(_kind, results))
    ]


def _mean(here: Sequence[Result]) -> Mean:
    """Return the mean of the results of one first stage and one reranker."""
    errors = [result.reliability.expected_error for result in here if result.reliability]
    pair_errors = [result.pair_reliability.expected_error for result in here if result.pair_reliability]
    return Mean(
        recalled_by=here[0].recalled_by,
        embedder=here[0].embedder,
        reranker=here[0].reranker,
        collections=len(here),
        first_stage=fmean(result.first_stage.ndcg_at_10 for result in here),
        cross_encoder=fmean(result.cross_encoder.ndcg_at_10 for result in here),
        reranked=fmean(result.reranked.ndcg_at_10 for result in here),
        expected_error=fmean(errors) if errors else None,
        pair_expected_error=fmean(pair_errors) if pair_errors else None,
        harmed=[f"{result.collection}:{result.split}" for result in here if result.harmed],
    )


def _with_bm25(results: Sequence[Result]) -> Iterator[Contrast]:
    by_bm25 = {
        (result.collection, result.split): result for result in results if result.recalled_by == "bm25"
    }
    called = labels(results)
    for result in results:
        bm25 = by_bm25.get((result.collection, result.split))
        if bm25 is not None and result.recalled_by != "bm25":
            name = f"{called[result.reranker]} over {result.stage}, default"
            yield _contrast(
                result,
                lambda row: row.reranked,
                name,
                bm25,
                lambda row: row.first_stage,
                "bm25 without reranking",
            )


def _with_first_reranker(results: Sequence[Result]) -> Iterator[Contrast]:
    firsts: dict[tuple[str, str, str], Result] = {}
    called = labels(results)
    for result in results:
        first = firsts.setdefault((result.collection, result.split, result.stage), result)
        if first is not result:
            name, against = (f"{called[one.reranker]} over {one.stage}" for one in (result, first))
            yield _contrast(
                result,
                lambda row: row.reranked,
                f"{name}, default",
                first,
                lambda row: row.reranked,
                f"{against}, default",
            )
            yield _contrast(
                result,
                lambda row: row.cross_encoder,
                f"{name}, alone",
                first,
                lambda row: row.cross_encoder,
                f"{against}, alone",
            )


Value = Callable[[QueryResult], float]


def _contrast(
    result: Result, value: Value, order: str, other: Result, other_value: Value, against: str
) -> Contrast:
    before = {row.query: other_value(row) for row in other.per_query}
    changes = [value(row) - before[row.query] for row in result.per_query]
    return Contrast(
        collection=result.collection,
        split=result.split,
        order=order,
        against=against,
        difference=difference(changes),
    )
