"""Elasticsearch is killed, frozen, and started again while a sidecar serves: real processes on both sides."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from beside import HERE, THERE
from corpus import fill
from elasticsearch import Elasticsearch
from fault_table import fault
from own_nodes import OwnNode, own_node
from server import reserved_port, sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.node import down, up

pytestmark = [pytest.mark.node, pytest.mark.long, pytest.mark.timeout(900)]

INDEX = "test-faults"
PATIENCE_S = 60.0
STARTUP_S = 300.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnNode]:
    with (
        reserved_port() as port,
        own_node(tmp_path_factory.mktemp("own"), {"http.port": port}, plugin=False) as node,
    ):
        node.start(heap_mb=256)
        with Elasticsearch(node.url) as es:
            fill(es, INDEX)
        yield node


@pytest.fixture(scope="module")
def url(own: OwnNode, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sidecar(own.url, *models, tmp_path_factory.mktemp("log") / "log") as (url, _):
        yield url


def ready(url: str) -> int:
    return httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code


def search(url: str, body: Any, timeout_ms: int = 2_000) -> httpx.Response:
    headers = {"X-Rerank-Timeout-Ms": str(timeout_ms)}
    return httpx.post(f"{url}/{INDEX}/_search", json=body, headers=headers, timeout=PATIENCE_S)


def serves(url: str) -> bool:
    return all(search(url, body, 60_000).status_code == 200 for body in (HERE, THERE))


class Searchers:
    """Threads that search until they are told to stop, and count what they get."""

    def __init__(self, url: str, count: int = 8) -> None:
        self.seen: Counter[tuple[int, str]] = Counter()
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(i,)) for i in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.seen[200, ""] > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _search(self, number: int) -> None:
        while not self._stop.is_set():
            answer = search(self._url, HERE if number % 2 else THERE)
            kind = "" if answer.status_code == 200 else answer.json()["error"]["type"]
            self.seen[answer.status_code, kind] += 1


@fault(
    "Elasticsearch is killed in the middle of searches, and started again at the same address",
    caller="503 `unreachable_exception` or 504 `deadline_exception`; `/readyz` is 503",
    log="each request",
    after="searches are answered and `/readyz` is 200 again, without a restart of the sidecar",
)
def test_a_killed_elasticsearch_is_found_again_at_its_address(own: OwnNode, url: str) -> None:
    with Searchers(url) as searchers:
        own.kill()
        until(lambda: searchers.seen[503, "unreachable_exception"] > 20)
    allowed = {(200, ""), (503, "unreachable_exception"), (504, "deadline_exception")}
    assert set(searchers.seen) <= allowed
    assert ready(url) == 503
    before = own.url
    own.start(heap_mb=256)
    assert own.url == before
    until(lambda: ready(url) == 200, patience_s=STARTUP_S)
    until(lambda: serves(url))


@fault(
    "Elasticsearch is frozen, and goes on later",
    caller="504 `deadline_exception` at the deadline; `/readyz` is 503",
    log="each request",
    after="searches are answered and `/readyz` is 200 again",
)
def test_a_frozen_elasticsearch_costs_each_search_its_deadline(own: OwnNode, url: str) -> None:
    assert own.place is not None
    assert serves(url)
    os.kill(own.place.pid, signal.SIGSTOP)
    try:
        for body in (HERE, THERE):
            answer = search(url, body, 500)
            assert (answer.status_code, answer.json()["error"]["type"]) == (504, "deadline_exception")
        assert ready(url) == 503
    finally:
        os.kill(own.place.pid, signal.SIGCONT)
    until(lambda: ready(url) == 200)
    assert serves(url)


@fault(
    "`es-rerank up` starts the local Elasticsearch at another address",
    caller="503 `unreachable_exception` until it runs; `/readyz` is 503",
    log="`the local Elasticsearch is at another address now`",
    after="the next search goes there, if the sidecar was started without `--elasticsearch-url`",
)
def test_a_local_node_is_followed_to_another_address(models: tuple[Path, Path], tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    environment = {"ES_RERANK_STATE_DIR": str(state)}
    try:
        first = up(state, heap_mb=256, timeout_s=STARTUP_S)
        with Elasticsearch(first.url) as es:
            fill(es, INDEX)
        with (
            sidecar(None, *models, log, environment=environment) as (url, _),
            sidecar(first.url, *models, tmp_path / "given", environment=environment) as (given, _),
        ):
            assert serves(url)
            assert serves(given)
            down(state)
            assert search(url, HERE).status_code == 503
            assert ready(url) == 503
            second = up(state, heap_mb=256, timeout_s=STARTUP_S)
            assert second.url != first.url
            until(lambda: ready(url) == 200)
            assert serves(url)
            assert second.url in log.read_text(encoding="utf-8")
            assert ready(given) == 503  # an address that was given is never left
    finally:
        down(state, purge=True)
