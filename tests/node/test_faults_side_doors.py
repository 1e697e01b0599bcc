"""What one caller can learn about others from the answers of a sidecar: nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from app_client import app_client
from beside import filled_index
from elasticsearch import AsyncElasticsearch, Elasticsearch
from retriever_bodies import reranker

from es_rerank.models.wrappers.cached import ScoreCache, cached
from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

QUERY, TEXTS = "who signed", ["the king signed", "it rained"]
A, B = {"authorization": "ApiKey a"}, {"authorization": "ApiKey b"}
RUN_AS = A | {"es-security-runas-user": "somebody"}
SHARED_SECRET = A | {"es-client-authentication": "SharedSecret s"}
COOKIE = {"cookie": "session=1"}

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "_inference": ("/_inference/rerank/word-overlap", {"query": QUERY, "input": TEXTS}),
    "/rerank": ("/rerank", {"query": QUERY, "texts": TEXTS}),
}


class Counting(WordOverlapReranker):
    """Counts the pairs that it scores: what a caller could tell by the time."""

    def __init__(self) -> None:
        super().__init__("word-overlap")
        self.scored = 0

    async def ascore(self, query: str, passages: Any, *, deadline: float | None = None) -> Any:
        self.scored += len(passages)
        return await super().ascore(query, passages, deadline=deadline)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
async def caller(node: Node, counting: Counting) -> AsyncIterator[httpx.AsyncClient]:
    model = cached(counting, ScoreCache(), "one")
    service = Service(AsyncElasticsearch(node.url), lambda: ({"word-overlap": model}, None))
    async with app_client(service) as client:
        counting.scored = 0
        yield client


@pytest.mark.parametrize("name", WAYS)
async def test_scores_are_kept_for_each_caller_apart(
    caller: httpx.AsyncClient, counting: Counting, name: str
) -> None:
    path, body = WAYS[name]

    async def scored(headers: dict[str, str]) -> int:
        counting.scored = 0
        answer = await caller.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return counting.scored

    assert await scored({}) == 2
    # Those without credentials share: nobody can tell them apart.
    assert [await scored({}), await scored({"user-agent": "another", "x-request-id": "1"})] == [0, 0]
    for headers in (A, B, RUN_AS, SHARED_SECRET, COOKIE):
        assert [await scored(headers), await scored(headers)] == [2, 0], headers


@pytest.mark.parametrize("headers", [{}, A], ids=["no key", "key"])
async def test_the_plugins_users_are_apart_and_an_unknown_user_has_no_cache(
    caller: httpx.AsyncClient, counting: Counting, headers: dict[str, str]
) -> None:
    body = {"query": QUERY, "documents": [{"passages": [{"text": text}]} for text in TEXTS]}

    async def scored(**user: str) -> tuple[int, int]:
        counting.scored = 0
        sent = headers | {name.replace("_", "-"): value for name, value in user.items()}
        answer = await caller.post("/_rerank/v1/score", json=body, headers=sent)
        return counting.scored, answer.json()["cached"]

    assert [await scored(), await scored()] == [(2, 0), (2, 0)]
    for user in ("one", "two", "none"):
        assert await scored(x_rerank_user=user) == (2, 0)
        assert await scored(x_rerank_user=user) == (0, 2)


async def test_a_header_that_names_a_user_counts_for_the_plugins_path_alone(
    caller: httpx.AsyncClient, counting: Counting
) -> None:
    path, body = WAYS["/rerank"]
    await caller.post(path, json=body)
    counting.scored = 0
    await caller.post(path, json=body, headers={"x-rerank-user": "somebody"})
    assert counting.scored == 0


async def test_a_search_tells_nobody_what_others_asked(caller: httpx.AsyncClient, es: Elasticsearch) -> None:
    with filled_index(es, "test-faults-side-doors") as name:
        cached_of = []
        for headers in (A, A, B):
            answer = await caller.post(
                f"/{name}/_search", json={"retriever": reranker(inference_id="word-overlap")}, headers=headers
            )
            cached_of.append(answer.json()["rerank"]["cached"])
    assert cached_of[0] == cached_of[2] == 0
    assert cached_of[1] > 0
