"""MCP over HTTP without a process: who is served, what a caller may cancel, and that nothing is kept."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from elasticsearch import AsyncElasticsearch
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp_servers import Mode, words
from starlette.applications import Starlette

from es_rerank.caller import CALLER
from es_rerank.cli.output import as_known
from es_rerank.client import AsyncRerankClient
from es_rerank.errors import RequestError
from es_rerank.mcp_server.answers import SearchAnswer
from es_rerank.mcp_server.callers import Place, named_place
from es_rerank.mcp_server.http import create_app
from es_rerank.mcp_server.server import create_server
from es_rerank.mcp_server.tools import Choices, Tools
from es_rerank.sidecar.access.keys import Keys
from es_rerank.sidecar.record import Record
from es_rerank.testing import WordOverlapReranker

KEY = "a-key-of-a-test"
ACCEPT = {"accept": "application/json, text/event-stream"}

HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def call(number: int | str) -> dict[str, Any]:
    params = {"name": "search", "arguments": {"query": "x"}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def cancel(number: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


async def nothing() -> None:
    """Close nothing."""


class Lines:
    """The records of requests, as what the log says of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def write(self, record: Record) -> None:
        self.seen.append((record.method, record.route, record.status))


@asynccontextmanager
async def served(
    *places: Place, on_loopback: bool = True, keys: tuple[str, ...] = (), sinks: tuple[Lines, ...] = ()
) -> AsyncIterator[Starlette]:
    async with AsyncElasticsearch("http://127.0.0.1:9") as nowhere:
        client = AsyncRerankClient(nowhere, reranker=WordOverlapReranker())
        server = create_server(Tools(client, Choices(("articles",)), words), as_known)
        hashes = tuple(hashlib.sha256(key.encode()).hexdigest() for key in keys)
        app = create_app(server, nothing, Keys(hashes), on_loopback=on_loopback, places=places, sinks=sinks)
        async with app.router.lifespan_context(app):
            yield app


@asynccontextmanager
async def asking(app: Starlette, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8090", headers=ACCEPT | headers
    ) as http:
        yield http


PLACES = (named_place("Docs.Example."), named_place("proxy.example:8443"), named_place("[2001:DB8::0:1]"))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("localhost", "LOCALHOST:8090", "localhost.", "localhost.:1")),
        *((host, 200) for host in ("127.0.0.1:", "127.0.0.5:8090", "[::1]", "[0:0:0:0:0:0:0:1]:80")),
        *((host, 200) for host in ("docs.example", "DOCS.example.:9", "proxy.example:8443", "[2001:db8::1]")),
        *((host, 421) for host in ("", "proxy.example", "proxy.example:844", "localhost:1@evil.example")),
        *((host, 421) for host in ("localhost.evil.example", "evil.example", "localhost..", "localhost:x")),
        *((host, 421) for host in ("localhost:99999", "[::1", "[::2]", "localhost, evil.example")),
        *((host, 421) for host in ("docs.example/", "docs.example ", "xdocs.example", "docs.example.evil")),
    ],
)
async def test_host_is_read_and_compared_as_a_name(host: str, status: int) -> None:
    async with served(*PLACES) as app, asking(app) as http:
        assert (await http.post("/mcp", json=LIST, headers={"host": host})).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *((origin, 200) for origin in ("http://localhost:3000", "HTTPS://LocalHost", "http://[::1]:80")),
        *((origin, 200) for origin in ("https://docs.example", "https://proxy.example:8443")),
        *((origin, 403) for origin in ("http://127.0.0.1:1@evil.example", "http://127.0.0.1:1.evil.example")),
        *((origin, 403) for origin in ("https://proxy.example:8444", "null", "", "http://", "file://")),
        *(
            (origin, 403)
            for origin in ("ftp://localhost", "localhost", "http://localhost/x", "http://localhost#")
        ),
        *(
            (origin, 403)
            for origin in ("http://localhost\\@evil.example", "http://localhost http://evil.example")
        ),
    ],
)
async def test_origin_is_parsed_and_no_prefix_of_it_is_enough(origin: str, status: int) -> None:
    async with served(*PLACES) as app, asking(app) as http:
        assert (await http.post("/mcp", json=LIST, headers={"origin": origin})).status_code == status


@pytest.mark.parametrize("name", ["https://docs.example", "docs.example/", "::1", "*", "", "a b", "x:70000"])
def test_a_name_that_no_host_has_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(RequestError, match="is not HOST or HOST:PORT"):
        named_place(name)


async def test_more_than_one_host_is_refused() -> None:
    async with served() as app, asking(app) as http:
        hosts = [("host", "localhost"), ("host", "evil.example"), *ACCEPT.items()]
        assert (await http.post("/mcp", json=LIST, headers=hosts)).status_code == 421


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp//", "/other", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD"])
async def test_host_and_key_are_checked_before_path_and_method(
    path: str, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(keys=(KEY,)) as app, asking(app) as http:
        strange = await http.request(method, path, headers={"host": "evil.example"})
        unknown = await http.request(method, path, headers={"authorization": "Bearer wrong-key"})
        known = await http.request(method, path, headers={"authorization": f"Bearer {KEY}"}, json=LIST)
    assert (strange.status_code, unknown.status_code) == (421, 401)
    assert unknown.headers["www-authenticate"] == "Bearer"
    is_served = path in ("/mcp", "/mcp/")
    assert known.status_code == (404 if not is_served else 200 if method == "POST" else 405)
    if known.status_code == 404 and method != "HEAD":
        assert known.json()["error"]["message"] == "nothing is served at this path; MCP is served at /mcp"
    for answer in (strange, unknown, known):
        assert "location" not in answer.headers
        assert "evil" not in answer.text
    assert not any(word in "".join(capfd.readouterr()) for word in ("evil", "wrong-key", KEY))


async def test_nothing_is_kept_of_a_caller_that_says_hello_again_and_again() -> None:
    async with served() as app, asking(app) as http:
        answers = [await http.post("/mcp", json=HELLO) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["mcp-session-id"] for answer in answers}) == len(answers)
        gc.collect()
        kept = [each for each in gc.get_objects() if type(each) is StreamableHTTPServerTransport]
        assert all(each.is_terminated for each in kept)
        for session in (answers[0].headers["mcp-session-id"], "that of a process before"):
            answer = await http.post("/mcp", json=LIST, headers={"mcp-session-id": session})
            assert answer.status_code == 200


@pytest.mark.parametrize("number", [1, "1"])
async def test_only_its_own_caller_cancels_a_call(number: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    began, cancelled = anyio.Event(), anyio.Event()

    async def search(_: object, __: object) -> SearchAnswer:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    monkeypatch.setattr("es_rerank.mcp_server.tools.Tools.search", search)
    mine = {"mcp-session-id": "a", "authorization": f"Bearer {KEY}"}
    async with served(keys=(KEY, "other")) as app, asking(app) as http, anyio.create_task_group() as group:
        answers = []

        async def ask() -> None:
            answers.append(await http.post("/mcp", json=call(number), headers=mine))

        group.start_soon(ask)
        await began.wait()
        another = "1" if number == 1 else 1
        not_its_own: list[tuple[dict[str, Any], dict[str, str]]] = [
            (cancel(number), mine | {"authorization": "Bearer other"}),
            (cancel(number), mine | {"mcp-session-id": "b"}),
            (cancel(number), {"authorization": mine["authorization"]}),
            (cancel(another), mine),
            (cancel(None), mine),
            (cancel([True]), mine),
            (cancel(number) | {"params": None}, mine),
            (cancel(number) | {"params": [number]}, mine),
        ]
        for said, headers in not_its_own:
            await http.post("/mcp", json=said, headers=headers)
            assert not cancelled.is_set()
        assert (await http.post("/mcp", json=cancel(number), headers=mine)).status_code == 202
        await cancelled.wait()
    (answer,) = answers
    (line,) = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    assert json.loads(line.removeprefix("data: "))["id"] == number
    assert json.loads(line.removeprefix("data: "))["error"]["message"] == "Request cancelled"


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"null", b"[" * 5_000, b'"\\ud800"', b"\xff"])
async def test_a_body_that_holds_no_message_is_answered(body: bytes) -> None:
    async with served() as app, asking(app) as http:
        answer = await http.post("/mcp", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] < 0


async def test_half_a_surrogate_pair_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def search(_: object, given: dict[str, Any]) -> SearchAnswer:
        asked.append(given)
        return SearchAnswer(query="", index="", hits=[], status="reranked", note=None)

    monkeypatch.setattr("es_rerank.mcp_server.tools.Tools.search", search)
    body = json.dumps(call(1)).replace('"x"', '"who \\ud83d"')
    assert "ud83d" in body
    async with served() as app, asking(app) as http:
        answer = await http.post("/mcp", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert asked == [{"query": "who \ufffd"}]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_is_that_of_the_holder_of_its_key(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    callers: list[str] = []

    async def search(_: object, __: object) -> SearchAnswer:
        callers.append(CALLER.get().name)
        return SearchAnswer(query="", index="", hits=[], status="reranked", note=None)

    monkeypatch.setattr("es_rerank.mcp_server.tools.Tools.search", search)
    async with served(keys=(KEY, "other")) as app:
        for key in (KEY, "other"):
            headers = {"authorization": f"Bearer {key}"}
            async with (
                httpx2.AsyncClient(transport=httpx2.ASGITransport(app), headers=headers) as http,
                Client(streamable_http_client("http://localhost/mcp", http_client=http), mode=mode) as client,
            ):
                await client.call_tool("search", {"query": "x"})
    assert len(set(callers)) == 2
    assert all(caller.startswith("key ") for caller in callers)


async def test_each_request_has_a_record() -> None:
    lines = Lines()
    async with served(sinks=(lines,)) as app, asking(app) as http:
        await http.post("/mcp", json=LIST)
        await http.get("/mcp/")
        await http.get("/a-path-of-the-caller")
        await http.post("/mcp", json=LIST, headers={"host": "evil.example"})
    assert lines.seen == [
        ("POST", "/mcp", 200),
        ("GET", "/mcp/", 405),
        ("GET", "unmatched", 404),
        ("POST", "unmatched", 421),
    ]
