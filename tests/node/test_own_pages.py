"""The sidecar's own pages are where no index can be, so that no path of Elasticsearch is taken by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from beside import gateway, said
from elasticsearch import AsyncElasticsearch

from es_rerank.dialects.table import PATHS as RERANK_PATHS
from es_rerank.dialects.vectors import BY_PATH as VECTOR_PATHS
from es_rerank.node import Node
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service

EXPECTED_BY_TOOLS = {
    *("/", "/healthz", "/readyz", "/metrics", "/info", "/rescore"),
    *("/weaviate/.well-known/ready", "/weaviate/meta"),
    *("/health", "/v1/models", "/v1/models/{model:path}"),
    *RERANK_PATHS,
    *VECTOR_PATHS,
}
"""Paths that are Elasticsearch's, of probes, of Prometheus, rerankers and embedders, and our ``/rescore``."""

ONCE_OURS = ("/docs", "/redoc", "/openapi.json", "/static-offline-docs", "/docs/oauth2-redirect")


def paths_of(routes: Iterable[Any]) -> Iterator[str]:
    """Yield the paths of routes, those of routers that an application includes too."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route.path
        else:
            yield from paths_of(router.routes)


async def test_no_path_of_ours_is_the_name_of_an_index_except_those_that_tools_expect() -> None:
    service = Service(AsyncElasticsearch("http://127.0.0.1:9"), lambda: ({}, None))
    paths = set(paths_of(create_app(service).routes))
    await service.close()
    ours = {path for path in paths if not path.startswith(("/_", "/{index}"))}
    assert ours <= EXPECTED_BY_TOOLS
    assert "/rerank" in ours
    assert {path for path in paths if "docs" in path or "openapi" in path or "static" in path} == {
        "/_rerank/docs",
        "/_rerank/docs/oauth2-redirect",
        "/_rerank/openapi.json",
        "/_rerank/static",
    }


async def test_an_index_may_have_the_name_of_a_page_that_we_had(
    node: Node, caller: httpx.AsyncClient, direct: httpx.AsyncClient
) -> None:
    for path in ONCE_OURS[:4]:
        expected = await direct.head(path)
        assert (await caller.head(path)).status_code == expected.status_code, path
        assert said(await caller.get(path)) == (501, "not_implemented_exception"), path
    async with gateway(node.url, pass_through=True) as through:
        for path in ONCE_OURS:
            answer, expected = await through.get(path), await direct.get(path)
            assert (answer.status_code, answer.content) == (expected.status_code, expected.content), path


@pytest.mark.parametrize(
    "name", sorted(name for name in EXPECTED_BY_TOOLS if len(name.split("/")[1:]) == 1 and name != "/")
)
async def test_an_index_with_the_name_of_a_path_of_ours_can_be_searched(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, name: str
) -> None:
    for path in (f"{name}/_search", f"{name}/_msearch"):
        body = b"{}\n{}\n" if path.endswith("msearch") else b"{}"
        headers = {"content-type": "application/x-ndjson" if path.endswith("msearch") else "application/json"}
        answers = [await each.post(path, content=body, headers=headers) for each in (caller, direct)]
        assert said(answers[0]) == said(answers[1]), path
