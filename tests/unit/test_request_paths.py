"""The path that a request finds its route by is the path that Elasticsearch gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest
from elasticsearch import AsyncElasticsearch
from scripted_connections import Script, answered, asked, ending_tasks, parsed, settle

from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

BODY = b'{"query":{"match_all":{}}}'
REPLY = b"HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-length: 2\r\n\r\n{}"


class Sidecar:
    """A sidecar with and without ``--pass-through``, over an Elasticsearch that notes what it is asked."""

    def __init__(self, address: str) -> None:
        self.address, self.asked = address, list[str]()

    async def post(self, path: str, query: str = "", *, pass_through: bool = False) -> int:
        """Return the status of a request that is not forwarded or is answered with 200."""
        model = WordOverlapReranker()
        service = Service(
            AsyncElasticsearch(self.address, max_retries=0),
            lambda: ({model.name: model}, None),
            pass_through=pass_through,
        )
        scope = {
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
            "client": ("192.0.2.1", 5000),
        }
        messages = [{"type": "http.request", "body": BODY, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            await create_app(service)(scope, receive, send)
        finally:
            await service.close()
        return int(sent[0]["status"])


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        made.asked.append(head.split(b" ")[1].decode())
        await reader.readexactly(len(BODY))
        writer.write(REPLY)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    made = Sidecar(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/es")
    async with server:
        yield made


@pytest.mark.parametrize("pass_through", [False, True])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/_bulk#/_search", ""),
        ("/_aliases#/_search", ""),
        ("/_refresh#/_msearch", ""),
        ("/_search", "x=#y"),
        ("/_search#", ""),
        ("/../_search", ""),
        ("/%2e%2E/_search", ""),
        ("/a/.%2e/_search", ""),
        ("/./_search", ""),
        ("@other:9200/_search", ""),
        (":80@other/_search", ""),
    ],
)
async def test_a_path_that_could_be_read_as_another_is_refused(
    sidecar: Sidecar, path: str, query: str, *, pass_through: bool
) -> None:
    assert await sidecar.post(path, query, pass_through=pass_through) == 400
    assert sidecar.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/_scripts/_%73earch",  # Elasticsearch would store a script
        "/_snapshot/_%6Dsearch",
        "/%5fbulk",
        "/_bulk%2F_search",
        "/_bulk%23/%5fsearch",
        "//_search",
        "/_bulk//_search",
        "/_bulk\\_search",
        "/_bulk;_search",
        "/_bulk%3f/_search%00",
    ],
)
async def test_elasticsearch_compares_paths_as_they_are_sent_and_so_does_the_sidecar(
    sidecar: Sidecar, path: str
) -> None:
    assert await sidecar.post(path) == 501
    assert sidecar.asked == []


@pytest.mark.parametrize("pass_through", [False, True])
@pytest.mark.parametrize(
    "path", ["//rerank", "/v1//rerank/", "//v2///rerank", "/weaviate//rerank", "//score", "//v1//embeddings"]
)
async def test_paths_of_other_servers_may_have_doubled_slashes(
    sidecar: Sidecar, path: str, *, pass_through: bool
) -> None:
    """A client puts its path behind an address that its user ended with a slash. The body has no texts."""
    assert await sidecar.post(path, pass_through=pass_through) in {400, 422}
    assert sidecar.asked == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/a,b*/_search", "routing=%23x&q=a/b?c"),
        ("/%3Clogs-%7Bnow%2Fd%7D%3E/_search/", ""),
        ("/a%23b%3F%00;@:\\c/_search", ""),
        ("/_search", ""),
    ],
)
async def test_a_path_is_sent_as_it_came(sidecar: Sidecar, path: str, query: str) -> None:
    assert await sidecar.post(path, query) == 200
    assert sidecar.asked == [f"/es{path}" + (f"?{query}" if query else "")]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://host:80/rerank?x=1", "/rerank"),
        (b"HTTPS://host/a%2Fb/_search", "/a%2Fb/_search"),
        (b"http://[::1]:80", "/"),
        (b"http://host?x=1", "/"),
        (b"http://u:p@host/_bulk#/_search", "/_bulk#/_search"),
        (b"/http://host/rerank", "/http://host/rerank"),
        (b"ftp://host/rerank", "ftp://host/rerank"),
        (b"*", "*"),
    ],
)
async def test_the_path_of_a_target_with_scheme_and_host_is_what_follows_them(
    target: bytes, path: str
) -> None:
    async def app(scope: Any, _: Any, send: Any) -> None:
        await answered(send, scope["raw_path"] + b" " + scope["path"].encode())

    async with ending_tasks():
        transport = asked(Script(app), target)
        await settle()
    raw, _, decoded = parsed(transport.written)[2].decode().partition(" ")
    assert (raw, decoded) == (path, path.replace("%2F", "/"))
