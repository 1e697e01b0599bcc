"""Stores of frameworks that are not run here: their searches, written anew from the sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from client_table import client
from elasticsearch import Elasticsearch
from rankings import close
from store_bodies import GREEN, assert_refused, expected, filled_store, hybrid, ranked

from es_rerank.node import Node


@pytest.fixture(scope="module")
def store(es: Elasticsearch) -> Iterator[str]:
    with filled_store(es, "test-golden-stores") as name:
        yield name


@client(
    "LangChain community, `ElasticsearchStore` (deprecated)",
    "Elasticsearch's search API, with `rank`",
    "langchain-ai/langchain-community",
    "21c22b4",
    golden=True,
)
@pytest.mark.parametrize("options", [{}, {"rank_constant": 5}], ids=["default", "parameters"])
async def test_langchain_communitys_store_fuses_through_the_gateway_only(
    node: Node, caller: httpx.AsyncClient, direct: httpx.AsyncClient, store: str, options: dict[str, Any]
) -> None:
    body = {**ranked(4, 50, [GREEN], **options), "_source": ["metadata", "text"]}
    refused = await direct.post(f"/{store}/_search", json=body)
    assert_refused(refused.status_code, refused.text)
    hits = (await caller.post(f"/{store}/_search", json=body)).raise_for_status().json()["hits"]["hits"]
    with httpx.Client(base_url=node.url) as plain:
        wanted = expected(plain, store, hybrid(4, 50, [GREEN], **options)["retriever"], 4)
    assert [hit["_id"] for hit in hits] == [key for key, _ in wanted]
    assert all(close(hit["_score"], score) for hit, (_, score) in zip(hits, wanted, strict=True))
    assert {hit["_source"]["metadata"]["group"] for hit in hits} == {"green"}


async def test_the_window_has_its_name_of_today(caller: httpx.AsyncClient, store: str) -> None:
    """Elasticsearch 9 takes ``rank_window_size`` only. The package hands on what its user wrote."""
    answer = await caller.post(f"/{store}/_search", json=ranked(4, 50, window_size=20))
    assert answer.status_code == 400
    assert "unknown field [window_size] did you mean [rank_window_size]?" in answer.text
