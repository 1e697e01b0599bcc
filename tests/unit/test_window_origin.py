"""Which kind of first stage, and which embedder, a reranker's window comes from."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.tree import TextSimilarityReranker
from es_rerank.retrievers.planning.first_stage import (
    KIND_OF,
    WindowOrigin,
    blends_by_embedder,
    kind_of,
    origin,
)
from es_rerank.retrievers.planning.index_schema import IndexSchema
from es_rerank.retrievers.planning.short_form import retriever_for
from es_rerank.types import FirstStageKind

KNN: dict[str, Any] = {"knn": {"field": "vector", "query_vector": [1.0, 0.0], "k": 5, "num_candidates": 5}}
IN_QUERY: dict[str, Any] = {"knn": {"field": "vector", "query_vector": [1.0, 0.0]}}
MATCH: dict[str, Any] = {"match": {"text": "river"}}
TERM: dict[str, Any] = {"term": {"year": 2020}}
COSINE = "cosineSimilarity(params.v, 'vector') + 1.0"


def standard(query: Any) -> dict[str, Any]:
    return {"standard": {"query": query}}


def reranked(child: dict[str, Any], **more: Any) -> dict[str, Any]:
    wanted = {"retriever": child, "field": "text", "inference_text": "river", **more}
    return {"text_similarity_reranker": wanted}


def exact(source: str) -> dict[str, Any]:
    return {"script_score": {"query": {"match_all": {}}, "script": {"source": source}}}


TREES: list[tuple[dict[str, Any], FirstStageKind | None]] = [
    (KNN, "dense"),
    (standard(MATCH), "bm25"),
    (standard({"multi_match": {"query": "river", "fields": ["title", "text"]}}), "bm25"),
    (standard({"query_string": {"query": "river"}}), "bm25"),
    (standard(IN_QUERY), "dense"),
    (standard({"nested": {"path": "passages", "query": MATCH, "score_mode": "max"}}), "bm25"),
    (standard({"nested": {"path": "passages", "query": IN_QUERY}}), "dense"),
    (standard({"bool": {"must": MATCH, "filter": [TERM, IN_QUERY]}}), "bm25"),
    (standard({"bool": {"must": [TERM], "should": [MATCH, {"match_phrase": {"text": "a b"}}]}}), "bm25"),
    (standard({"bool": {"should": [MATCH, IN_QUERY]}}), "hybrid"),
    (standard({"dis_max": {"queries": [MATCH, {"bool": {"should": [MATCH]}}]}}), "bm25"),
    (standard({"boosting": {"positive": MATCH, "negative": IN_QUERY, "negative_boost": 0.5}}), "bm25"),
    (standard({"function_score": {"query": MATCH, "random_score": {}}}), "bm25"),
    (standard({"function_score": {"query": MATCH, "random_score": {}, "boost_mode": "replace"}}), None),
    (standard(exact(COSINE)), "dense"),
    (standard(exact("doc['n'].value")), None),
    (standard({"script_score": {"query": MATCH, "script": {"id": "stored"}}}), None),
    (standard({"bool": {"filter": [TERM]}}), None),
    (standard({"constant_score": {"filter": MATCH}}), None),
    (standard({"sparse_vector": {"field": "tokens", "query_vector": {"a": 1.0}}}), None),
    (standard({"match_all": {}}), None),
    ({"standard": {}}, None),
    ({"standard": {"filter": [MATCH]}}, None),
    ({"rrf": {"retrievers": [KNN, standard(MATCH)]}}, "hybrid"),
    ({"rrf": {"retrievers": [standard(MATCH)]}}, "hybrid"),
    ({"linear": {"retrievers": [{"retriever": KNN, "weight": 2.0}]}}, "hybrid"),
    (reranked(KNN), "hybrid"),
    ({"pinned": {"ids": ["1"], "retriever": standard(MATCH)}}, "bm25"),
    ({"pinned": {"ids": ["1"], "retriever": {"pinned": {"ids": ["2"], "retriever": KNN}}}}, "dense"),
    ({"rescorer": {"retriever": KNN, "rescore": {"query": {"rescore_query": MATCH}}}}, "dense"),
    ({"rule": {"retriever": KNN, "ruleset_ids": ["a"], "match_criteria": {}}}, "dense"),
    ({"rule": {"retriever": {"rule": {"retriever": standard(MATCH)}}}}, "bm25"),
    ({"diversify": {"retriever": {"es_rrf": {"retrievers": [KNN]}}, "type": "mmr"}}, "hybrid"),
    ({"es_rrf": {"retrievers": [KNN]}}, "hybrid"),
    ({"es_rerank": {"retriever": KNN}}, "hybrid"),
    ({"rule": {}}, None),
]


@pytest.mark.parametrize(("tree", "kind"), TREES, ids=[str(number) for number in range(len(TREES))])
def test_the_kind_of_a_first_stage_is_what_its_scores_are_made_of(
    tree: dict[str, Any], kind: FirstStageKind | None
) -> None:
    assert kind_of(parse(tree)) == kind


def test_a_tree_that_elasticsearch_runs_has_the_same_kind() -> None:
    tree = {"rrf": {"retrievers": [KNN, standard(MATCH)]}}
    assert kind_of(parse(tree, elasticsearch_runs=["rrf"])) == "hybrid"
    pinned = {"pinned": {"ids": ["1"], "retriever": standard(MATCH)}}
    assert kind_of(parse(pinned, elasticsearch_runs=["pinned"])) == "bm25"


@pytest.mark.parametrize(
    "query",
    [
        {"bool": {"must": "river"}},
        {"bool": {"must": [None, 3, []]}},
        {"nested": None},
        {"match": "river"},
        {},
    ],
)
def test_a_query_that_elasticsearch_will_refuse_has_no_kind(query: Any) -> None:
    assert kind_of(parse(standard(query))) is None


def test_a_deep_query_is_read_without_recursion() -> None:
    query = MATCH
    for _ in range(5_000):
        query = {"bool": {"must": [query]}}
    assert kind_of(parse({"rule": {"retriever": standard(query)}})) == "bm25"


@pytest.mark.parametrize("first_stage", ["knn", "bm25", "hybrid"])
def test_the_short_form_s_first_stages_are_of_the_kind_that_they_are_called(first_stage: Any) -> None:
    schema = IndexSchema("articles", {"text": "text", "vector": "dense_vector"}, {"vector": 2}, known=True)
    tree = parse(retriever_for("river", schema, first_stage=first_stage))
    assert isinstance(tree, TextSimilarityReranker)
    assert kind_of(tree.retriever) == KIND_OF[first_stage]


@pytest.mark.parametrize(
    ("kind", "recorded", "used", "expected"),
    [
        ("dense", {"e5"}, set(), "e5"),
        ("dense", {"e5"}, {"bge"}, "e5"),
        ("dense", set(), {"bge"}, "bge"),
        ("hybrid", {"e5"}, set(), "e5"),
        ("dense", {"e5", "bge"}, {"e5"}, None),  # indices of different embedders in one window
        ("dense", set(), {"e5", "bge"}, None),
        ("dense", set(), set(), None),
        ("bm25", {"e5"}, {"e5"}, None),
    ],
)
def test_the_embedder_is_the_one_that_the_indices_record_or_else_that_made_the_vectors(
    kind: FirstStageKind, recorded: set[str], used: set[str], expected: str | None
) -> None:
    assert origin(kind, recorded, used) == WindowOrigin(kind, expected)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (reranked(KNN, blend=True), True),
        (reranked(KNN), False),
        (reranked(standard(MATCH), blend=True), False),
        (reranked({"rrf": {"retrievers": [KNN, standard(MATCH)]}}, blend=True), True),
        ({"rrf": {"retrievers": [KNN, reranked(standard(MATCH), blend=True)]}}, False),
        # Inside Elasticsearch the plugin tells what the indices record, whatever is fused.
        (reranked({"rrf": {"retrievers": [standard(MATCH), standard(MATCH)]}}, blend=True), True),
        (reranked(standard(IN_QUERY), blend=True), True),
        (reranked(standard(exact(COSINE)), blend=True), True),
        (reranked(standard({"bool": {"filter": [TERM]}}), blend=True), False),
    ],
)
def test_the_embedder_is_looked_up_where_it_may_choose_the_blend(
    tree: dict[str, Any], *, expected: bool
) -> None:
    assert blends_by_embedder(parse(tree)) == expected
