"""Search APIs that es-rerank does not serve, and the headers that say where a request comes from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from beside import HERE, JSON, THERE, filled_index, gateway, said
from elastic_transport import AiohttpHttpNode
from elasticsearch import AsyncElasticsearch, Elasticsearch
from retriever_bodies import LEAF, MATCH, pinned, reranker, standard

from es_rerank.node import Node


@pytest.fixture(params=[True, False], ids=["pass-through", "alone"])
async def caller(request: pytest.FixtureRequest, node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(node.url, pass_through=request.param) as client:
        yield client


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-other-searches") as name:
        yield name


MUSTACHE = (
    '{"size": {{size}}, "retriever": {"rrf": {"retrievers": [{{#a}}{"standard": {}}{{/a}}]}}, "x": {{y}}}'
)
BELOW = '{"retriever": {"rescorer": {"retriever": {"text_similarity_reranker": {{{content}}}}}}}'
OURS: list[tuple[str, Any]] = [
    ("/_async_search", HERE),
    ("/INDEX/_async_search", {"retriever": reranker()}),
    ("/INDEX/_async_search?wait_for_completion_timeout=1s", {"retriever": pinned()}),
    ("/_search/template", {"source": HERE, "params": {}}),
    ("/INDEX/_search/template", {"source": json.dumps(HERE)}),
    ("/INDEX/_search/template", {"source": MUSTACHE, "params": {"size": 1}}),
    ("/INDEX/_search/template", {"source": BELOW}),
    ("/_msearch/template", [{"index": "INDEX"}, {"source": HERE}]),
    ("/INDEX/_msearch/template", [{}, {"id": "stored"}, {}, {"source": MUSTACHE}]),
    ("/_query", {"query": "FROM i", **HERE}),
    ("/_query/async", {"query": "FROM i", **HERE}),
    ("/INDEX/_fleet/_fleet_search", HERE),
    ("/INDEX/_rank_eval", {"requests": [{"id": "q", "request": HERE, "ratings": []}], "metric": {}}),
]


@pytest.mark.parametrize(("path", "body"), OURS, ids=range(len(OURS)))
async def test_a_retriever_that_es_rerank_runs_is_refused_in_one_sentence(
    caller: httpx.AsyncClient, filled: str, path: str, body: Any
) -> None:
    lines = [body] if isinstance(body, dict) else body
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    answer = await caller.post(path.replace("INDEX", filled), content=content, headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "action_request_validation_exception"), answer.text
    assert error["reason"].startswith("es-rerank runs [")
    assert "] in _search and _msearch only, not in [/" in error["reason"]
    assert ("install the plugin es-rerank and name [es_r" in error["reason"]) == (
        "[pinned]" not in error["reason"]
    )


DECAY = standard(query={"function_score": {"linear": {"metadata.year": {"origin": 2000, "scale": 10}}}})
OTHERS: list[tuple[str, Any]] = [
    ("/INDEX/_async_search", {"query": MATCH}),
    ("/INDEX/_async_search", THERE),
    ("/INDEX/_async_search", {"retriever": DECAY}),
    ("/INDEX/_async_search", {"retriever": {"es_rrf": {"retrievers": [LEAF]}}}),
    ("/INDEX/_search/template", {"source": {"retriever": LEAF}}),
    ("/INDEX/_search/template", {"id": "stored", "params": {"word": "retriever"}}),
    ("/INDEX/_search/template", "no JSON with a retriever"),
    ("/_msearch/template", [{"index": "INDEX"}, {"source": THERE}]),
    ("/_query", {"query": 'FROM i | WHERE text:"retriever" | FORK (LIMIT 1) (LIMIT 2) | FUSE RRF'}),
]


@pytest.mark.parametrize(("path", "body"), OTHERS, ids=range(len(OTHERS)))
async def test_all_else_is_elasticsearchs_or_not_served(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str, path: str, body: Any
) -> None:
    lines = body if isinstance(body, list) else [body]
    content = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    path = path.replace("INDEX", filled)
    answer = await caller.post(path, content=content, headers=JSON)
    if answer.status_code != 501:
        assert said(answer) == said(await direct.post(path, content=content, headers=JSON))
    else:
        assert "--pass-through" in answer.json()["error"]["reason"]


async def test_other_methods_of_these_paths_are_as_before(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    for method, path in (
        ("DELETE", f"/{filled}/_async_search"),
        ("GET", "/_query"),
        ("PUT", "/_search/template"),
    ):
        answer = await caller.request(method, path)
        assert answer.status_code == 501 or said(answer) == said(await direct.request(method, path))


# --- where a request comes from -----------------------------------------------------------------------------

ORIGIN = {
    "x-opaque-id": "job-7",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "es=s:1",
    "x-elastic-product-origin": "kibana",
}


class Recording(AiohttpHttpNode):
    """Keeps the headers of every request."""

    sent: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 one list for the test

    async def perform_request(self, method: str, target: str, *args: Any, **more: Any) -> Any:  # type: ignore[override]
        self.sent.append((target, dict(more.get("headers") or {})))
        return await super().perform_request(method, target, *args, **more)


TREE = {"retriever": reranker(retriever=HERE["retriever"])}
SEARCHES: dict[str, tuple[str, list[Any], int]] = {
    "reranked": ("_search", [TREE], 200),
    "fused": ("_search", [HERE], 200),
    "wrong": ("_search", [{"retriever": {"rrf": {"nonsense": 1}}}], 400),
    "unknown model": ("_search", [{"retriever": reranker(inference_id="nonsense")}], 404),
    "not ours": ("_search", [THERE], 200),
    "several": ("_msearch", [{}, TREE, {}, THERE], 200),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_the_origin_goes_to_every_request_and_the_opaque_id_comes_back(
    node: Node, direct: httpx.AsyncClient, filled: str, name: str
) -> None:
    path, lines, status = SEARCHES[name]
    Recording.sent.clear()
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    async with (
        AsyncElasticsearch(node.url, node_class=Recording) as inner,
        gateway(node.url, elasticsearch=inner) as caller,
    ):
        Recording.sent.clear()
        arguments: dict[str, Any] = {"content": content, "headers": {**JSON, **ORIGIN}}
        answer = await caller.post(f"/{filled}/{path}", **arguments)
    assert answer.status_code == status, answer.text
    assert answer.headers.get_list("x-opaque-id") == ["job-7"]
    assert (await direct.post(f"/{filled}/{path}", **arguments)).headers["x-opaque-id"] == "job-7"
    if name in {"reranked", "fused", "several"}:
        assert any("/_pit" in target for target, _ in Recording.sent)
    for target, headers in Recording.sent:
        assert {key: headers.get(key) for key in ORIGIN} == ORIGIN, target


async def test_without_one_none_comes_back(node: Node, filled: str) -> None:
    async with gateway(node.url) as caller:
        answer = await caller.post(f"/{filled}/_search", json=HERE)
    assert "x-opaque-id" not in answer.headers
