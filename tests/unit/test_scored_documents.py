"""Queries for known documents: exact sets and exact scores, in few clauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import InvalidSearchError
from es_rerank.retrievers.planning.computed import groups_by_score, reads_scores, with_marks
from es_rerank.retrievers.planning.document_sets import any_of, documents_query
from es_rerank.retrievers.planning.scored_documents import (
    LEAST,
    check_score,
    place_of,
    positive,
    scored_documents_query,
)
from es_rerank.types import Candidate

FEWEST_CLAUSES = 1_024
"""Elasticsearch's limit of clauses on the smallest heap."""


def candidates(count: int, *, indices: int = 1, routed: bool = False) -> list[Candidate]:
    return [
        Candidate(
            f"i{number % indices}", f"d{number}", 0.0, number + 1, routing=f"r{number}" if routed else None
        )
        for number in range(count)
    ]


def clauses(query: Any) -> int:
    """How many clauses Elasticsearch counts: the queries that hold no others."""
    if isinstance(query, list):
        return sum(map(clauses, query))
    below = [
        value
        for kind, content in query.items()
        if kind in ("bool", "constant_score")
        for key, value in content.items()
        if key in ("must", "should", "filter")
    ]
    return sum(map(clauses, below)) if below else 1


def matches(query: Any, document: Candidate) -> bool:
    ((kind, content),) = query.items()
    if kind == "ids":
        return document.id in content["values"]
    if kind in ("term", "terms"):
        ((field, value),) = content.items()
        known = document.index if field == "_index" else document.routing
        return known == value if kind == "term" else known in value
    if kind == "match_none":
        return False
    assert kind == "bool", kind
    least = content.get("minimum_should_match", 0)
    return all(matches(part, document) for part in content.get("filter", [])) and (
        sum(matches(part, document) for part in content.get("should", [])) >= least
    )


def summands(query: Any, document: Candidate) -> Iterator[float]:
    """The scores that the clauses of a query give a document."""
    content = query["bool"]
    if not matches({"bool": {"filter": content.get("filter", [])}}, document):
        return
    for part in content["should"]:
        if "constant_score" not in part:
            yield from summands(part, document)
        elif matches(part["constant_score"]["filter"], document):
            yield part["constant_score"]["boost"]


def score_in(query: Any, document: Candidate) -> float:
    return float(np.float32(sum(summands(query, document))))


@given(
    st.lists(st.floats(width=32, min_value=0.0, allow_infinity=False), min_size=65, max_size=90, unique=True)
)
def test_a_document_has_exactly_its_score(scores: list[float]) -> None:
    window = candidates(len(scores), indices=2)
    query = scored_documents_query(window, scores)
    assert [score_in(query, document) for document in window] == scores


@pytest.mark.parametrize("count", [1, 64, 65, 1_000, 10_000])
def test_places_are_exact_and_need_few_clauses(count: int) -> None:
    window = candidates(count)
    query = scored_documents_query(window, range(count, 0, -1))
    sampled = window[:: max(1, count // 10)]
    assert [score_in(query, each) for each in sampled] == [count + 1 - each.rank for each in sampled]
    assert clauses(query) <= 70


@pytest.mark.parametrize("spread", [1.0, 20.0, 80.0])
def test_scores_of_any_spread_stay_below_the_least_limit(spread: float) -> None:
    draw = np.random.default_rng(7)
    scores = np.sort(np.exp2(draw.uniform(-spread, 0, 10_000)).astype(np.float32))[::-1].tolist()
    assert clauses(scored_documents_query(candidates(10_000), scores)) < FEWEST_CLAUSES / 2


@pytest.mark.parametrize("count", [1, 16, 17, 500, 10_000])
def test_documents_of_many_routings_need_few_clauses(count: int) -> None:
    documents = candidates(count, routed=True)
    query = documents_query(documents)
    assert clauses(query) < FEWEST_CLAUSES / 4
    for document in documents[:: max(1, count // 6)]:
        assert matches(query, document)
        other = documents[(document.rank + 7) % count].routing
        elsewhere = Candidate(document.index, document.id, 0.0, 1, routing=other)
        assert matches(query, elsewhere) == (other == document.routing)
    assert clauses(scored_documents_query(documents, range(count, 0, -1))) < FEWEST_CLAUSES / 2


def test_an_id_under_several_routings_has_several_scores() -> None:
    documents = [
        Candidate("i", f"d{number // 3}", 0.0, number + 1, routing=f"r{number}") for number in range(300)
    ]
    query = scored_documents_query(documents, range(300, 0, -1))
    assert [score_in(query, each) for each in documents] == list(range(300, 0, -1))
    assert not matches(documents_query(documents), Candidate("i", "d1", 0.0, 1, routing="r0"))


def test_more_alternatives_than_a_query_may_have_are_nested() -> None:
    query = any_of([{"term": {"_index": f"i{number}"}} for number in range(3_000)])
    assert clauses(query) == 3_000
    assert all(matches(query, Candidate(f"i{number}", "d", 0.0, 1)) for number in (0, 1_500, 2_999))
    assert len(query["bool"]["should"]) < FEWEST_CLAUSES


def test_documents_without_a_score_get_the_least_numbers_in_order() -> None:
    window = [3.0, 1e-30, 0.0, float("nan"), float("nan")]
    scores = positive(window)
    assert scores[:2] == window[:2]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] == LEAST == float(np.nextafter(np.float32(0), np.float32(1)))
    assert [place_of(score, 5) for score in scores] == [None, None, 2, 3, 4]
    assert place_of(0.0, 5) is None


@pytest.mark.parametrize("score", [-1e-30, -1.0, float("inf"), float("-inf"), 1e300])
def test_a_score_that_elasticsearch_cannot_have_names_the_plugin(score: float) -> None:
    with pytest.raises(InvalidSearchError, match="the plugin es-rerank"):
        check_score(score)
    with pytest.raises(InvalidSearchError, match="the plugin es-rerank"):
        scored_documents_query(candidates(1), [score])


TERMS = {"terms": {"field": "group"}}


@pytest.mark.parametrize(
    ("aggregations", "reads"),
    [
        (None, False),
        ({}, False),
        ({"a": TERMS, "b": {"date_histogram": {"field": "seen"}, "meta": {"k": 1}}}, False),
        ({"a": TERMS | {"aggs": {"b": {"avg": {"field": "n"}}}}}, False),
        ({"a": TERMS | {"aggs": {"b": {"top_hits": {}}}}}, True),
        ({"a": TERMS | {"aggregations": {"b": {"sampler": {}, "aggs": {"c": TERMS}}}}}, True),
        ({"a": {"max": {"script": "_score"}}}, True),
        ({"a": {"percentiles": {"script": {"source": "_score"}}}}, True),
        ({"a": {"weighted_avg": {"value": {"script": "_score"}, "weight": {"field": "n"}}}}, True),
        ({"a": {"filter": {"term": {"n": 1}}, "aggs": {"b": {"scripted_metric": {}}}}}, True),
        ({"a": {"an_aggregation_of_tomorrow": {}}}, True),
        ({"a": {"top_metrics": {"sort": "_score", "metrics": {"field": "n"}}}}, True),
    ],
)
def test_what_may_read_scores_is_known(aggregations: Any, reads: bool) -> None:
    assert reads_scores(aggregations) is reads


@pytest.mark.parametrize(
    ("sort", "by_score"),
    [
        (None, False),
        ("number", False),
        (["number", {"seen": "desc"}], False),
        ("_score", True),
        ({"_score": "asc"}, True),
        ([{"number": "asc"}, {"_score": {"order": "desc"}}], True),
    ],
)
def test_groups_sorted_by_score_are_known(sort: Any, by_score: bool) -> None:
    group = {"name": "g", **({} if sort is None else {"sort": sort})}
    assert groups_by_score({"field": "f", "inner_hits": group}) is by_score
    assert groups_by_score({"field": "f", "inner_hits": [{"name": "h"}, group]}) is by_score


def test_every_highlight_is_told_what_to_mark() -> None:
    marks = {"match": {"text": "word"}}
    own = {"highlight_query": {"match": {"text": "other"}}, "fields": {"text": {}}}
    asked: Any = {
        "highlight": {"fields": {"text": {}}},
        "collapse": {"field": "f", "inner_hits": [{"name": "g", "highlight": {"fields": {}}}, {"name": "h"}]},
        "aggs": {
            "a": {**TERMS, "aggs": {"b": {"top_hits": {"highlight": {"fields": {}}}}}},
            "c": {"top_hits": {"highlight": own}},
        },
    }
    shown = with_marks(asked, marks)
    told = {"fields": {}, "highlight_query": marks}
    assert shown["highlight"] == {"fields": {"text": {}}, "highlight_query": marks}
    assert shown["collapse"]["inner_hits"] == [{"name": "g", "highlight": told}, {"name": "h"}]
    assert shown["aggs"]["a"]["aggs"]["b"]["top_hits"]["highlight"] == told
    assert shown["aggs"]["c"]["top_hits"]["highlight"] == own


@pytest.mark.parametrize("odd", ["x", 3, ["a"], {"a": 3}, {"a": {"top_hits": 3}}, {"a": {"aggs": "x"}}])
def test_what_is_no_aggregation_is_left_to_elasticsearch(odd: Sequence[Any]) -> None:
    assert with_marks({"aggs": odd}, {"match_none": {}}) == {"aggs": odd}
    assert reads_scores(odd) in (True, False)
