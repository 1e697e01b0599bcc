"""A window of thousands of documents gives the right answer, whatever else a search asks for."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from corpus import EMBEDDER
from elasticsearch import Elasticsearch
from over_ranking import WORDS, Body, ours, reranked, rescored, standard

from es_rerank import RerankClient
from es_rerank.node import Node
from es_rerank.retrievers.planning.scored_documents import scored_documents_query
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Candidate

NAME, ROUTED = "large-windows", "large-windows-routed"
DOCUMENTS, ROUTED_DOCUMENTS = 10_500, 3_000
MANY = "treaty king queen paper moon dog river"
"""Words that more than 10,000 of the documents have."""


@pytest.fixture(scope="module")
def es(node: Node) -> Iterator[Elasticsearch]:
    """A client, an index of 10,500 documents, and one of 3,000 documents that all have a routing of their
    own, two and two with the same id.
    """
    with Elasticsearch(node.url, request_timeout=120) as client:
        properties = {
            "text": {"type": "text"},
            "vector": {
                "type": "dense_vector",
                "dims": EMBEDDER.dims,
                "similarity": "cosine",
                "index_options": {"type": "flat"},
            },
            "group": {"type": "integer"},
            "part": {"type": "float"},
        }
        for name, count in ((NAME, DOCUMENTS), (ROUTED, ROUTED_DOCUMENTS)):
            client.options(ignore_status=404).indices.delete(index=name)
            client.indices.create(
                index=name,
                mappings={"properties": properties},
                settings={"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": -1},
            )
            for start in range(0, count, 2_500):
                operations: list[Body] = []
                for number in range(start, min(start + 2_500, count)):
                    routed = {"routing": f"r{number}"} if name == ROUTED else {}
                    document_id = f"d{number // 2 if routed else number}"
                    operations += [{"index": {"_id": document_id, **routed}}, document(number)]
                assert not client.bulk(index=name, operations=operations)["errors"]
            client.indices.refresh(index=name)
        yield client
        for name in (NAME, ROUTED):
            client.indices.delete(index=name)


def document(number: int) -> Body:
    text = " ".join(random.Random(number).choices(WORDS, k=6 + number % 7))
    return {"text": text, "vector": EMBEDDER.embed([text])[0].tolist(), "group": number % 700} | (
        {"part": number % 11 * 1.1} if number % 3 else {}
    )


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never", timeout_s=120)


GROUPS: Body = {
    "field": "group",
    "inner_hits": {"name": "g", "size": 5, "_source": False, "sort": [{"_score": "desc"}]},
}
ASKED: dict[str, Body] = {
    "without a size": {},
    "a page of it": {"from": 3_000, "size": 50},
    "collapse": {"collapse": {"field": "group"}, "size": 600},
    "collapse with inner hits": {"collapse": GROUPS, "size": 30},
    "collapse with ranked inner hits": {
        "collapse": {"field": "group", "inner_hits": {"name": "g", "size": 4, "_source": False}},
        "size": 30,
    },
    "collapse by decimals and by nothing": {"collapse": {**GROUPS, "field": "part"}, "size": 12},
    "post filter": {"post_filter": {"range": {"group": {"lt": 350}}}, "size": 1_000},
    "least score": {"min_score": 0.5, "size": 100},
    "aggregations": {
        "aggs": {"groups": {"terms": {"field": "group", "size": 5}}, "best": {"top_hits": {"size": 100}}},
        "size": 3,
    },
    "a sample": {
        "aggs": {"s": {"sampler": {"shard_size": 2_000}, "aggs": {"n": {"stats": {"field": "group"}}}}},
        "size": 0,
    },
}


@pytest.mark.parametrize("window", [5_000, 10_000])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_large_window_is_that_of_elasticsearchs_own_ranking(
    client: RerankClient, es: Elasticsearch, window: int, asked: Body
) -> None:
    native = rescored(standard(MANY), window)
    theirs = es.search(index=NAME, body={**asked, "retriever": native, "_source": False}).body
    answer = client.search(
        index=NAME, body={**asked, "retriever": ours(native, window), "_source": False}
    ).body
    assert answer.pop("rerank")["window"] == window
    for each in (theirs, answer):
        each.pop("took")
        for hit in each["hits"]["hits"]:
            hit.pop("sort", None)
    assert len(answer["hits"]["hits"]) == asked.get("size", window)
    assert answer == theirs


@pytest.mark.parametrize("window", [5_000, 10_000])
def test_a_reranker_reads_a_large_window(client: RerankClient, window: int) -> None:
    fused: Body = {
        "rrf": {"rank_window_size": window, "retrievers": [standard(MANY), standard("moon cheer")]}
    }
    answer = client.search(
        index=NAME, retriever=reranked(fused, window), size=20, collapse={"field": "group"}, min_score=0.01
    )
    assert answer["rerank"]["candidates"] == window
    assert answer["rerank"]["status"] == "reranked"
    hits = answer["hits"]["hits"]
    assert len({hit["fields"]["group"][0] for hit in hits}) == len(hits) == 20
    scores = [hit["_score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("window", [5_000, 10_000])
def test_a_rescorer_over_a_large_window_starts_from_its_scores(
    client: RerankClient, es: Elasticsearch, window: int
) -> None:
    below = rescored(standard(MANY), window)
    theirs = es.search(index=NAME, retriever=rescored(below, window, "moon"), source=False)["hits"]["hits"]
    answer = client.search(index=NAME, retriever=rescored(ours(below, window), window, "moon"), source=False)[
        "hits"
    ]["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in answer] == [(hit["_id"], hit["_score"]) for hit in theirs]
    assert len(answer) == window


def test_pinned_documents_lead_a_large_window(client: RerankClient) -> None:
    child = standard(MANY)
    pins = [f"d{number}" for number in range(DOCUMENTS - 100, DOCUMENTS)]
    tree: Body = {"pinned": {"ids": pins, "retriever": child, "rank_window_size": 5_000}}
    aggs = {"best": {"top_hits": {"size": 100, "_source": False}}}
    answer = client.search(index=NAME, retriever=tree, source=False, aggs=aggs, post_filter={"match_all": {}})
    hits = answer["hits"]["hits"]
    assert len(hits) == 5_000
    assert [hit["_id"] for hit in hits[:100]] == pins
    best = answer["aggregations"]["best"]["hits"]["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in best] == [
        (hit["_id"], hit["_score"]) for hit in hits[:100]
    ]


def test_every_hit_of_a_large_window_is_explained(client: RerankClient) -> None:
    answer = client.search(
        index=NAME, retriever=ours(rescored(standard(MANY), 2_000), 2_000), explain=True, source=False
    )
    hits = answer["hits"]["hits"]
    assert len(hits) == 2_000
    assert all(hit["_explanation"]["value"] == hit["_score"] for hit in hits)


def test_names_over_a_large_window_have_scores(client: RerankClient) -> None:
    tree = {"rrf": {"rank_window_size": 5_000, "retrievers": [standard(MANY)], "_name": "fused"}}
    answer = client.search(
        index=NAME, retriever=tree, size=3, from_=4_990, source=False, include_named_queries_score=True
    )
    for place, hit in enumerate(answer["hits"]["hits"]):
        assert hit["matched_queries"]["fused"] == hit["_score"] == pytest.approx(1 / (60 + 4_991 + place))


@pytest.mark.parametrize("count", [60, 3_000])
def test_elasticsearch_adds_the_digits_of_a_score_exactly(es: Elasticsearch, count: int) -> None:
    bits = np.random.default_rng(count).integers(1, 0x7F7FFFFF, count, dtype=np.int32)
    scores = np.sort(bits.view(np.float32))[::-1].tolist()
    window = [Candidate(NAME, f"d{number}", 0.0, number + 1) for number in range(count)]
    query = scored_documents_query(window, scores)
    hits = es.search(index=NAME, query=query, size=count, source=False)["hits"]["hits"]
    assert [(hit["_id"], np.float32(hit["_score"])) for hit in hits] == [
        (candidate.id, np.float32(score)) for candidate, score in zip(window, scores, strict=True)
    ]


@pytest.mark.parametrize("asked", ["page", "rerank", "vectors", "rescore"])
def test_documents_with_routings_of_their_own_are_told_apart(
    client: RerankClient, es: Elasticsearch, asked: str
) -> None:
    window = 2_900
    native = rescored(standard(MANY), window)
    if asked == "vectors":
        vector = EMBEDDER.embed(["king moon"])[0].tolist()
        near: Body = {
            "knn": {"field": "vector", "k": window, "num_candidates": 3_000, "query_vector": vector}
        }
        native = rescored(near, window)
    expected = es.search(index=ROUTED, retriever=native, source=False)
    tree = {
        "page": ours(native, window),
        "vectors": ours(native, window),
        "rerank": reranked(ours(native, window), window),
        "rescore": rescored(ours(native, window), window, "moon"),
    }[asked]
    if asked == "rescore":
        expected = es.search(index=ROUTED, retriever=rescored(native, window, "moon"), source=False)
    answer = client.search(
        index=ROUTED, retriever=tree, source=False, aggs={"n": {"max": {"field": "group"}}}
    )
    shown = [(hit["_id"], hit["_routing"], hit["_score"]) for hit in answer["hits"]["hits"]]
    theirs = [(hit["_id"], hit["_routing"], hit["_score"]) for hit in expected["hits"]["hits"]]
    assert len(shown) == len({key[:2] for key in shown})
    assert answer["hits"]["total"] == expected["hits"]["total"]
    if asked == "rerank":
        assert {key[:2] for key in shown} == {key[:2] for key in theirs}
    else:
        assert shown == theirs


@pytest.mark.parametrize(("window", "more"), [(256, 1), (257, 1 + 3)])
def test_inner_hits_of_a_large_window_take_one_request_for_two_groups(
    client: RerankClient, window: int, more: int
) -> None:
    """Up to 256 documents, the scores alone take a request; beyond, a page of six groups takes three."""
    tree = ours(rescored(standard(MANY), window), window)
    plain, grouped = (
        client.search(index=NAME, retriever=tree, size=6, collapse=collapse)["rerank"]["requests"]
        for collapse in ({"field": "group"}, GROUPS)
    )
    assert grouped == plain + more
