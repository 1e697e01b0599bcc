"""What callers see when Elasticsearch fails: a real sidecar, and a server that fails on purpose."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from app_client import app_client
from beside import HERE, THERE
from elasticsearch import AsyncElasticsearch
from fault_table import fault
from scripted_node import ScriptedNode, scripted_node
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.sidecar.service import Limits, Service

PATIENCE_S = 60.0
SHORT = {"X-Rerank-Timeout-Ms": "300"}
BULK = b'{"index":{"_index":"a"}}\n{"text":"b"}\n'
LINES = {"content-type": "application/x-ndjson"}


class Gateway(NamedTuple):
    """A sidecar with ``--pass-through`` before a server that fails."""

    url: str
    node: ScriptedNode
    process: subprocess.Popen[bytes]
    log: Path

    def ready(self) -> int:
        return httpx.get(f"{self.url}/readyz", timeout=PATIENCE_S).status_code

    def search(self, body: Any = THERE, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}/a/_search", json=body, headers=headers, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("faults")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    log = folder / "log"
    with scripted_node() as node, sidecar(node.url, *models, log, 0, ["--pass-through"]) as (url, process):
        yield Gateway(url, node, process, log)


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """The sidecar, whose Elasticsearch is healthy at first and must be found so afterwards."""
    running.node.behave({"took": 1, "hits": {"hits": []}})
    running.node.asked.clear()
    running.node.keeps_connections = True
    return running


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


VECTOR = {
    "field": "v",
    "query_vector_builder": {"text_embedding": {"model_text": "q"}},
    "k": 1,
    "num_candidates": 1,
}
WAYS: dict[str, tuple[str, str, Any]] = {
    "a search that is sent on": ("POST", "/a/_search", THERE),
    "a search that runs here": ("POST", "/a/_search", HERE),
    "a search whose query vector is made here": ("POST", "/a/_search", {"retriever": {"knn": VECTOR}}),
    "several searches": ("POST", "/a/_msearch", [{}, THERE]),
    "a point in time": ("POST", "/a/_pit?keep_alive=1m", None),
    "another search": ("POST", "/a/_async_search", {"query": {"match_all": {}}}),
    "whether an index exists": ("HEAD", "/a", None),
}


def sent(gateway: Gateway, name: str) -> httpx.Response:
    method, path, body = WAYS[name]
    lines = body if isinstance(body, list) else [] if body is None else [body]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    headers = {**SHORT, "content-type": "application/x-ndjson" if "_ms" in path else "application/json"}
    return httpx.request(method, gateway.url + path, content=content, headers=headers, timeout=PATIENCE_S)


@fault(
    "Elasticsearch does not answer a search",
    caller="504 `deadline_exception` at `X-Rerank-Timeout-Ms`, else after `ES_RERANK_MAX_TIMEOUT_MS`",
    log="the request",
    after="Elasticsearch's connection is closed, so that it ends the search",
)
@pytest.mark.parametrize("name", WAYS)
def test_a_search_that_is_not_answered_ends_at_its_deadline(gateway: Gateway, name: str) -> None:
    gateway.node.behave("mute")
    answer = sent(gateway, name)
    assert answer.status_code == 504
    if name != "whether an index exists":
        assert answer.json()["error"]["type"] == "deadline_exception"
    until(gateway.node.left.is_set)
    gateway.node.behave({})
    assert (gateway.search().status_code, gateway.ready()) == (200, 200)


def test_a_part_of_msearch_that_is_not_answered_leaves_the_others_their_answers(gateway: Gateway) -> None:
    gateway.node.behave("mute")
    lines: list[Any] = [{}, THERE, {}, {"retriever": {"rrf": {}}}]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    answer = httpx.post(
        f"{gateway.url}/a/_msearch", content=content, headers=SHORT | LINES, timeout=PATIENCE_S
    )
    assert (answer.status_code, [item["status"] for item in answer.json()["responses"]]) == (200, [504, 400])


@fault(
    "Elasticsearch's long answer stops, or breaks off, in the middle",
    caller="a connection that ends before the answer does",
    log="`an answer was cut off`, or `an answer of Elasticsearch broke off`",
    after="the next search is answered",
)
@pytest.mark.parametrize("behaviour", ["half", "trickle", "reset"])
def test_an_answer_that_stops_in_the_middle_is_not_taken_for_a_whole_one(
    gateway: Gateway, behaviour: Any
) -> None:
    gateway.node.behave(behaviour)
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.search(**SHORT)
    expected = "broke off" if behaviour == "reset" else "an answer was cut off"
    until(lambda: expected in gateway.log.read_text(encoding="utf-8"))
    assert "Traceback" not in gateway.log.read_text()
    gateway.node.behave({})
    assert gateway.search().status_code == 200


@fault(
    "Elasticsearch closes the connection without an answer",
    caller="503 `unreachable_exception`, after a second try of what changes nothing",
    log="the request",
    after="the next search is answered",
)
def test_a_closed_connection_is_tried_once_more_where_that_changes_nothing(gateway: Gateway) -> None:
    gateway.node.behave("close")
    assert said(gateway.search()) == (503, "unreachable_exception")
    assert gateway.node.asked == [("POST", "/a/_search")] * 2
    gateway.node.asked.clear()
    answer = httpx.post(f"{gateway.url}/_bulk", content=BULK, headers=LINES, timeout=PATIENCE_S)
    assert said(answer) == (503, "unreachable_exception")
    assert gateway.node.asked == [("POST", "/_bulk")]
    assert said(gateway.search(HERE)) == (503, "unreachable_exception")


@fault(
    "Elasticsearch answers 429 or 503",
    caller="the same status and error, at once",
    log="the request",
    after="nothing was tried a second time",
)
@pytest.mark.parametrize("status", [429, 503])
def test_an_elasticsearch_that_has_too_much_to_do_is_not_asked_again(gateway: Gateway, status: int) -> None:
    fault = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
    body = {"error": {"root_cause": [fault], **fault}, "status": status}
    gateway.node.behave((status, body))
    answer = gateway.search()
    assert (answer.status_code, answer.json()) == (status, body)
    assert gateway.node.asked == [("POST", "/a/_search")]
    gateway.node.asked.clear()
    answer = gateway.search(HERE)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, fault["type"])
    searches = [path for _, path in gateway.node.asked if path != "/_es_rerank"]
    assert len(searches) == len(set(searches))


@fault(
    "what answers for Elasticsearch has not the form of its answers",
    caller="502 `search_exception`",
    log="the request",
    after="the next search is answered",
)
@pytest.mark.parametrize("body", [[], {"hits": []}, {"responses": {}, "id": 1, "hits": {"hits": {}}}])
def test_an_answer_without_the_form_of_elasticsearchs_is_no_fault_of_the_sidecar(
    gateway: Gateway, body: Any
) -> None:
    gateway.node.behave(body)
    assert said(gateway.search(HERE)) == (502, "search_exception")
    gateway.node.behave({"id": "p", "hits": {"hits": []}, "responses": [{}, {}]})
    assert said(gateway.search(HERE)) == (502, "search_exception")
    assert "unexpected" not in gateway.log.read_text(encoding="utf-8")
    gateway.node.behave({})
    assert gateway.search().status_code == 200


@fault(
    "a caller leaves while Elasticsearch works",
    caller="nothing",
    log="the request",
    after="Elasticsearch's connection is closed, so that it ends the work",
)
@pytest.mark.parametrize("path", ["/a/_search", "/a/_search?run=here", "/_reindex", "/_cat/indices"])
def test_what_a_caller_who_left_asked_for_ends(gateway: Gateway, path: str) -> None:
    gateway.node.behave("mute")
    content = b"" if "_cat" in path else json.dumps(HERE if "here" in path else THERE).encode()
    head = [
        f"{'POST' if content else 'GET'} {path.partition('?')[0]} HTTP/1.1",
        "Host: sidecar",
        *(["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []),
    ]
    where = httpx.URL(gateway.url)
    with socket.create_connection((where.host, where.port or 80)) as caller:
        caller.sendall("".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + content)
        until(gateway.node.waiting.is_set)
    until(gateway.node.left.is_set)
    gateway.node.behave({})
    assert gateway.search().status_code == 200


@fault(
    "the sidecar has no file descriptor left for Elasticsearch",
    caller="503 `unreachable_exception`, which names the limit",
    log="the request",
    after="served again as soon as one is free",
)
def test_without_file_descriptors_the_answer_says_so(gateway: Gateway) -> None:
    gateway.node.keeps_connections = False
    with httpx.Client(timeout=PATIENCE_S) as client:

        def search(body: Any) -> httpx.Response:
            return client.post(f"{gateway.url}/a/_search", json=body)

        until(lambda: search(THERE).status_code == 200 and open_connections(gateway) == 0)
        process = gateway.process.pid
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        used = {int(entry.name) for entry in Path(f"/proc/{process}/fd").iterdir()}
        least = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (least, before[1]))
        try:
            for body in (THERE, HERE):
                answer = search(body)
                assert said(answer) == (503, "unreachable_exception")
                assert "no file descriptor left" in answer.json()["error"]["reason"]
        finally:
            resource.prlimit(process, resource.RLIMIT_NOFILE, before)
        assert search(THERE).status_code == 200
    assert gateway.ready() == 200


def open_connections(gateway: Gateway) -> int:
    """Return how many connections the sidecar has to its Elasticsearch."""
    port = httpx.URL(gateway.node.url).port
    connections = psutil.Process(gateway.process.pid).net_connections("tcp")
    return sum(1 for one in connections if one.raddr and one.raddr.port == port)


# --- other paths --------------------------------------------------------------------------------------------


@fault(
    "Elasticsearch does not answer another request (`--pass-through`)",
    caller="504 `deadline_exception` after ten minutes without a byte in either direction",
    log="the request",
    after="Elasticsearch's connection is closed",
)
@pytest.mark.parametrize("size", [1, 50_000_000])
async def test_other_requests_end_when_nothing_moves(size: int) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(0, size, 65536):
            taken += 1
            yield b" " * min(size, 65536)

    with scripted_node() as node:
        service = Service(
            AsyncElasticsearch(node.url), lambda: ({}, None), Limits(idle_s=0.3), pass_through=True
        )
        async with app_client(service) as client:
            node.behave("mute")
            answer = await client.post("/_bulk", content=body(), headers=LINES)
            assert said(answer) == (504, "deadline_exception")
            assert "wait_for_completion" in answer.json()["error"]["reason"]
            await asyncio.to_thread(until, node.left.is_set)
    assert taken * 65536 < 50_000_000  # what is not taken is not read from the caller either
