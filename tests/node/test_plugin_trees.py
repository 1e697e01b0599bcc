"""Trees inside Elasticsearch, by the plugin, give what they give outside, by the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from drawn_trees import ALIAS, WORDS, empty, fill, levels, search
from elasticsearch import Elasticsearch
from plugin_bodies import inside
from rankings import assert_same_ranking, close, ranked_hits
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_embedder, load_reranker

# Documents without a text are named in a header; it is shown to be right in test_plugin_searches.
pytestmark = pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")

TREES = 150


@pytest.fixture(scope="module")
def trees(plugin_es: Elasticsearch, plugin_sidecar: str) -> Iterator[Elasticsearch]:
    """The node with two indices of several shards under one alias, each shard merged to one segment."""
    fill(plugin_es)
    yield plugin_es
    empty(plugin_es)


@pytest.fixture(scope="module")
def outside(trees: Elasticsearch, tmp_path_factory: pytest.TempPathFactory) -> RerankClient:
    """A client that runs the trees itself, over models with the weights that the sidecar's have."""
    folder = tmp_path_factory.mktemp("outside")
    return RerankClient(
        trees,
        reranker=load_reranker(tiny_cross_encoder(folder / "reranker")),
        embedder=load_embedder(tiny_bi_encoder(folder / "embedder")),
        plugin="never",
    )


@pytest.mark.parametrize("number", range(TREES))
def test_a_drawn_tree_gives_the_same_inside_and_outside(
    trees: Elasticsearch, outside: RerankClient, number: int
) -> None:
    body = search(number)
    here = trees.search(index=ALIAS, body=inside(body)).body
    there = outside.search(index=ALIAS, body=body).body
    assert not there.get("rerank", {}).get("inside")

    assert here["hits"]["total"] == there["hits"]["total"]
    assert here["_shards"]["failed"] == there["_shards"]["failed"] == 0
    ranked, expected = ranked_hits(body, here), ranked_hits(body, there)
    assert_same_ranking(ranked, expected)
    assert_same_said(ranked, expected)
    if "aggs" in body:
        assert_same_computed(here, there)
    if "highlight" in body:
        assert_highlights(trees, ranked, expected)


def test_the_drawn_trees_have_all_that_a_tree_can_have() -> None:
    bodies = [search(number) for number in range(TREES)]
    assert min(levels(body["retriever"]) for body in bodies) == 3
    assert max(levels(body["retriever"]) for body in bodies) == 5
    written = [str(body) for body in bodies]
    for word in (
        *("'standard'", "'knn'", "'rrf'", "'linear'", "'text_similarity_reranker'", "'text_embedding'"),
        *("'filter'", "'weight'", "'minmax'", "'l2_norm'", "'min_score'", "'rank_constant'", "'similarity'"),
        *("'from'", "'size'", "'collapse'", "'post_filter'", "'top_hits'", "'highlight'"),
        *("'passages.text'", "'passages.vector'", "['title', 'text']", "'chunking_settings'", "'top_k_mean'"),
    ):
        assert sum(word in body for body in written) >= 10, word


def assert_same_said(here: list[Any], there: list[Any]) -> None:
    """What a hit says of the reranker is what it says outside, also under a fusion.

    Outside says more: what a reranker said of a document that it put below the window of its parent.
    """
    said = {hit["_id"]: hit.get("fields", {}) for hit in there}
    for hit in here:
        fields, expected = hit.get("fields", {}), said.get(hit["_id"])
        if expected is None:  # of equal scores, the page shows another one
            continue
        for name in ("rerank.logit", "rerank.first_stage_score"):
            if name in fields:
                assert close(fields[name][0], expected[name][0]), (hit["_id"], name)
        if "rerank.passage" in fields:
            assert fields["rerank.passage"] == expected["rerank.passage"]


def assert_same_computed(here: Any, there: Any) -> None:
    """Aggregations are the same, also those that read scores. Of equal scores, either may come first."""
    buckets, expected = by_key(here), by_key(there)
    assert {key: bucket["doc_count"] for key, bucket in buckets.items()} == {
        key: bucket["doc_count"] for key, bucket in expected.items()
    }
    for key, bucket in buckets.items():
        assert ("best" in bucket) == ("best" in expected[key])
        if "best" in bucket:
            best, others = bucket["best"]["hits"], expected[key]["best"]["hits"]
            assert best["total"] == others["total"]
            scores = [hit["_score"] for hit in best["hits"]]
            assert all(one >= next_one for one, next_one in pairwise(scores))
            assert len(scores) == len(others["hits"])
            for score, hit in zip(scores, others["hits"], strict=True):
                assert close(score, hit["_score"])
    assert here["aggregations"]["numbers"] == there["aggregations"]["numbers"]


def by_key(answer: Any) -> dict[Any, Any]:
    return {bucket["key"]: bucket for bucket in answer["aggregations"]["groups"]["buckets"]}


def assert_highlights(es: Elasticsearch, here: list[Any], there: list[Any]) -> None:
    """Highlights are the same, and mark words of the query in texts of the document."""
    expected = {hit["_id"]: hit.get("highlight") for hit in there}
    for hit in here:
        source = es.get(index=hit["_index"], id=hit["_id"])["_source"]
        for field, fragments in hit.get("highlight", {}).items():
            for fragment in fragments:
                assert re.sub("</?em>", "", fragment) in source[field]
                assert set(re.findall("<em>(.*?)</em>", fragment)) <= set(WORDS)
        if hit["_id"] in expected:  # of equal scores, the page may show another one
            assert hit.get("highlight") == expected[hit["_id"]]
