"""A client that ignores a status gets the answer instead of an error, as from the elasticsearch client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from beside import HERE, THERE, filled_index
from corpus import EMBEDDER
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from retriever_bodies import rrf, standard

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"
BAD = standard(query={"nonsense": {}})
REQUESTS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    (404, {"index": "test-ignored-absent", **HERE}, {"index": "test-ignored-absent", **THERE}),
    (400, {"retriever": rrf(BAD, BAD)}, {"retriever": BAD}),
    (400, {"retriever": rrf(BAD, BAD), "pit": {"id": "x"}}, {"retriever": BAD}),
    (400, {**HERE, "size": -1}, {**THERE, "size": -1}),
    (400, {**HERE, "expand_wildcards": "x"}, {**THERE, "expand_wildcards": "x"}),
]


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-ignored-statuses") as name:
        yield name


@pytest.fixture
async def asynchronous(node: Node) -> AsyncIterator[AsyncRerankClient]:
    async with AsyncRerankClient(AsyncElasticsearch(node.url), reranker=WordOverlapReranker()) as client:
        yield client


async def test_a_search_answers_as_the_elasticsearch_client_does(
    es: Elasticsearch, asynchronous: AsyncRerankClient, filled: str
) -> None:
    client = RerankClient(es, reranker=WordOverlapReranker())
    for status, ours, theirs in REQUESTS:
        index = {} if "pit" in ours else {"index": filled}
        there = es.options(ignore_status=[400, 404]).search(**{"index": filled, **theirs})
        answers = [
            client.options(ignore_status=[400, 404]).search(**{**index, **ours}),
            await asynchronous.options(ignore_status=range(400, 500)).search(**{**index, **ours}),
        ]
        for here in answers:
            assert here.meta.status == here["status"] == there.meta.status == status
            assert set(here["error"]) >= {"type", "reason", "root_cause"}
        with pytest.raises(ApiError):
            client.options(ignore_status=409).search(**{**index, **ours})


async def test_other_calls_do_too(es: Elasticsearch, asynchronous: AsyncRerankClient, filled: str) -> None:
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER).options(ignore_status=404)
    waiting = asynchronous.options(ignore_status=404)
    lines: list[dict[str, Any]] = [{"index": "test-ignored-absent"}, HERE, {"index": filled}, THERE]
    for found in (
        client.rerank(QUESTION, index="test-ignored-absent"),
        await waiting.rerank(QUESTION, index="test-ignored-absent", first_stage="bm25"),
    ):
        assert (found.meta.status, found["error"]["type"]) == (404, "index_not_found_exception")
    for several in (client.msearch(searches=lines), await waiting.msearch(searches=lines)):
        assert [item["status"] for item in several["responses"]] == [404, 200]
    with pytest.raises(ApiError):
        client.msearch(searches=lines[:1])
