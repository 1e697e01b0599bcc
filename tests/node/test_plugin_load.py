"""The plugin while the sidecar is slow: no thread waits, and the number of calls is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from plugin_searches import (
    busy_threads,
    cluster_settings,
    filled,
    first_stage,
    ids,
    info,
    reason,
    rerank,
    search,
)
from scripted_sidecar import ScriptedSidecar
from waiting import until

from es_rerank.node import Node

RERANKED = ["5", "4", "3", "2", "1", "0"]
WAITING = 200
PLAIN = 100


@pytest.fixture(scope="module")
def articles(plugin_es: Elasticsearch) -> Iterator[str]:
    yield filled(plugin_es, "test-load")
    plugin_es.indices.delete(index="test-load")


async def test_plain_searches_go_on_while_200_searches_wait_for_the_sidecar(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    fake_sidecar.usual = fake_sidecar.held()
    limits = httpx.Limits(max_connections=None)
    with cluster_settings(plugin_es, max_concurrent_calls=WAITING, timeout="5m"):
        async with httpx.AsyncClient(base_url=plugin_node.url, timeout=240, limits=limits) as caller:

            async def ask(body: dict[str, Any]) -> httpx.Response:
                return await caller.post(f"/{articles}/_search", json=body)

            waiting = [asyncio.create_task(ask({"retriever": rerank()})) for _ in range(WAITING)]
            try:
                await asyncio.to_thread(until, lambda: fake_sidecar.now == WAITING, "all wait")
                await asyncio.to_thread(until, lambda: not busy_threads(plugin_es), "no thread waits")
                plain = await asyncio.gather(
                    *(ask({"query": {"match": {"text": f"relevance {n % 6}"}}}) for n in range(PLAIN))
                )
                assert [answer.status_code for answer in plain] == [200] * PLAIN
                assert all(answer.json()["hits"]["total"]["value"] == 6 for answer in plain)
                assert fake_sidecar.now == WAITING, "they all still wait"
                assert not any(task.done() for task in waiting)
                await asyncio.to_thread(until, lambda: not busy_threads(plugin_es), "no thread waits")
            finally:
                fake_sidecar.release()
            assert [ids(answer) for answer in await asyncio.gather(*waiting)] == [RERANKED] * WAITING
    assert len(fake_sidecar.asked) == WAITING


def test_one_call_more_than_allowed_is_refused(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    url = plugin_node.url
    rejected = info(url)["calls"]["rejected"]
    fake_sidecar.usual = fake_sidecar.held()
    with cluster_settings(plugin_es, max_concurrent_calls=2, timeout="5m"), ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(search, url, articles, rerank()) for _ in range(2)]
        try:
            until(lambda: fake_sidecar.now == 2, "two calls run")
            refused = search(url, articles, rerank())
            assert refused.status_code == 429, refused.text
            assert refused.json()["error"]["type"] == "es_rejected_execution_exception"
            assert "es_rerank.max_concurrent_calls" in reason(refused)
            kept = search(url, articles, rerank(allow_rerank_failures=True))
            assert ids(kept) == RERANKED[::-1]
            assert "es_rerank.max_concurrent_calls" in kept.headers["warning"]
            assert ids(search(url, articles, {"es_rrf": {"retrievers": [first_stage()]}})) == RERANKED[::-1]
        finally:
            fake_sidecar.release()
        assert [ids(task.result()) for task in waiting] == [RERANKED] * 2
    said = info(url)["calls"]
    assert said["rejected"] - rejected == 2
    assert not said["circuit_open"]
    assert len(fake_sidecar.asked) == 2


def test_each_query_vector_of_a_search_is_a_call(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, plugin_index: str
) -> None:
    plugin_es.indices.create(
        index=plugin_index, mappings={"properties": {"v": {"type": "dense_vector", "dims": 2}}}
    )
    plugin_es.index(index=plugin_index, id="1", document={"v": [1, 0]}, refresh=True)
    leaves = [
        {
            "knn": {
                "field": "v",
                "query_vector_builder": {"es_rerank": {"model_text": f"text {number}"}},
                "k": 1,
                "num_candidates": 1,
            }
        }
        for number in range(3)
    ]
    fused = {"es_rrf": {"retrievers": leaves}}
    assert ids(search(plugin_node.url, plugin_index, fused)) == ["1"]
    assert len(fake_sidecar.asked) == 3
    with cluster_settings(plugin_es, max_concurrent_calls=1):
        fake_sidecar.usual = fake_sidecar.held()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(search, plugin_node.url, plugin_index, fused)
            until(lambda: fake_sidecar.now == 1 or waiting.done(), "one call runs")
            fake_sidecar.release()
            refused = waiting.result()
    assert refused.status_code == 429, refused.text
    assert "es_rerank.max_concurrent_calls" in reason(refused)
