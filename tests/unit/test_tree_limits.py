"""Trees have limits, and work on a tree grows with its size: for the client and for the sidecar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retriever_bodies import LEAF, rrf
from scripted_elasticsearch import Reply, Script

from es_rerank.defaults import (
    MAX_DEPTH,
    MAX_LEVELS,
    MAX_QUERY_CHARACTERS,
    MAX_RETRIEVERS,
    MAX_RETRIEVERS_OF_MSEARCH,
)
from es_rerank.errors import EsRerankError, RequestError, TooLargeError
from es_rerank.retrievers.grammar.request import read_request
from es_rerank.retrievers.grammar.tree import nodes_of
from es_rerank.retrievers.grammar.unparsed_tree import retrievers_in, size_of
from es_rerank.retrievers.planning.document_sets import documents_query
from es_rerank.retrievers.planning.leaves import leaf_searches
from es_rerank.types import Candidate

KINDS = st.sampled_from(["rrf", "linear", "standard", "x"])
PARTS = st.none() | st.integers() | st.lists(st.integers(), max_size=2)
BODIES = st.recursive(
    PARTS | st.dictionaries(KINDS, st.dictionaries(st.sampled_from(["retriever", "query"]), PARTS)),
    lambda inner: st.dictionaries(
        KINDS,
        st.dictionaries(
            st.sampled_from(["retriever", "retrievers", "query"]),
            inner
            | st.lists(inner | st.fixed_dictionaries({"retriever": inner, "weight": PARTS}), max_size=3),
        ),
        max_size=2,
    ),
    max_leaves=12,
)


def one_by_one(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the retrievers of a body, by recursion."""
    for kind, content in body.items() if isinstance(body, dict) else ():
        if isinstance(content, dict):
            yield kind, content
            for key in ("retriever", "retrievers"):
                children = content.get(key)
                for child in children if isinstance(children, list) else [children]:
                    yield from one_by_one(child.get("retriever", child) if isinstance(child, dict) else child)


@given(BODIES)
def test_retrievers_are_found_in_the_order_of_the_tree(body: Any) -> None:
    assert list(retrievers_in(body)) == list(one_by_one(body))


def nested(levels: int) -> dict[str, Any]:
    tree = LEAF
    for _ in range(levels - 1):
        tree = rrf(tree)
    return tree


DEEP = nested(5_000)
WIDE = rrf(*[LEAF] * MAX_RETRIEVERS)


def test_trees_at_the_limits_are_read() -> None:
    assert size_of(nested(MAX_LEVELS)) == MAX_LEVELS
    assert size_of(rrf(*[LEAF] * (MAX_RETRIEVERS - 1))) == MAX_RETRIEVERS
    tree = read_request({"retriever": nested(MAX_LEVELS)}).retriever
    assert sum(1 for _ in nodes_of(tree)) == MAX_LEVELS


@pytest.mark.parametrize(
    ("tree", "limit"),
    [(WIDE, "1000 retrievers"), (nested(MAX_LEVELS + 1), "32 levels"), (DEEP, "200 levels")],
)
def test_a_larger_tree_is_refused_by_the_client_before_elasticsearch_is_asked(
    tree: dict[str, Any], limit: str
) -> None:
    script = Script(lambda *_: Reply())
    with pytest.raises(EsRerankError, match=limit):
        script.client().search(index="a", retriever=tree)
    assert script.asked == []


def test_a_body_with_too_many_levels_is_refused_by_the_client() -> None:
    aggregations: dict[str, Any] = {"a": {"terms": {"field": "n"}}}
    for _ in range(MAX_DEPTH):
        aggregations = {"a": {"terms": {"field": "n"}, "aggs": aggregations}}
    script = Script(lambda *_: Reply())
    with pytest.raises(RequestError, match="over 200 levels"):
        script.client().search(index="a", retriever=rrf(LEAF), aggs=aggregations)
    assert script.asked == []


def test_the_retrievers_of_an_msearch_are_limited_together() -> None:
    tree = rrf(*[LEAF] * 499)
    searches = [{}, {"retriever": tree}] * (MAX_RETRIEVERS_OF_MSEARCH // 500 + 1)
    script = Script(lambda *_: Reply())
    with pytest.raises(TooLargeError, match="over 10000 retrievers"):
        script.client().msearch(index="a", searches=searches)
    assert script.asked == []


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (rrf(*[LEAF] * 999, rank_window_size=10_000), "at most 200000 are read; use smaller windows"),
        (rrf(*[LEAF] * 20, rank_window_size=10_000), "hold up to 210000 documents"),
        (
            rrf(*[LEAF] * 200, filter=[{"terms": {"n": list(range(6_000))}}]),
            "sent with each leaf below, have 1200",
        ),
    ],
)
def test_windows_and_filters_are_limited_over_the_whole_tree(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        read_request({"retriever": tree})


def test_six_fusions_of_the_largest_window_are_within_the_limits() -> None:
    inner = [rrf(LEAF, LEAF, rank_window_size=10_000) for _ in range(4)]
    read_request({"retriever": rrf(*inner, rank_window_size=10_000)})


@pytest.mark.parametrize("more", [0, 1])
def test_the_text_of_a_query_is_limited(more: int) -> None:
    text = "x" * (MAX_QUERY_CHARACTERS + more)
    reranker = {"retriever": LEAF, "field": "text", "inference_text": text}
    builder = {"text_embedding": {"model_text": text}}
    knn = {"field": "v", "k": 1, "query_vector_builder": builder}
    for tree in ({"text_similarity_reranker": reranker}, rrf({"knn": knn})):
        if more:
            with pytest.raises(TooLargeError, match="has 65537 characters, at most 65536 are read; shorten"):
                read_request({"retriever": tree})
        else:
            read_request({"retriever": tree})


def test_each_leaf_of_a_large_tree_is_planned_once() -> None:
    tree = read_request({"retriever": rrf(*[LEAF] * 999)}).retriever
    assert sum(1 for _ in leaf_searches(tree, {})) == 999


def test_an_id_with_many_routings_needs_one_layer_for_each() -> None:
    candidates = [Candidate("i", "same", 1.0, rank, routing=f"r{rank}") for rank in range(1, 21)]
    query = documents_query(candidates)
    assert len(query["bool"]["filter"][1]["bool"]["should"]) == 20
