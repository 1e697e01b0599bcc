"""``rank`` with ``query``, ``sub_searches`` and ``knn``, the older way to write a fusion, as a retriever."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import BUILDER, LEAF, MATCH

from es_rerank.errors import EsRerankError, InvalidSearchError, RetrieverParsingError
from es_rerank.retrievers.grammar.rank import with_retriever
from es_rerank.retrievers.grammar.request import read_request
from es_rerank.retrievers.grammar.unparsed_tree import needs_es_rerank, size_of, tree_of

NEAR = {"field": "vector", "query_vector": [0.5, 1.0], "k": 3, "num_candidates": 7}
TERM = {"term": {"tag": "a"}}


def rank(**parameters: Any) -> dict[str, Any]:
    return {"rank": {"rrf": parameters}}


def test_a_query_and_a_knn_become_the_children_of_rrf() -> None:
    body = {"query": MATCH, "knn": NEAR, **rank(rank_window_size=20, rank_constant=5), "size": 4, "from": 2}
    children = [{"standard": {"query": MATCH}}, {"knn": NEAR}]
    assert with_retriever(body) == {
        "retriever": {"rrf": {"retrievers": children, "rank_window_size": 20, "rank_constant": 5}},
        "size": 4,
        "from": 2,
    }
    assert read_request(with_retriever(body)).offset == 2


def test_all_queries_go_before_all_knn_in_their_order() -> None:
    body = {"knn": [NEAR, {**NEAR, "field": "other"}], "sub_searches": [{"query": TERM}, {"query": MATCH}]}
    children = with_retriever(body | rank())["retriever"]["rrf"]["retrievers"]
    assert children == [
        {"standard": {"query": TERM}},
        {"standard": {"query": MATCH}},
        {"knn": NEAR},
        {"knn": {**NEAR, "field": "other"}},
    ]


@pytest.mark.parametrize(("beside", "k"), [({}, 10), ({"size": 4}, 4), ({"size": "6"}, 6)])
def test_without_k_as_many_neighbours_as_hits_are_asked_for(beside: dict[str, Any], k: int) -> None:
    near = {"field": "vector", "query_vector": [1.0]}
    body = with_retriever({"query": MATCH, "knn": near} | rank() | beside)
    assert body["retriever"]["rrf"]["retrievers"][1] == {"knn": {**near, "k": k}}


def test_the_filter_of_a_knn_stays_and_its_boost_has_no_effect() -> None:
    near = {**NEAR, "filter": [TERM], "boost": 3.0, "similarity": 0.2, "_name": "near"}
    body = with_retriever({"query": MATCH, "knn": near} | rank())
    kept = {key: value for key, value in near.items() if key != "boost"}
    assert body["retriever"]["rrf"]["retrievers"][1] == {"knn": kept}


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (rank(), "illegal_argument_exception", r"\[rrf\] requires at least 2 sub-queries to be defined"),
        ({"query": MATCH, **rank()}, "illegal_argument_exception", "at least 2 sub-queries"),
        ({"query": MATCH, "knn": [], **rank()}, "illegal_argument_exception", "at least 2 sub-queries"),
        (
            {"query": MATCH, "sub_searches": [{"query": TERM}], **rank()},
            "illegal_argument_exception",
            r"cannot specify field \[sub_searches\] and field \[query\]",
        ),
        (
            {"sub_searches": [{"query": TERM}], "query": MATCH, **rank()},
            "illegal_argument_exception",
            r"cannot specify field \[query\] and field \[sub_searches\]",
        ),
        (
            {"query": MATCH, "knn": NEAR, **rank(window_size=20)},
            "x_content_parse_exception",
            r"\[rrf\] unknown field \[window_size\] did you mean \[rank_window_size\]",
        ),
        *(
            ({"query": MATCH, "knn": NEAR, **rank(**{key: 1})}, "x_content_parse_exception", "unknown field")
            for key in ("retrievers", "query", "fields", "filter", "min_score", "_name")
        ),
        (
            {"query": MATCH, "knn": NEAR, **rank(rank_constant=0)},
            "x_content_parse_exception",
            r"\[rank_constant\] must be greater or equal to \[1\] for \[rrf\]",
        ),
        (
            {"query": MATCH, "knn": NEAR, **rank(rank_window_size={})},
            "x_content_parse_exception",
            r"\[rrf\] rank_window_size doesn't support values of type: START_OBJECT",
        ),
        (
            {"query": MATCH, "knn": NEAR, "rank": {"rrf": 1}},
            "x_content_parse_exception",
            r"\[rrf\] Expected START_OBJECT but was: VALUE_NUMBER",
        ),
        (
            {"query": MATCH, "knn": NEAR, "rank": {"rrf": {}, "other": {}}},
            "parsing_exception",
            r"expected token '}', but found token \[FIELD_NAME\] for \[other\]",
        ),
        (
            {"query": MATCH, "knn": [NEAR, 1], **rank()},
            "x_content_parse_exception",
            "malformed knn format, within the knn search array only objects are allowed; found VALUE_NUMBER",
        ),
        ({"query": MATCH, "knn": None, **rank()}, "parsing_exception", "Unknown key for a VALUE_NULL in"),
        ({"query": [], "knn": NEAR, **rank()}, "parsing_exception", r"START_ARRAY in \[query\]"),
        (
            {"sub_searches": {}, "knn": NEAR, **rank()},
            "parsing_exception",
            r"START_OBJECT in \[sub_searches\]",
        ),
        (
            {"sub_searches": [1], "knn": NEAR, **rank()},
            "x_content_parse_exception",
            r"malformed query within the \[sub_searches\] field; found VALUE_NUMBER",
        ),
        ({"sub_searches": [{}], "knn": NEAR, **rank()}, "illegal_argument_exception", r"Required \[query\]"),
        (
            {"sub_searches": [{"query": TERM, "x": 1}], "knn": NEAR, **rank()},
            "x_content_parse_exception",
            r"\[sub_search_source_builder\] unknown field \[x\]",
        ),
        (
            {"query": MATCH, "knn": {**NEAR, "min_score": 1}, **rank()},
            "x_content_parse_exception",
            r"\[knn\] unknown field \[min_score\]",
        ),
        (
            {"query": MATCH, "knn": {**NEAR, "boost": "x"}, **rank()},
            "x_content_parse_exception",
            r"\[knn\] failed to parse field \[boost\]",
        ),
        (
            {"query": MATCH, "knn": {**NEAR, "inner_hits": {}}, **rank()},
            "illegal_argument_exception",
            r"\[inner_hits\] .* \[retriever\]",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_elasticsearchs_words(
    body: dict[str, Any], kind: str, sentence: str
) -> None:
    with pytest.raises(RetrieverParsingError, match=sentence) as caught:
        with_retriever(body)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("beside", "fault"),
    [
        ({"size": 11}, "[rrf] requires [rank_window_size: 10] be greater than or equal to [size: 11]"),
        ({"sort": ["n"]}, "cannot specify [retriever] and [sort]"),
        ({"rescore": {}}, "cannot specify [retriever] and [rescore]"),
        ({"search_after": [1]}, "cannot specify [retriever] and [search_after]"),
    ],
)
def test_what_may_not_stand_beside_a_retriever_may_not_stand_beside_rank(
    beside: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidSearchError) as caught:
        read_request(with_retriever({"query": MATCH, "knn": NEAR, **rank(), **beside}))
    assert caught.value.faults == (fault,)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": MATCH},
        {"rank": None},
        {"rank": {}},
        {"rank": "rrf"},
        {"rank": ["rrf"]},
        {"rank": {"other": {}}},
        {"retriever": LEAF, "rank": {"other": {}}},
        {"sub_searches": [{"query": MATCH}]},
        {"query": {"term": {"rank": "rrf"}}, "sort": [{"rank": {"rrf": 1}}]},
    ],
)
def test_a_search_without_a_fusion_in_rank_is_left_to_elasticsearch(body: dict[str, Any]) -> None:
    assert tree_of(body) == body.get("retriever")
    assert not needs_es_rerank(tree_of(body))


def test_who_runs_rank_is_who_runs_its_tree() -> None:
    plain = {"query": MATCH, "knn": NEAR, **rank()}
    assert needs_es_rerank(tree_of(plain))
    assert not needs_es_rerank(tree_of(plain), {"rrf"})
    near = {"field": "vector", "k": 3, "query_vector_builder": BUILDER}
    built = {"query": MATCH, "knn": near, **rank()}
    assert needs_es_rerank(tree_of(built), {"rrf"})
    assert not needs_es_rerank(tree_of(built), {"rrf", "query_vector_builder"})
    assert size_of(tree_of({"knn": [NEAR] * 5, "query": MATCH, **rank()})) == 7


@pytest.mark.parametrize(
    "more",
    [{}, {"knn": 1}, {"knn": [1, None]}, {"sub_searches": 3}, {"sub_searches": [None, {}]}, {"query": None}],
)
def test_a_broken_fusion_in_rank_is_looked_at_without_an_error(more: dict[str, Any]) -> None:
    body = {"rank": {"rrf": None}, **more}
    assert needs_es_rerank(tree_of(body))
    with pytest.raises(EsRerankError):
        with_retriever(body)


def test_rank_and_retriever_exclude_each_other() -> None:
    with pytest.raises(RetrieverParsingError, match=r"Cannot specify both \[rank\] and \[retriever\]"):
        tree_of({"retriever": LEAF, **rank()})
