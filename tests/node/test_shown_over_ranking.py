"""What a hit shows of a ranking, highlights, explanations and names, is of the caller's tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from app_client import app_client
from corpus import EMBEDDER
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from over_ranking import (
    DOCUMENTS,
    SHARDS,
    WINDOW,
    Body,
    document,
    filled,
    knn,
    ours,
    reranked,
    rescored,
    standard,
)

from es_rerank import RerankClient
from es_rerank.errors import InvalidSearchError
from es_rerank.node import Node
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker

NAME = "shown-over-ranking"


@pytest.fixture(scope="module")
def es(node: Node) -> Iterator[Elasticsearch]:
    with filled(node.url, NAME) as client:
        yield client


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")


FAST = {
    "fast vectors": {"type": "fvh", "fields": {"text": {}, "title": {}}},
    "ordered by score": {"order": "score", "fields": {"text": {"type": "fvh", "fragment_size": 20}}},
    "fields together": {
        "type": "fvh",
        "fields": {"text": {"matched_fields": ["text", "text.plain"], "require_field_match": False}},
    },
    "plain": {"type": "plain", "fields": {"text": {"fragment_size": 20}}},
}


@pytest.mark.parametrize("highlight", FAST.values(), ids=FAST)
def test_every_highlighter_marks_what_the_leaves_ask_for(
    client: RerankClient, es: Elasticsearch, highlight: Body
) -> None:
    """Elasticsearch's own compound retriever marks nothing by fast vectors; the same queries in a ``bool``
    query are marked.
    """
    near = knn("queen moon", filter={"match": {"text": "paper"}})
    leaves = [standard("treaty king", filter={"match": {"text": "moon"}}), standard("dog"), near]
    tree = reranked({"rrf": {"rank_window_size": WINDOW, "retrievers": leaves}})
    best = {"top_hits": {"size": 5, "highlight": highlight}}
    answer = client.search(index=NAME, retriever=tree, highlight=highlight, aggs={"best": best})
    should = [
        {
            "bool": {
                "must": {"match": {"text": "treaty king"}},
                "filter": {"match": {"text": "moon"}},
            }
        },
        {"match": {"text": "dog"}},
        {"match": {"text": "paper"}},
    ]
    expected = es.search(index=NAME, query={"bool": {"should": should}}, highlight=highlight, size=DOCUMENTS)
    marked = {hit["_id"]: hit.get("highlight") for hit in expected["hits"]["hits"]}
    hits = answer["hits"]["hits"]
    assert {hit["_id"]: hit.get("highlight") for hit in hits} == {
        hit["_id"]: marked[hit["_id"]] for hit in hits
    }
    assert sum("highlight" in hit for hit in hits) > WINDOW / 2
    for hit in answer["aggregations"]["best"]["hits"]["hits"]:
        assert hit["highlight"] == marked[hit["_id"]]


def test_ids_are_no_words_to_mark(client: RerankClient, es: Elasticsearch) -> None:
    text = "king moon king"
    vector = EMBEDDER.embed([text])[0].tolist()
    es.index(index=NAME, id="king", document=document(7) | {"text": text, "vector": vector}, refresh=True)
    try:
        tree = reranked(knn(text))
        highlight: Body = {"require_field_match": False, "fields": {"text": {"type": "plain"}}}
        hits = client.search(index=NAME, retriever=tree, highlight=highlight)["hits"]["hits"]
        assert "king" in {hit["_id"] for hit in hits}
        assert not any("highlight" in hit for hit in hits)
    finally:
        es.delete(index=NAME, id="king", refresh=True)


@pytest.mark.parametrize("said", [True, "true"])
def test_nothing_explains_a_request_of_our_own(client: RerankClient, said: Any) -> None:
    tree = reranked(
        {"rrf": {"retrievers": [standard("treaty king"), standard("moon")], "rank_window_size": WINDOW}}
    )
    body = {
        "retriever": tree,
        "explain": said,
        "aggs": {
            "groups": {
                "terms": {"field": "group"},
                "aggs": {"best": {"top_hits": {"size": 99, "explain": said, "_source": False}}},
            }
        },
        "collapse": {
            "field": "group",
            "inner_hits": [
                {"name": "ranked", "size": 99, "explain": said, "_source": False},
                {
                    "name": "sorted",
                    "size": 99,
                    "explain": said,
                    "sort": ["_score", "number"],
                    "_source": False,
                },
            ],
        },
    }
    answer = client.search(index=NAME, body=body)
    page = answer["hits"]["hits"]
    best = [
        hit
        for bucket in answer["aggregations"]["groups"]["buckets"]
        for hit in bucket["best"]["hits"]["hits"]
    ]
    groups = [
        hit
        for top in page
        for name in ("ranked", "sorted")
        for hit in top["inner_hits"][name]["hits"]["hits"]
    ]
    assert len(page) == 3
    assert len(best) * 2 == len(groups) > 3 * WINDOW
    for hit in (*page, *best, *groups):
        explained = hit["_explanation"]
        assert explained["value"] == hit["_score"]
        if hit["_score"]:
            assert explained["description"].startswith(
                "text_similarity_reranker match using inference endpoint"
            )
            assert explained["details"][0]["description"].startswith("rrf score: [")
        else:
            assert explained["description"] == f"doc not found in top {WINDOW} rank docs"
        assert "ConstantScore" not in str(explained)


def test_leaves_explain_only_the_hits_that_are_shown(client: RerankClient) -> None:
    leaves = [standard("treaty king"), standard("moon"), knn("king moon")]
    tree = reranked({"rrf": {"retrievers": leaves, "rank_window_size": WINDOW}})
    plain = client.search(index=NAME, retriever=tree, size=3)["rerank"]["requests"]
    best = {"best": {"top_hits": {"size": 2, "explain": True}}}
    for asked, more in (({"explain": True}, 1), ({"aggs": best}, 2), ({"aggs": best, "explain": True}, 2)):
        answer = client.search(index=NAME, body={**asked, "retriever": tree, "size": 3})
        assert answer["rerank"]["requests"] == plain + more
        explained = [hit for hit in answer["hits"]["hits"] if "_explanation" in hit]
        assert len(explained) == (3 if "explain" in asked else 0)
        if "aggs" in asked:
            explained += answer["aggregations"]["best"]["hits"]["hits"]
        for hit in explained:
            assert "score of the first stage" not in str(hit["_explanation"])
            assert "_shard" in hit
        said = str([hit["_explanation"] for hit in explained])
        assert "weight(text:" in said
        assert "within top" in said


def test_explain_as_an_argument_explains_the_ranking(client: RerankClient) -> None:
    for said in (True, "true"):
        answer = client.search(index=NAME, retriever=reranked(standard("king")), explain=said, size=2)
        for hit in answer["hits"]["hits"]:
            assert hit["_explanation"]["description"].startswith("text_similarity_reranker match")
    answer = client.search(index=NAME, retriever=reranked(standard("king")), explain="false", size=2)
    assert not any("_explanation" in hit for hit in answer["hits"]["hits"])


async def test_explain_in_an_address_explains_the_ranking(es: Elasticsearch, node: Node) -> None:
    model = WordOverlapReranker()
    running = Service(AsyncElasticsearch(node.url), lambda: ({model.name: model}, EMBEDDER), Limits())
    async with app_client(running, timeout=60) as caller:
        for said in ("explain=true", "explain=true&size=2"):
            body = {"retriever": reranked(standard("king"))}
            hits = (await caller.post(f"/{NAME}/_search?{said}", json=body)).json()["hits"]["hits"]
            assert hits
            for hit in hits:
                assert hit["_explanation"]["description"].startswith("text_similarity_reranker match")
                assert hit["_explanation"]["value"] == hit["_score"]


def test_names_of_compounds_and_vectors_say_the_scores_that_they_gave(client: RerankClient) -> None:
    fused = {
        "rrf": {
            "retrievers": [standard("treaty king", _name="words"), knn("moon", _name="near")],
            "rank_window_size": WINDOW,
            "_name": "fused",
        }
    }
    answer = client.search(
        index=NAME, retriever=reranked(fused, _name="top"), include_named_queries_score=True
    )
    first = {hit["_id"]: hit["_score"] for hit in client.search(index=NAME, retriever=fused)["hits"]["hits"]}
    near = client.search(index=NAME, retriever=reranked(knn("moon")), size=30)["hits"]["hits"]
    similar = {hit["_id"]: hit["fields"]["rerank.first_stage_score"][0] for hit in near}
    assert len(answer["hits"]["hits"]) == WINDOW
    for hit in answer["hits"]["hits"]:
        named = hit["matched_queries"]
        assert named["top"] == hit["_score"]
        assert named["fused"] == first[hit["_id"]]
        assert named.get("near") == similar.get(hit["_id"])


def test_a_profile_shows_each_search_over_the_ranking(client: RerankClient) -> None:
    tree = ours(rescored(standard("treaty king moon")))
    plain = client.search(index=NAME, retriever=tree, profile=True, aggs={"n": {"max": {"field": "number"}}})
    assert len(plain["profile"]["shards"]) == SHARDS
    apart = client.search(index=NAME, retriever=tree, profile="true", aggs={"best": {"top_hits": {}}})
    assert len(apart["profile"]["shards"]) == 2 * SHARDS
    assert sum(len(shard["aggregations"]) for shard in apart["profile"]["shards"]) == SHARDS


def test_scores_that_elasticsearch_refuses_are_refused(client: RerankClient, es: Elasticsearch) -> None:
    rescore = {
        "window_size": 10,
        "query": {"rescore_query": {"match": {"text": "river"}}, "query_weight": -1.0},
    }
    native: Body = {"rescorer": {"rescore": rescore, "retriever": standard("king")}}
    words = "RankDoc scores must be positive values. Missing a normalization step?"
    with pytest.raises(ApiError, match="RankDoc scores must be positive values"):
        es.search(index=NAME, retriever=native)
    fused = {"rrf": {"retrievers": [standard("king")]}}
    for tree in ({"rescorer": {"rescore": rescore, "retriever": fused}}, {"rrf": {"retrievers": [native]}}):
        with pytest.raises(InvalidSearchError) as caught:
            client.search(index=NAME, retriever=tree)
        assert words in str(caught.value)
    heavy = {"linear": {"retrievers": [{"retriever": standard("king"), "weight": 3e38}]}}
    with pytest.raises(InvalidSearchError, match="the plugin es-rerank"):
        client.search(index=NAME, retriever=heavy)
