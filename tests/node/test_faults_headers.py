"""Which headers of a caller reach Elasticsearch, in searches that are sent on and in searches that run here.

Elasticsearch decides by headers, so both kinds of search must carry the same ones.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from beside import HERE, JSON, THERE, filled_index, gateway
from elasticsearch import Elasticsearch
from proxies import Proxy, proxied

from es_rerank.node import Node

DECIDES = {
    # What Elasticsearch 9.5 registers in Security.getRestHeaders, and reads beside that.
    "authorization": "Bearer token-of-the-caller",
    "es-client-authentication": "SharedSecret of-the-jwt-realm",
    "x-client-authentication": "secret",
    "es-secondary-authorization": "ApiKey second",
    "es-secondary-x-client-authentication": "second",
    "es-security-runas-user": "somebody",
    "x-elastic-project-id": "project-7",
    # A realm of its own, or a server in front of Elasticsearch, may read any other.
    "cookie": "session=1",
    "x-proxy-user": "somebody",
    "origin": "https://kibana.example",
}
TELLS = {
    "x-opaque-id": "job-7",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "es=s:1",
    "x-elastic-product-origin": "kibana",
    "x-elastic-product-use-case": "search",
    "x-elastic-internal-origin": "kibana",
    "x-forwarded-for": "192.0.2.7",
    "x-request-id": "r-1",
}
OF_THE_CONNECTION = {
    "te": "trailers",
    "upgrade": "h2c",
    "proxy-authorization": "Basic secret",
    "x-rerank-timeout-ms": "9000",
    "x-rerank-user": "somebody else",
    "expect": "",
}
OF_THE_PROGRAM = {"user-agent": "program-of-the-caller", "x-elastic-client-meta": "es=9,py=3"}
SENT = DECIDES | TELLS | OF_THE_CONNECTION | OF_THE_PROGRAM


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-faults-headers") as name:
        yield name


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    with proxied(node.url, lambda *_: None) as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(proxy.url) as client:
        proxy.headers.clear()
        yield client


SEARCHES: dict[str, tuple[str, list[Any]]] = {
    "sent on": ("_search", [THERE]),
    "run here": ("_search", [HERE]),
    "both in one": ("_msearch", [{}, HERE, {}, THERE]),
    "point in time": ("_pit?keep_alive=1s", []),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_every_request_of_a_search_carries_all_headers_that_may_decide(
    proxy: Proxy, through: httpx.AsyncClient, filled: str, name: str
) -> None:
    path, lines = SEARCHES[name]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    answer = await through.post(f"/{filled}/{path}", content=content, headers={**JSON, **SENT})
    assert answer.status_code == 200, answer.text
    assert len(proxy.headers) >= 1
    for headers in proxy.headers:
        assert {key: headers.get(key) for key in DECIDES | TELLS} == DECIDES | TELLS
        assert not [key for key in OF_THE_CONNECTION if headers.get(key) == OF_THE_CONNECTION[key]]
        own = headers["user-agent"] != SENT["user-agent"]
        assert own == (name in {"run here", "both in one"})


async def test_a_search_run_here_has_formats_of_its_own(
    proxy: Proxy, through: httpx.AsyncClient, filled: str
) -> None:
    formats = {"accept": "application/json;q=0.5", "if-none-match": "x"}
    await through.post(f"/{filled}/_search", json=HERE, headers=formats)
    assert proxy.headers
    for headers in proxy.headers:
        assert ("q=0.5" in headers["accept"], "if-none-match" in headers) == (False, False)


async def test_a_header_of_one_value_that_comes_twice_is_refused(
    through: httpx.AsyncClient, proxy: Proxy, filled: str
) -> None:
    twice = [*JSON.items(), ("authorization", "Bearer a"), ("authorization", "Bearer b")]
    answer = await through.post(f"/{filled}/_search", json=HERE, headers=twice)
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "multiple values for single-valued header [authorization]."
    listed = [*JSON.items(), ("tracestate", "a=1"), ("tracestate", "b=2")]
    proxy.headers.clear()
    assert (await through.post(f"/{filled}/_search", json=HERE, headers=listed)).status_code == 200
    assert {headers["tracestate"] for headers in proxy.headers} == {"a=1,b=2"}


async def test_the_bytes_of_a_header_stay_the_same(
    proxy: Proxy, through: httpx.AsyncClient, filled: str
) -> None:
    for body in (HERE, THERE):
        headers = [(b"content-type", b"application/json"), (b"x-opaque-id", "Zürich 東京".encode())]
        await through.post(f"/{filled}/_search", content=json.dumps(body), headers=headers)
    said = {headers["x-opaque-id"].encode("latin-1").decode() for headers in proxy.headers}
    assert said == {"Zürich 東京"}


async def test_a_control_character_is_the_callers_fault(through: httpx.AsyncClient, filled: str) -> None:
    for body in (HERE, THERE):
        headers = [(b"content-type", b"application/json"), (b"x-odd", b"a\x01b")]
        answer = await through.post(f"/{filled}/_search", content=json.dumps(body), headers=headers)
        assert (answer.status_code, "[x-odd]" in answer.text) == (400, True)


async def test_what_the_plugin_says_is_kept_for_one_caller(
    proxy: Proxy, through: httpx.AsyncClient, filled: str
) -> None:
    async def asked(headers: dict[str, str]) -> int:
        proxy.seen.clear()
        await through.post(f"/{filled}/_search", json=HERE, headers=headers)
        return [path for _, path, _, _ in proxy.seen].count("/_es_rerank")

    assert [await asked({}), await asked({})] == [1, 0]
    for name in DECIDES:
        assert await asked({name: "a"}) == 1, name
    assert [await asked({"authorization": "a"}), await asked({"authorization": "b"})] == [0, 1]
    says_nothing = (
        TELLS | OF_THE_PROGRAM | {"sentry-trace": "a", "sec-fetch-site": "a", "accept-language": "a"}
    )
    assert await asked(says_nothing) == 0
