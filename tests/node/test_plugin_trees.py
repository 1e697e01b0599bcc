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
        assert numbers(here) == numbers(there)
        assert_best_of_groups(here)
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


def numbers(answer: Any) -> Any:
    """Return the aggregations without ``top_hits``: outside they see places instead of scores."""
    groups = [
        {key: value for key, value in bucket.items() if key != "best"}
        for bucket in answer["aggregations"]["groups"]["buckets"]
    ]
    return sorted(groups, key=lambda bucket: str(bucket["key"])), answer["aggregations"]["numbers"]


def assert_best_of_groups(answer: Any) -> None:
    """The hits of ``top_hits`` have the scores of the hits, in descending order."""
    scores = {(hit["_index"], hit["_id"]): hit["_score"] for hit in answer["hits"]["hits"]}
    for bucket in answer["aggregations"]["groups"]["buckets"]:
        best = bucket["best"]["hits"]["hits"] if "best" in bucket else []
        assert all(one["_score"] >= next_one["_score"] for one, next_one in pairwise(best))
        for hit in best:
            assert hit["_score"] == scores.get((hit["_index"], hit["_id"]), hit["_score"])


def assert_highlights(es: Elasticsearch, here: list[Any], there: list[Any]) -> None:
    """Highlights are words of the query in texts of the document, and all that outside marks.

    Outside does not mark words of a leaf that did not bring the document; Elasticsearch does.
    """
    expected = {hit["_id"]: marked(hit) for hit in there}
    for hit in here:
        source = es.get(index=hit["_index"], id=hit["_id"])["_source"]
        for field, fragments in hit.get("highlight", {}).items():
            for fragment in fragments:
                assert re.sub("</?em>", "", fragment) in source[field]
        assert {word for _, word in marked(hit)} <= set(WORDS)
        assert expected.get(hit["_id"], set()) <= marked(hit)


def marked(hit: Any) -> set[tuple[str, str]]:
    return {
        (field, word)
        for field, fragments in hit.get("highlight", {}).items()
        for fragment in fragments
        for word in re.findall("<em>(.*?)</em>", fragment)
    }
