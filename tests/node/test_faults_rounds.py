"""A thousand rounds of good, bad, abandoned and late requests leave a sidecar as large as it was."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from beside import HERE, THERE
from fault_table import fault
from scripted_node import Behaviour, ScriptedNode, healthy, scripted_node
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

ROUNDS = 1_000
WARM_UP = 300
"""More than the 256 clients that are kept for credentials, so that as many are kept before as after."""

AT_ONCE = 8
PATIENCE_S = 60.0
GROWN_BYTES = 24 << 20
"""What the allocator may keep of ten thousand requests more: 2.4 kB of each."""


def behaves(method: str, path: str) -> Behaviour:
    """Answer searches in ``/good``, be mute in ``/mute`` and break off in ``/broken``."""
    if path.startswith("/mute"):
        return "mute"
    if path.startswith("/broken"):
        return "reset"
    if path.endswith("/_pit"):
        return {"id": "p", "num_freed": 1, "succeeded": True}
    found = {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "status": 200, "hits": {"hits": []}}
    return healthy(path) or ({"took": 1, "responses": [found] * 2} if path.endswith("_msearch") else found)


class Caller:
    """Sends the requests of a round, and counts the answers."""

    def __init__(self, url: str) -> None:
        self.seen: Counter[Any] = Counter()
        self._where = httpx.URL(url)
        none_kept = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_S, limits=none_kept)

    def round(self, number: int) -> None:
        texts = [f"text {i}" for i in range(8)]
        mine = {"authorization": f"ApiKey {number}"}
        soon = {"X-Rerank-Timeout-Ms": "20"}
        self._post("/rerank", {"query": f"q {number}", "texts": texts})
        self._post("/rerank", {"query": f"q {number}", "texts": texts * 10}, **mine, **soon)
        self._post("/good/_search", THERE, **mine)
        self._post("/good/_search", HERE, **mine)
        self._post("/mute/_search", random.choice((HERE, THERE)), **soon)
        self._post("/broken/_search", THERE)
        self._post("/good/_search", {"retriever": {"rrf": {"nonsense": number}}})
        self._send(b"{" * 100, "/rerank", whole=True)
        self._send(b'{"query":', "/rerank", whole=False)
        self._send(json.dumps(THERE).encode(), "/mute/_search", whole=True)

    def _post(self, path: str, body: Any, **headers: str) -> None:
        try:
            answer = self._http.post(path, json=body, headers=headers)
        except httpx.RemoteProtocolError:
            self.seen[path, "broken"] += 1
        else:
            self.seen[path, answer.status_code] += 1

    def _send(self, body: bytes, path: str, *, whole: bool) -> None:
        """Send a request, or the beginning of one, and leave without its answer."""
        length = len(body) if whole else len(body) + 100
        kind = "Content-Type: application/json"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}\r\nContent-Length: {length}\r\n"
        with socket.create_connection((self._where.host, self._where.port or 80)) as connection:
            connection.sendall(head.encode() + b"\r\n" + body)


@fault(
    "1,000 rounds of good, bad, abandoned and late requests",
    caller="200, 400, 504, and closed connections where Elasticsearch's answer breaks off",
    log="each request",
    after="as many threads and file descriptors as before, and no more memory",
)
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_thousand_rounds_leave_nothing_behind(tmp_path: Path) -> None:
    models = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")
    with (
        scripted_node(behaves) as node,
        sidecar(node.url, *models, tmp_path / "log") as (url, running),
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        node.keeps_connections = False
        process, caller = psutil.Process(running.pid), Caller(url)
        list(threads.map(caller.round, range(WARM_UP)))
        before = settled(process, node)
        caller.seen.clear()
        list(threads.map(caller.round, range(WARM_UP, WARM_UP + ROUNDS)))
        after = settled(process, node)
        assert httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200
    statuses = {status for _, status in caller.seen}
    assert statuses <= {200, 400, 429, 503, 504, "broken"}, caller.seen
    assert caller.seen["/broken/_search", "broken"] == ROUNDS
    assert caller.seen["/good/_search", 200] >= ROUNDS
    assert after["descriptors"] <= before["descriptors"]
    assert after["threads"] <= before["threads"]
    assert after["bytes"] - before["bytes"] < GROWN_BYTES, (before, after)
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def settled(process: psutil.Process, node: ScriptedNode) -> dict[str, int]:
    """Return what a process holds once it has no connection any more."""
    port = httpx.URL(node.url).port
    assert port is not None

    def connections() -> int:
        found = process.net_connections("tcp")
        return sum(1 for one in found if one.status == psutil.CONN_ESTABLISHED)

    until(lambda: connections() == 0)
    return {
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "bytes": process.memory_info().rss,
    }
