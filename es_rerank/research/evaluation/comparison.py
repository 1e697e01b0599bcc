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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recalled_by: FirstStage
    reranker: str
    collections: int
    first_stage: float
    cross_encoder: float
    reranked: float


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

    There are two groups of contrasts. When BM25 is one of the first stages, the reranked order over every
    other first stage is compared with BM25 without reranking. When there are several rerankers, every other
    reranker is compared with the first one, both in the reranked order and in the order by the cross-encoder
    alone. Each p-value is of one contrast; it is not corrected for their number.
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


def _means(results: Sequence[Result]) -> list[Mean]:
    kinds = dict.fromkeys((result.recalled_by, result.reranker) for result in results)
    means = []
    for recalled_by, reranker in kinds:
        here = [
            result for result in results if (result.recalled_by, result.reranker) == (recalled_by, reranker)
        ]
        means.append(
            Mean(
                recalled_by=recalled_by,
                reranker=reranker,
                collections=len(here),
                first_stage=fmean(result.first_stage.ndcg_at_10 for result in here),
                cross_encoder=fmean(result.cross_encoder.ndcg_at_10 for result in here),
                reranked=fmean(result.reranked.ndcg_at_10 for result in here),
            )
        )
    return means


def _with_bm25(results: Sequence[Result]) -> Iterator[Contrast]:
    by_bm25 = {
        (result.collection, result.split): result for result in results if result.recalled_by == "bm25"
    }
    called = labels(results)
    for result in results:
        bm25 = by_bm25.get((result.collection, result.split))
        if bm25 is not None and result.recalled_by != "bm25":
            name = f"{called[result.reranker]} over {result.recalled_by}, default"
            yield _contrast(
                result,
                lambda row: row.reranked,
                name,
                bm25,
                lambda row: row.first_stage,
                "bm25 without reranking",
            )


def _with_first_reranker(results: Sequence[Result]) -> Iterator[Contrast]:
    firsts: dict[tuple[str, str, FirstStage], Result] = {}
    called = labels(results)
    for result in results:
        first = firsts.setdefault((result.collection, result.split, result.recalled_by), result)
        if first is not result:
            name, against = (f"{called[one.reranker]} over {one.recalled_by}" for one in (result, first))
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
