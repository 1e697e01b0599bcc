"""One search of an ``_msearch`` that fails leaves the answers of the others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from elasticsearch import ConnectionError as NoConnection
from elasticsearch import ConnectionTimeout
from scripted_elasticsearch import Reply, Script

from es_rerank.testing import WordOverlapReranker

WHOLE = {"total": 2, "successful": 2, "skipped": 0, "failed": 0}
PART = {
    **WHOLE,
    "successful": 1,
    "failed": 1,
    "failures": [{"shard": 0, "index": "part", "reason": {"type": "a", "reason": "no"}}],
}


def answer(path: str, body: Any) -> Reply:
    if "late" in path:
        return Reply(error=ConnectionTimeout("read timed out"))
    if "gone" in path:
        return Reply(error=NoConnection("refused"))
    if path.endswith("/_search"):
        shards = PART if "/part/" in path else WHOLE
        return Reply(body={"timed_out": False, "_shards": shards, "hits": {"hits": []}})
    return Reply(body={"fields": {}, "indices": []})


def tree(query: str) -> dict[str, Any]:
    leaf = {"standard": {"query": {"match": {"text": query}}}}
    return {"text_similarity_reranker": {"retriever": leaf, "field": "text", "inference_text": query}}


def run(script: Script, searches: list[dict[str, Any]], *, asynchronous: bool) -> Any:
    options: dict[str, Any] = {"reranker": WordOverlapReranker(), "plugin": "never"}
    if not asynchronous:
        return script.client(**options).msearch(searches=searches)

    async def several() -> Any:
        async with script.async_client(**options) as client:
            return await client.msearch(searches=searches)

    return asyncio.run(several())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_search_that_is_late_leaves_the_others(asynchronous: bool) -> None:
    searches = [
        line for index in ("late", "whole", "part") for line in ({"index": index}, {"retriever": tree("q")})
    ]
    late, whole, part = run(Script(answer), searches, asynchronous=asynchronous)["responses"]
    assert (late["status"], late["error"]["type"]) == (504, "deadline_exception")
    assert "Elasticsearch did not answer in time" in json.dumps(late["error"])
    assert (whole["status"], whole["rerank"]["status"], whole["_shards"]) == (200, "reranked", WHOLE)
    assert (part["status"], part["rerank"]["status"], part["_shards"]) == (200, "partial", PART)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_elasticsearch_that_is_gone_is_an_error_of_the_whole(asynchronous: bool) -> None:
    with pytest.raises(NoConnection):
        run(Script(answer), [{"index": "gone"}, {"retriever": tree("q")}], asynchronous=asynchronous)
