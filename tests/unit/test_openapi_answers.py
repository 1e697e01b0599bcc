"""Answers that no example of the OpenAPI page shows have the schemas that the page names."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from openapi_page import check, checked, document

from es_rerank.engine.pool import Pool
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.retrievers.response.answer import SearchStats
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker

PAGE = document()
NOBODY = "http://127.0.0.1:9"


async def told(client: httpx.AsyncClient, path: str, template: str = "", **parameters: str) -> Any:
    answer = await client.get(path, params=parameters)
    assert checked(PAGE, PAGE["paths"][template or path]["get"], answer) == "200", answer.text
    return answer.json()


async def test_what_is_told_of_models_of_every_kind() -> None:
    """Of a model without a manifest, of one on another server, of two embedders, of none."""
    remote: Any = RemoteReranker(NOBODY, dialect="tei", name="remote")
    overlap, embedders = WordOverlapReranker(), {"a": HashEmbedder(), "b": HashEmbedder(32)}
    service = Service(
        AsyncElasticsearch(NOBODY, max_retries=0),
        lambda: ({overlap.name: overlap, "remote": remote}, embedders),
        pool=Pool(1),
        cache=ScoreCache(10),
    )
    async with app_client(service) as client:
        state = await told(client, "/_rerank/status")
        assert "dialect" in state["models"][1]
        assert [each["served_as"] for each in state["embedders"]] == ["a", "b"]
        assert len((await told(client, "/v1/models"))["data"]) == 4
        assert len((await told(client, "/_inference"))["endpoints"]) == 4
        for name in ("word-overlap", "remote", "a", "b"):
            await told(client, "/info", model=name)
            await told(client, f"/v1/models/{name}", "/v1/models/{model}")
            await told(client, f"/_inference/{name}", "/_inference/{inference_id}")
    async with app_client(Service(AsyncElasticsearch(NOBODY), lambda: ({}, None))) as client:
        assert (await told(client, "/_rerank/status"))["models"] == []
        await told(client, "/v1/models")


@pytest.mark.parametrize("reranked", [True, False])
def test_a_block_with_everything_has_its_schema(*, reranked: bool) -> None:
    stats = SearchStats(models=["one", "two"] if reranked else [], blended=True, seconds={"total": 0.1})
    stats.warn("some texts are in another script")
    if reranked:
        stats.fail("the deadline came", "late", reached=True)
    schema = {"$ref": "#/components/schemas/RerankBlock"}
    check(PAGE, schema, stats.block())
    check(PAGE, schema, {"status": "reranked", "milliseconds": {}, "inside": True})
