"""Paths of the gateway without a search say it too when a model does not read the script of a text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch

from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker


class LatinReranker(WordOverlapReranker):
    scripts = ("Latin",)


class LatinEmbedder(HashEmbedder):
    scripts = ("Latin",)


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    models = {"english": LatinReranker("english")}, LatinEmbedder()
    service = Service(AsyncElasticsearch(node.url, max_retries=0), lambda: models)
    async with app_client(service) as client:
        yield client


async def test_vectors(caller: httpx.AsyncClient) -> None:
    path = f"/_inference/text_embedding/{LatinEmbedder().name}"
    for kind in ({}, {"input_type": "search"}):
        said = await caller.post(path, json={"input": ["one", "二", "三"], **kind})
        assert said.status_code == 200
        assert "in Han script, and 2 of 3 passages are in it" in said.headers["warning"]
        read = await caller.post(path, json={"input": ["one", "two"], **kind})
        assert (read.status_code, "warning" in read.headers) == (200, False)


@pytest.mark.parametrize(
    ("query", "text", "told"),
    [
        ("谁签署了条约", "a treaty", ["the query is in it"]),
        ("who signed", "договор подписал король", ["in Cyrillic script, and 1 of 1 passages are in it"]),
        ("who signed", "a treaty", []),
    ],
)
async def test_hits_of_a_response(caller: httpx.AsyncClient, query: str, text: str, told: list[str]) -> None:
    hits = [{"_id": "1", "_score": 1.0, "_source": {"text": text}}]
    wanted = {"query": query, "field": "text", "response": {"hits": {"hits": hits}}}
    answer = await caller.post("/rescore", json=wanted)
    warnings = answer.json()["rerank"].get("warnings", [])
    assert len(warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, warnings, strict=True))
