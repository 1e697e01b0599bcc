"""What makes a sidecar ready: models, an Elasticsearch that serves searches, and that it does not stop.

On a real cluster: ``tests/node/test_readiness_of_clusters.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from rerank_services import Host
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from es_rerank.sidecar.service import Service
from es_rerank.sidecar.upstream.readiness import Readiness
from es_rerank.testing import HashEmbedder, WordOverlapReranker

HEADER = {"X-Elastic-Product": "Elasticsearch"}
GREEN = JSONResponse({"status": "green"}, headers=HEADER)
SHARDS = {"total": 6, "successful": 6, "skipped": 5, "failed": 0}
FOUND = JSONResponse({"hits": {"hits": []}, "_shards": SHARDS}, headers=HEADER)


def error(status: int, kind: str) -> Response:
    return JSONResponse({"error": {"type": kind, "reason": "r"}, "status": status}, status, HEADER)


class Cluster:
    """An Elasticsearch by its answers; counts what it is asked."""

    def __init__(self, health: Response = GREEN, search: Response = FOUND) -> None:
        self.health, self.search = health, search
        self.asked: list[str] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=["GET", "POST"])])

    async def _serve(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if request.url.path == "/_cluster/health":
            return self.health
        if request.url.path == "/_search":
            return self.search
        return JSONResponse({"version": {"number": "9.5.0"}}, headers=HEADER)


@asynccontextmanager
async def sidecar(url: str) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    models = {"word-overlap": WordOverlapReranker()}
    service = Service(AsyncElasticsearch(url, max_retries=0), lambda: (models, HashEmbedder()))
    async with app_client(service) as caller:
        yield caller, service


NOT_READY: dict[str, tuple[Cluster, str]] = {
    "red": (
        Cluster(JSONResponse({"status": "red", "unassigned_primary_shards": 2}, headers=HEADER)),
        "the cluster is red: 2 primary shards are not assigned",
    ),
    "red after a wait": (
        Cluster(JSONResponse({"status": "red", "timed_out": True}, 408, headers=HEADER)),
        "the cluster is red",
    ),
    "no master": (
        Cluster(error(503, "master_not_discovered_exception")),
        "the cluster has no elected master",
    ),
    "health in a storm": (
        Cluster(error(429, "es_rejected_execution_exception")),
        "Elasticsearch refuses to be asked for its health: 429 (es_rejected_execution_exception)",
    ),
    "an error of health": (
        Cluster(error(500, "illegal_state_exception")),
        "Elasticsearch refuses to be asked for its health: 500 (illegal_state_exception)",
    ),
    "searches in a storm": (
        Cluster(search=error(429, "es_rejected_execution_exception")),
        "Elasticsearch refuses a search: 429 (es_rejected_execution_exception)",
    ),
    "all shards failed": (
        Cluster(search=error(503, "search_phase_execution_exception")),
        "Elasticsearch refuses a search: 503 (search_phase_execution_exception)",
    ),
    "the one shard failed": (
        Cluster(
            search=JSONResponse(
                {
                    "_shards": {
                        **SHARDS,
                        "successful": 5,
                        "failed": 1,
                        "failures": [{"reason": {"type": "es_rejected_execution_exception"}}],
                    }
                },
                headers=HEADER,
            )
        ),
        "no shard answers a search (es_rejected_execution_exception)",
    ),
    "a proxy": (
        Cluster(Response("bad gateway", 502, media_type="text/plain")),
        "a server in front of it says 502",
    ),
    "another server": (Cluster(JSONResponse({"status": "green"})), "is not Elasticsearch"),
}


@pytest.mark.parametrize("name", NOT_READY)
async def test_a_cluster_that_serves_no_search_is_the_reason(host: Host, name: str) -> None:
    cluster, reason = NOT_READY[name]
    host.app = cluster.app
    async with sidecar(host.url) as (caller, _):
        ready = await caller.get("/readyz")
        assert ready.status_code == 503
        (said,) = ready.json()["reasons"]
        assert reason in said
        assert (await caller.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster(),
        Cluster(JSONResponse({"status": "yellow"}, headers=HEADER)),
        Cluster(error(401, "security_exception"), error(401, "security_exception")),
        Cluster(error(410, "api_not_available_exception")),
        Cluster(search=error(403, "cluster_block_exception")),  # of one index, or of this caller
        Cluster(search=JSONResponse({"_shards": {"total": 0, "successful": 0, "skipped": 0, "failed": 0}})),
        Cluster(search=JSONResponse([], headers=HEADER)),
    ],
    ids=["green", "yellow", "secured", "serverless", "a block", "empty", "odd"],
)
async def test_a_cluster_that_serves_searches_is_ready(host: Host, cluster: Cluster) -> None:
    for answer in (cluster.health, cluster.search):
        answer.headers.update(HEADER)
    host.app = cluster.app
    async with sidecar(host.url) as (caller, _):
        ready = await caller.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_a_sidecar_that_stops_is_not_ready(host: Host) -> None:
    host.app = Cluster().app
    async with sidecar(host.url) as (caller, service):
        service.stopping = True
        ready = await caller.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["the sidecar is stopping"])
        assert (await caller.get("/healthz")).status_code == 200


async def test_many_who_ask_at_once_cause_one_question(host: Host) -> None:
    cluster, now = Cluster(), 0.0
    host.app = cluster.app
    async with AsyncElasticsearch(host.url, max_retries=0) as client:
        readiness = Readiness(lambda: client, lambda: now)
        found = await asyncio.gather(*(readiness.found() for _ in range(100)))
        assert all(one is found[0] for one in found)
        assert sorted(cluster.asked) == ["/", "/_cluster/health", "/_search"]
        now = 0.9
        await readiness.found()
        assert len(cluster.asked) == 3
        cluster.health = error(503, "master_not_discovered_exception")
        now = 1.1
        assert (await readiness.found()).faults == ["the cluster has no elected master"]
        cluster.health = GREEN
        now = 1.2
        assert (await readiness.found()).faults
        now = 1.4  # a fault is kept for less time
        assert not (await readiness.found()).faults
        assert cluster.asked.count("/") == 1  # the version does not change every second
        now = 61.0
        await readiness.found()
        assert cluster.asked.count("/") == 2


async def test_who_leaves_does_not_end_the_question_of_others(host: Host) -> None:
    host.app = Cluster().app
    async with AsyncElasticsearch(host.url, max_retries=0) as client:
        readiness = Readiness(lambda: client)
        first, second = (asyncio.create_task(readiness.found()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).faults == []


async def test_an_unexpected_error_is_not_kept(host: Host) -> None:
    host.app = Cluster().app
    async with AsyncElasticsearch(host.url, max_retries=0) as client:
        clients: list[Any] = [None, client]
        readiness = Readiness(lambda: clients[0])
        with pytest.raises(AttributeError):
            await readiness.found()
        del clients[0]
        assert (await readiness.found()).faults == []
