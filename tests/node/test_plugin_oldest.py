"""The plugin in the oldest Elasticsearch that it is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from drawn_trees import ALIAS, DIMS, PROPERTIES, empty, fill, search
from elasticsearch import BadRequestError, Elasticsearch
from plugin_bodies import inside
from rankings import assert_same_ranking, ranked_hits
from server import reserved_port, sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_embedder, load_reranker
from es_rerank.node import down, up
from es_rerank.node.plugin.archive import TESTED

# Documents without a text are named in a header; test_plugin_searches shows that it is right.
pytestmark = [
    pytest.mark.node,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning"),
]

OLDEST = TESTED[-1]


class Oldest(NamedTuple):
    """The node, and a client that runs the same trees outside, over the models of its sidecar."""

    inside: Elasticsearch
    outside: RerankClient


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oldest]:
    """A node of that version with the plugin, and its sidecar."""
    folder = tmp_path_factory.mktemp("oldest")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    try:
        with reserved_port() as port:
            settings = {"es_rerank.url": f"http://127.0.0.1:{port}"}
            node = up(folder / "state", plugin=True, settings=settings, version=OLDEST, timeout_s=300)
            assert node.version == OLDEST
            with (
                sidecar(node.url, *models, folder / "log", port),
                Elasticsearch(node.url, request_timeout=60) as es,
            ):
                fill(es)
                reranker, embedder = load_reranker(models[0]), load_embedder(models[1])
                yield Oldest(es, RerankClient(es, reranker=reranker, embedder=embedder, plugin="never"))
                empty(es)
    finally:
        down(folder / "state", purge=True)


@pytest.mark.parametrize("number", range(25))
def test_a_drawn_tree_gives_the_same_inside_and_outside(oldest: Oldest, number: int) -> None:
    """The first of the trees that test_plugin_trees draws: fusion, reranking and query vectors."""
    body = search(number)
    here = oldest.inside.search(index=ALIAS, body=inside(body)).body
    there = oldest.outside.search(index=ALIAS, body=body).body
    if "min_score" not in str(body):
        # Elasticsearch 9.1 counts what the leaves match, also where a retriever has a minimum.
        assert here["hits"]["total"] == there["hits"]["total"]
    assert_same_ranking(ranked_hits(body, here), ranked_hits(body, there))


def test_hits_say_what_the_reranker_said_also_below_another_compound(oldest: Oldest) -> None:
    leaf: dict[str, Any] = {"standard": {"query": {"match": {"text": "moon river"}}}}
    tree = {"es_rerank": {"retriever": leaf, "field": "text", "inference_text": "moon over the river"}}
    hits = oldest.inside.search(index=ALIAS, retriever=tree)["hits"]["hits"]
    assert hits[0]["fields"]["rerank.probability"] == [hits[0]["_score"]]
    answer = oldest.inside.search(index=ALIAS, retriever={"es_rrf": {"retrievers": [tree]}})
    expected = {hit["_id"]: hit["fields"] for hit in hits}
    assert {hit["_id"]: hit["fields"] for hit in answer["hits"]["hits"]} == expected


def test_a_pipeline_makes_passages_that_a_query_vector_finds(oldest: Oldest) -> None:
    es = oldest.inside
    es.ingest.put_pipeline(id="oldest", processors=[{"es_rerank_passages": {}}])
    es.indices.create(index="oldest", mappings={"properties": PROPERTIES})
    texts = {"1": "the king signed the treaty", "2": "a dog on the moon"}
    for identifier, text in texts.items():
        es.index(index="oldest", id=identifier, document={"text": text}, pipeline="oldest", refresh=True)
    (passage,) = es.get(index="oldest", id="1")["_source"]["passages"]
    assert passage["text"] == texts["1"]
    assert len(passage["vector"]) == DIMS
    near = {
        "knn": {
            "field": "passages.vector",
            "query_vector_builder": {"es_rerank": {"model_text": texts["2"]}},
            "k": 1,
            "num_candidates": 10,
        }
    }
    (hit,) = es.search(index="oldest", retriever=near)["hits"]["hits"]
    assert hit["_id"] == "2"


def test_it_reads_stored_fields_and_gives_no_partial_results_to_who_wants_none(oldest: Oldest) -> None:
    """Version 9.1 tells a retriever nothing of ``allow_partial_search_results``."""
    es, name = oldest.inside, "oldest-unkept"
    stored = {"type": "text", "store": True}
    properties = {"text": stored, "word": {"type": "keyword"}}
    es.indices.create(index=name, mappings={"_source": {"enabled": False}, "properties": properties})
    es.index(index=name, id="1", document={"text": "a moon", "word": "a moon"}, refresh=True)
    leaf: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    for field in ("text", "word"):
        tree = {"es_rerank": {"retriever": leaf, "field": field, "inference_text": "moon"}}
        (hit,) = es.search(index=name, retriever=tree)["hits"]["hits"]
        assert "rerank.logit" in hit["fields"]
    broken: dict[str, Any] = {"standard": {"query": {"match": {"text": "moon"}}, "sort": ["text"]}}
    fused = {"es_rrf": {"retrievers": [broken]}}
    where = f"{ALIAS},{name}"
    with pytest.raises(BadRequestError):
        es.search(index=where, retriever=fused, allow_partial_search_results=False)
    es.indices.delete(index=name)


def test_a_minimum_of_a_leaf_below_two_compounds_leaves_the_total_as_it_is(oldest: Oldest) -> None:
    """Elasticsearch 9.1 counts what the leaf matches, and may show one such document; the README says so."""
    query: dict[str, Any] = {"match": {"text": "moon river"}}
    fourth = oldest.inside.search(index=ALIAS, query=query)["hits"]["hits"][3]["_score"]
    one: dict[str, Any] = {"rrf": {"retrievers": [{"standard": {"query": query, "min_score": fourth}}]}}
    trees: list[dict[str, Any]] = [one, {"rrf": {"retrievers": [one]}}]
    trees.append(
        {"text_similarity_reranker": {"retriever": one, "field": "text", "inference_text": "moon river"}}
    )
    matched = oldest.inside.count(index=ALIAS, query=query)["count"]
    for tree, total in zip(trees, (4, matched, matched), strict=True):
        body = {"retriever": tree, "track_total_hits": True}
        here = oldest.inside.search(index=ALIAS, body=inside(body))["hits"]
        there = oldest.outside.search(index=ALIAS, body=body)["hits"]
        assert len(there["hits"]) == there["total"]["value"] == 4
        assert [hit["_id"] for hit in here["hits"][:4]] == [hit["_id"] for hit in there["hits"]]
        assert all(hit["_score"] == 0 for hit in here["hits"][4:])
        assert here["total"]["value"] == total


def test_it_says_how_it_is(oldest: Oldest) -> None:
    said = oldest.inside.perform_request("GET", "/_es_rerank", headers={"accept": "application/json"}).body
    assert said["sidecar"]["status"] == "ok"
