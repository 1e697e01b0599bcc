"""Trees inside Elasticsearch, by the plugin, give what they give outside, by the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from differences import assert_same_answer, assert_same_rest
from drawn_trees import ALIAS, empty, fill, levels, search
from elasticsearch import Elasticsearch
from plugin_bodies import inside
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

    assert here["_shards"]["failed"] == there["_shards"]["failed"] == 0
    assert_same_answer(body, here, there)
    assert_same_rest(body, here, there)


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
