"""Requests over HTTP are bounded before they are worked on: long words, long numbers, many keys.

Each case takes minutes where the bound is missing. The limit in time is a guard against that,
and no measurement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER
from elasticsearch import AsyncElasticsearch
from retriever_bodies import LEAF, rrf

from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

GUARD_S = 60.0

JSON = {"content-type": "application/json"}


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    model = WordOverlapReranker()
    async with app_client(
        Service(AsyncElasticsearch(node.url, max_retries=0), lambda: ({model.name: model}, EMBEDDER)),
        headers=JSON,
    ) as client:
        yield client


def many_parameters() -> dict[str, str]:
    return {f"unknown{number}": "1" for number in range(3_000)}


REQUESTS: dict[str, dict[str, Any]] = {
    "many parameters": {"params": many_parameters()},
    "a long parameter": {"params": {"x" * 60_000: "1"}},
    "digits of a parameter": {"params": {"size": "9" * 60_000}},
    "digits of track_total_hits": {"params": {"track_total_hits": "9" * 60_000}},
    "digits of the deadline": {"headers": {"x-rerank-timeout-ms": "9" * 60_000}},
    "digits of a 64-bit deadline": {"headers": {"x-rerank-timeout-ms": "9" * 21}},
    "digits of no script": {"headers": {"x-rerank-timeout-ms": b"\xb2"}},
    "digits in JSON": {"content": b'{"retriever": {"rrf": {"rank_constant": ' + b"9" * 100_000 + b"}}}"},
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_fault_of_a_request_is_found_at_once(caller: httpx.AsyncClient, name: str) -> None:
    request = REQUESTS[name]
    sent = request if "content" in request else {"json": {"retriever": rrf(LEAF, LEAF)}, **request}
    async with asyncio.timeout(GUARD_S):
        answer = await caller.post("/no-such-index/_search", **sent)
    assert answer.status_code in (400, 404), answer.text[
        :500
    ]  # 404 where Elasticsearch was asked: the index is not there
    assert len(answer.text) < 200_000


async def test_of_many_unknown_parameters_ten_are_named(caller: httpx.AsyncClient) -> None:
    answer = await caller.post("/any/_search", json={"retriever": rrf(LEAF, LEAF)}, params=many_parameters())
    reason = answer.json()["error"]["reason"]
    assert reason.endswith("[unknown9] and 2990 more")
