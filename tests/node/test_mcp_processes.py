"""``es-rerank mcp`` as a host runs it: processes, asked by the SDK's client over stdio and HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import httpx
import httpx2
import pytest
import trustme
from elasticsearch import Elasticsearch
from ingests import MOON, TREATY, WEB, write
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_servers import Mode, command, fault_of, found_by, text_of
from proxies import Proxy, proxied
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner
from waiting import until

from es_rerank.cli.app import app
from es_rerank.node import Node
from es_rerank.settings import PREFIX

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

QUESTION = "who walked on the moon"
KEY = "a-key-of-a-test"

READING = re.compile(r"GET (/|/_es_rerank|/[\w-]+)|POST /[\w-]+/(_search|_field_caps)")
"""Requests to Elasticsearch that change nothing."""


@pytest.fixture(scope="module")
def documents(node: Node, es: Elasticsearch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index that ``es-rerank ingest`` filled with the bundled embedder."""
    name = f"test-{uuid4().hex[:12]}"
    source = write(tmp_path_factory.mktemp("source") / "documents.jsonl", [TREATY, MOON, WEB])
    done = CliRunner().invoke(app, ["ingest", name, str(source), "--elasticsearch-url", node.url])
    assert done.exit_code == 0, done.output
    yield name
    for found in es.indices.get(index=f"{name}*"):
        es.indices.delete(index=found)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a server that starts quickly."""
    reranker = tiny_cross_encoder(tmp_path_factory.mktemp("models") / "reranker")
    return ["--reranker", str(reranker), "--first-stage", "bm25", "--field", "text"]


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    with proxied(node.url, lambda *_: None) as before:
        yield before


def only_reads(proxy: Proxy) -> bool:
    """Return whether there were requests, and none that could change something."""
    return bool(proxy.seen) and all(READING.fullmatch(f"{method} {path}") for method, path, *_ in proxy.seen)


@pytest.fixture(scope="module")
def searched(node: Node, documents: str) -> list[str]:
    """The ids that ``es-rerank search`` prints for the question."""
    done = CliRunner().invoke(app, ["search", documents, QUESTION, "--json", "--elasticsearch-url", node.url])
    return [hit["_id"] for hit in json.loads(done.stdout)["hits"]["hits"]]


def configured(key: str) -> dict[str, Any]:
    """Return the server with ``key`` of a host's configuration in the README."""
    blocks = [block for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if "mcpServers" in block]
    servers = [json.loads(block)["mcpServers"]["documents"] for block in blocks]
    (found,) = [server for server in servers if key in server]
    return dict(found)


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.long)])
async def test_a_host_that_starts_the_program_searches_and_asks(
    documents: str, searched: list[str], proxy: Proxy, mode: Mode
) -> None:
    written = configured("command")
    here = {"articles": documents, "http://localhost:9200": proxy.url}
    program, *arguments = command(*(here.get(each, each) for each in written["args"][1:]))
    assert {"command", "args", "env"} == written.keys()
    host = StdioServerParameters(command=program, args=arguments, env=dict(os.environ) | written["env"])
    async with Client(host, mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "ask"]
        found = await found_by(client, "search", query=QUESTION)
        asked = await found_by(client, "ask", question=QUESTION)
        refused = fault_of(await client.call_tool("search", {"query": QUESTION, "index": ".security"}))
        empty = fault_of(await client.call_tool("ask", {"question": " "}))
        with pytest.raises(MCPError, match="there is no tool"):
            await client.call_tool("index", {"id": "x"})
    assert [hit["id"] for hit in found["hits"]] == searched
    assert found["hits"][0]["id"] == "moon"
    assert found["status"] == "reranked"
    assert asked["passages"][0]["id"] == "moon"
    assert refused == f"index [.security] is not served here; served: [{documents}]"
    assert empty == "the query is empty; give the words to search for"
    assert only_reads(proxy), proxy.seen


# -- its end -------------------------------------------------------------------------------------------------


HELLO: list[dict[str, Any]] = [
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


def call(number: int) -> dict[str, Any]:
    params = {"name": "search", "arguments": {"query": "x"}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


@contextmanager
def host_of(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the program with its stdin and stdout in the test's hands, until the block ends."""
    with (
        log.open("w") as err,
        subprocess.Popen(
            command("--index", "articles", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], *messages: Mapping[str, Any] | str) -> None:
    assert process.stdin is not None
    for message in messages:
        process.stdin.write(f"{message if isinstance(message, str) else json.dumps(message)}\n")
    process.stdin.flush()


def heard_before(process: subprocess.Popen[str], number: int) -> list[dict[str, Any]]:
    """Return the answer to a request, and before it the answers that came before it."""
    assert process.stdout is not None
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["id"] != number:
        messages.append(json.loads(process.stdout.readline()))
        assert messages[-1]["jsonrpc"] == "2.0"
    return messages


def heard(process: subprocess.Popen[str], number: int) -> dict[str, Any]:
    """Return the answer to a request. Answers to others may come before it."""
    return heard_before(process, number)[-1]


NO_CALLS: list[Mapping[str, Any] | str] = [
    "",
    "this is no JSON",
    "null",
    "[]",
    "[" * 5_000,
    '{"a":' * 5_000,
    "x" * 3_000_000,
    '{"jsonrpc": "2.0"}',
    '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "\\ud83d"}}',
    '{"jsonrpc": "1.0", "id": 7, "method": "tools/list"}',
    {"jsonrpc": "2.0", "id": None, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 7, "result": {}},
    {"jsonrpc": "2.0", "id": 7, "method": "no/such"},
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call"},
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": 3, "arguments": []}},
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "search", "arguments": {"a": 1}}},
    {"jsonrpc": "2.0", "id": [], "method": "tools/call", "params": {"name": "search", "arguments": {}}},
    {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "search", "arguments": {"query": "x"}}},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
    {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}},
]
"""What a host should not say."""


@pytest.mark.long
def test_without_elasticsearch_it_answers_and_ends_with_stdin(quick: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with host_of([*quick, "--elasticsearch-url", "http://127.0.0.1:9"], log) as process:
        say(process, HELLO[0])
        assert heard(process, 0)["result"]["serverInfo"]["name"] == "es-rerank"
        say(process, HELLO[1], call(1))
        result = heard(process, 1)["result"]
        assert result["isError"] is True
        assert result["content"][0]["text"].startswith("Elasticsearch does not answer (")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""  # nothing but the protocol
    assert "Traceback" not in log.read_text()


def test_neither_nonsense_nor_a_call_that_runs_holds_up_the_end(quick: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        host_of(
            [*quick, "--elasticsearch-url", f"http://127.0.0.1:{silent.getsockname()[1]}"], log
        ) as process,
    ):
        say(process, HELLO[0])
        heard(process, 0)
        say(process, HELLO[1], *NO_CALLS, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, call(1))
        before = heard_before(process, 2)
        assert [tool["name"] for tool in before.pop()["result"]["tools"]] == ["search", "ask"]
        assert len(before) == len(NO_CALLS) - 4, before  # an empty line, a result, notifications
        assert {message.get("id") for message in before} == {None, 7}
        connection, _ = silent.accept()  # the call waits for Elasticsearch
        with connection:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_ends_it_while_it_waits_for_stdin(
    quick: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with host_of([*quick, "--elasticsearch-url", "http://127.0.0.1:9"], tmp_path / "log") as process:
        say(process, HELLO[0])
        heard(process, 0)
        process.send_signal(number)
        assert process.wait(60) == code


@pytest.mark.long
def test_a_host_that_reads_no_more_ends_it_without_a_traceback(quick: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with host_of([*quick, "--elasticsearch-url", "http://127.0.0.1:9"], log) as process:
        assert process.stdout is not None
        process.stdout.close()
        say(process, HELLO[0])
        assert process.wait(60) == 141
    assert "Traceback" not in log.read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        ("<&-", 2, "speaks on stdin and stdout"),
        (">&- </dev/null", 2, "speaks on stdin and stdout"),
        (">/dev/full", 1, "cannot write"),
        ("</dev/null", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_end_it(
    quick: list[str], tmp_path: Path, redirected: str, code: int, said: str
) -> None:
    (tmp_path / "hello").write_text(f"{json.dumps(HELLO[0])}\n")
    line = shlex.join(command("--index", "articles", *quick, "--elasticsearch-url", "http://127.0.0.1:9"))
    with (tmp_path / "hello").open() as hello:
        done = subprocess.run(
            f"{line} {redirected}", shell=True, stdin=hello, capture_output=True, text=True, check=False
        )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# -- HTTP ----------------------------------------------------------------------------------------------------


@contextmanager
def over_http(
    arguments: list[str], log: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the program over HTTP until the block ends; yields its address and its process."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command("--http", "0", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=os.environ | environment,
        ) as process,
    ):

        def address() -> str:
            assert process.poll() is None, log.read_text()
            found = re.search(r" on (https?://\S+/mcp)\n", log.read_text())
            return found[1] if found else ""

        try:
            until(address)
            yield address(), process
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_is_cancelled_over_http_ends_its_request(
    quick: list[str], tmp_path: Path, mode: Mode
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = [*quick, "--elasticsearch-url", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        no_deadline = {PREFIX + "TIMEOUT_MS": "600000"}
        with over_http(["--index", "articles", *options], tmp_path / "log", no_deadline) as (url, _):
            async with Client(url, mode=mode) as client, anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "search", {"query": "x"})
                connection, _ = await anyio.to_thread.run_sync(silent.accept)
                with connection:
                    assert await anyio.to_thread.run_sync(connection.recv, 1 << 16)  # Elasticsearch is asked
                    group.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        assert await anyio.to_thread.run_sync(connection.recv, 1) == b""


async def test_a_host_that_has_a_key_searches_over_http(
    documents: str, searched: list[str], proxy: Proxy, tmp_path: Path
) -> None:
    keys = {PREFIX + "API_KEY_HASHES": hashlib.sha256(KEY.encode()).hexdigest()}
    bm25 = ["--index", documents, "--elasticsearch-url", proxy.url, "--size", "2"]
    with over_http(bm25, tmp_path / "log", keys) as (url, process):
        written = configured("url")
        headers = {name: value.replace("KEY", KEY) for name, value in written["headers"].items()}
        assert written["url"].endswith(re.sub(r".*:\d+", "", url))
        modes: tuple[Mode, ...] = ("auto", "legacy")
        for mode in modes:
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                found = await found_by(client, "search", query=QUESTION)
                result = await client.call_tool("ask", {"question": QUESTION})
                refused = fault_of(await client.call_tool("search", {"query": "x", "index": "*"}))
            assert [hit["id"] for hit in found["hits"]] == searched[:2]
            assert f"Question: {QUESTION}" in text_of(result)
            assert "is not served here" in refused
        _is_refused_without_a_right(url)
        process.terminate()
        assert process.wait(60) == 0
    assert only_reads(proxy), proxy.seen
    log = (tmp_path / "log").read_text()
    assert "request method=POST route=/mcp status=200" in log
    assert "Traceback" not in log
    assert "evil.example" not in log


def _is_refused_without_a_right(url: str) -> None:
    """Ask without a key, with a wrong one, and as a page in a browser would by DNS rebinding."""
    right = {"authorization": f"Bearer {KEY}", "accept": "application/json, text/event-stream"}
    wrong: list[tuple[int, dict[str, str]]] = [
        (401, {"authorization": ""}),
        (401, {"authorization": f"Bearer {KEY}x"}),
        (401, {"authorization": f"Basic {KEY}"}),
        (421, {"host": "evil.example"}),
        (421, {"host": "evil.example:80"}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "null"}),
    ]
    with httpx.Client(trust_env=False) as http:
        for status, headers in wrong:
            answer = http.post(url, json=HELLO[0], headers=right | headers)
            assert answer.status_code == status, headers
            assert "serverInfo" not in answer.text
        assert http.post(url, json=HELLO[0], headers=right).status_code == 200
        assert http.get(url, headers=right).status_code == 405
        assert http.post(f"{url}/x", json=HELLO[0], headers=right).status_code == 404
        assert http.post(url, content=b"x" * 2_000_000, headers=right).status_code == 413


@pytest.mark.long
def test_over_tls_a_key_is_asked_for_at_each_call_and_a_proxy_is_known(
    quick: list[str], tmp_path: Path
) -> None:
    authority, certificate = trustme.CA(), tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    environment = {
        PREFIX + "API_KEY_HASHES": hashlib.sha256(KEY.encode()).hexdigest(),
        PREFIX + "TLS_CERTIFICATE": str(certificate),
    }
    options = ["--index", "articles", *quick, "--elasticsearch-url", "http://127.0.0.1:9"]
    named = ["--allowed-host", "docs.example"]
    with over_http([*options, *named], tmp_path / "log", environment) as (url, _):
        accept = {"accept": "application/json, text/event-stream"}
        with httpx.Client(trust_env=False, headers=accept, verify=trusted) as http:
            mine = {"authorization": f"Bearer {KEY}"}
            begun = http.post(url, json=HELLO[0], headers=mine)
            session = {"mcp-session-id": begun.headers["mcp-session-id"]}
            assert http.post(url, json=HELLO[1], headers=mine | session).status_code == 202
            assert http.post(url, json=call(1), headers=session).status_code == 401
            assert http.post(url, json=call(1), headers=mine | session).status_code == 200
            assert http.post(f"{url}/", json=call(1), headers=mine).status_code == 200
            for host, origin, status in (
                ("docs.example", "https://docs.example", 200),
                ("docs.example:8443", "https://docs.example:8443", 200),
                ("docs.example.evil", "https://docs.example", 421),
                ("docs.example", "https://docs.example.evil", 403),
            ):
                answer = http.post(url, json=HELLO[0], headers=mine | {"host": host, "origin": origin})
                assert answer.status_code == status, (host, origin)
