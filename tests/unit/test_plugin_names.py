"""Trees in the names of the plugin: what is renamed, what stays, and what the plugin cannot run."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retriever_bodies import (
    BUILDER,
    GONE,
    LEAF,
    RESCORE,
    knn,
    linear,
    pinned,
    reranker,
    rescorer,
    rrf,
    standard,
)

from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.plugin_names import (
    ids_that_may_fail,
    inference_ids,
    lacking,
    only_inside,
    translated,
)
from es_rerank.retrievers.grammar.tree import DEFAULT_INFERENCE_ID

BACK = {"es_rrf": "rrf", "es_linear": "linear", "es_rerank": "text_similarity_reranker"}


def weighted(child: dict[str, Any]) -> dict[str, Any]:
    return {"retriever": child, "weight": 2}


# The query and the text name retrievers too: only retrievers are translated.
LEAVES = st.sampled_from(
    [
        LEAF,
        standard(query={"match": {"rrf": "linear"}}, filter={"term": {"retriever": "rrf"}}, _name="rrf"),
        knn(),
        knn(query_vector=GONE, query_vector_builder=BUILDER),
        {"knn": {"field": "v", "k": 5, "query_vector_builder": {"lookup": {"id": "text_embedding"}}}},
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda children: st.one_of(
        st.builds(rrf, children, children.map(weighted)),
        st.builds(lambda *entries: linear(*entries, normalizer="minmax"), children.map(weighted)),
        st.builds(lambda child: reranker(retriever=child, min_score=0.1), children),
        st.builds(lambda child: reranker(retriever=child, inference_id="other", field=["a", "b"]), children),
        st.builds(lambda child: rescorer(retriever=child, rescore=RESCORE), children),
    ),
    max_leaves=6,
)


def back(body: Any) -> Any:
    """Return a translated tree in Elastic's names."""
    ((kind, content),) = body.items()
    content = dict(content)
    if "retriever" in content:
        content["retriever"] = back(content["retriever"])
    if "retrievers" in content:
        content["retrievers"] = [
            {**entry, "retriever": back(entry["retriever"])} if "retriever" in entry else back(entry)
            for entry in content["retrievers"]
        ]
    builder = content.get("query_vector_builder")
    if isinstance(builder, dict):
        content["query_vector_builder"] = {
            "text_embedding" if name == "es_rerank" else name: value for name, value in builder.items()
        }
    return {BACK.get(kind, kind): content}


@given(TREES)
def test_only_names_change(tree: dict[str, Any]) -> None:
    before = copy.deepcopy(tree)
    made = translated(tree)
    assert tree == before, "the caller's tree is not changed"
    assert json.dumps(back(made)) == json.dumps(tree), "keys, their order and values stay"
    text = json.dumps(made)
    for name in ('"rrf": {', '"linear": {', '"text_similarity_reranker": {', '"text_embedding": {'):
        assert name not in text


@given(TREES)
def test_what_elasticsearch_runs_keeps_its_name(tree: dict[str, Any]) -> None:
    everything = ("rrf", "linear", "text_similarity_reranker", "query_vector_builder")
    assert translated(tree, everything) == tree


@given(TREES)
def test_a_translated_tree_is_of_elasticsearch_alone(tree: dict[str, Any]) -> None:
    made = translated(tree)
    assert translated(made) == made, "names of the plugin stay"
    assert not only_inside(made)
    assert parse(made) is not None


def test_a_name_that_stays_keeps_translated_children() -> None:
    tree = rrf(reranker(retriever=rrf(LEAF, LEAF)), LEAF)
    made = translated(tree, ["rrf"])
    (child, _) = made["rrf"]["retrievers"]
    assert list(child["es_rerank"]["retriever"]) == ["rrf"]


def test_models_are_asked_for_by_name() -> None:
    tree = rrf(reranker(), reranker(inference_id="one"), reranker(inference_id="two"))
    made = translated(tree, (), {".rerank-v1-elasticsearch": "default", "one": "uno"})
    asked = [child["es_rerank"]["inference_id"] for child in made["es_rrf"]["retrievers"]]
    assert asked == ["default", "uno", "two"]


def test_inference_ids_of_children_come_first() -> None:
    tree = reranker(retriever=reranker(inference_id="inner"), inference_id="outer")
    assert inference_ids(tree) == ["inner", "outer"]
    assert inference_ids(tree, ["text_similarity_reranker"]) == []


def nested(levels: int) -> dict[str, Any]:
    tree = LEAF
    for _ in range(levels):
        tree = rrf(tree, LEAF)
    return tree


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (rrf(pinned(), LEAF), r"no retriever \[pinned\]"),
        (linear(weighted(reranker(retriever=pinned()))), r"no retriever \[pinned\]"),
        (nested(9), "9 levels"),
        (reranker(rank_window_size=1001), r"\[rank_window_size\] 1001"),
        (reranker(rank_window_size="1001"), r"\[rank_window_size\] 1001"),
    ],
)
def test_what_the_plugin_lacks_is_a_sentence(tree: dict[str, Any], words: str) -> None:
    fault = lacking(tree)
    assert fault is not None
    assert re.search(words, fault), fault


@pytest.mark.parametrize("tree", [nested(8), reranker(rank_window_size=1000), rrf(rank_window_size=10_000)])
def test_what_the_plugin_runs(tree: dict[str, Any]) -> None:
    assert lacking(tree) is None


def test_a_licensed_kind_is_not_lacking() -> None:
    assert lacking(rrf(pinned(), LEAF), ["pinned"]) is None
    assert lacking(reranker(rank_window_size=2000), ["text_similarity_reranker"]) is None


def test_trees_that_run_only_inside() -> None:
    assert only_inside({"es_rrf": {"retrievers": [rrf(), LEAF]}})
    assert only_inside({"rule": {"retriever": rrf(LEAF, LEAF), "ruleset_ids": ["a"]}})
    assert not only_inside(rrf({"es_rrf": {"retrievers": [LEAF, LEAF]}}, LEAF))
    assert not only_inside({"es_rrf": {"retrievers": [rrf(), LEAF]}}, ["rrf"])


def test_an_id_may_be_missed_where_all_its_rerankers_may_fail() -> None:
    def tree(*rerankers: dict[str, Any]) -> dict[str, Any]:
        content = {"retriever": {"standard": {}}, "field": "t", "inference_text": "q"}
        return {"rrf": {"retrievers": [{"text_similarity_reranker": content | more} for more in rerankers]}}

    may, a = {"allow_rerank_failures": True}, {"inference_id": "a"}
    assert ids_that_may_fail(tree(may)) == {DEFAULT_INFERENCE_ID}
    assert ids_that_may_fail(tree(a | {"allow_rerank_failures": "true"})) == {"a"}
    assert ids_that_may_fail(tree(a | may, a)) == ids_that_may_fail(tree(a, a | may)) == frozenset()
    assert ids_that_may_fail(tree(a, may)) == {DEFAULT_INFERENCE_ID}
    assert ids_that_may_fail(tree(may), ["text_similarity_reranker"]) == frozenset()
