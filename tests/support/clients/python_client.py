"""The official Python clients run the dozen requests:
``python python_client.py (sync|async) URL REQUESTS``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch

# Every call is yielded and its result sent back, so that one text serves both clients: one driver awaits,
# the other does not.
Calls = Generator[Any, Any, Any]


def dozen(client: Any, requests: dict[str, Any]) -> Calls:
    index = requests["index"]
    found: dict[str, Any] = {}
    for number in "1234567":
        found[number] = searched((yield client.search(index=index, **requests[number])))
    several = yield client.msearch(searches=requests["8"])
    found["8"] = [failed(item) if "error" in item else searched(item) for item in several["responses"]]
    found["9"] = yield from in_a_point_in_time(client, index, requests["9"])
    found["10"] = (yield client.inference.rerank(**requests["10"]))["rerank"]
    found["11"] = yield from passed_through(client, **requests["11"])
    found["12"] = {}
    for name, wanted in requests["12"].items():
        found["12"][name] = yield from refused(client, wanted)
    return found


def in_a_point_in_time(client: Any, index: str, wanted: dict[str, Any]) -> Calls:
    pit = (yield client.open_point_in_time(index=index, keep_alive=wanted["keep_alive"]))["id"]
    pages = []
    for start in wanted["from"]:
        page = yield client.search(
            **wanted["search"], from_=start, pit={"id": pit, "keep_alive": wanted["keep_alive"]}
        )
        pit = page["pit_id"]
        pages.append(searched(page))
    closed = yield client.close_point_in_time(id=pit)
    return {"pages": pages, "closed": closed["succeeded"]}


def passed_through(
    client: Any, index: str, one: dict[str, Any], more: list[dict[str, Any]], query: dict[str, Any]
) -> Calls:
    indexed = (yield client.index(index=index, id=one["id"], document=one["document"]))["result"]
    got = yield client.get(index=index, id=one["id"])
    operations = [
        line for each in more for line in ({"index": {"_index": index, "_id": each["id"]}}, each["document"])
    ]
    bulk = yield client.bulk(operations=operations, refresh=True)
    count = (yield client.count(index=index, query=query))["count"]
    deleted = (yield client.delete(index=index, id=one["id"]))["result"]
    exists = bool((yield client.exists(index=index, id=one["id"])))
    dropped = (yield client.indices.delete(index=index))["acknowledged"]
    items = [
        [item["index"]["_id"], item["index"]["result"], item["index"]["status"]] for item in bulk["items"]
    ]
    return {
        "indexed": indexed,
        "got": {"id": got["_id"], "source": got["_source"]},
        "bulk": {"errors": bulk["errors"], "items": items},
        "count": count,
        "deleted": deleted,
        "exists": exists,
        "dropped": dropped,
    }


def refused(client: Any, wanted: dict[str, Any]) -> Calls:
    try:
        yield client.search(index=wanted["index"], **wanted["search"])
    except ApiError as error:
        return failed({"status": error.status_code, "error": error.body["error"]})
    raise AssertionError(f"answered, though it should be refused: {wanted}")


def failed(item: dict[str, Any]) -> dict[str, Any]:
    return {"status": item["status"], "type": item["error"]["type"], "reason": item["error"]["reason"]}


def searched(answer: Any) -> dict[str, Any]:
    found = {"total": answer["hits"]["total"], "hits": [hit_of(hit) for hit in answer["hits"]["hits"]]}
    if "aggregations" in answer:
        found["aggregations"] = {name: aggregation(each) for name, each in answer["aggregations"].items()}
    return found


def hit_of(hit: dict[str, Any]) -> dict[str, Any]:
    parts = {"source": "_source", "fields": "fields", "highlight": "highlight"}
    return {
        "id": hit["_id"],
        "score": hit["_score"],
        **{name: hit[key] for name, key in parts.items() if key in hit},
    }


def aggregation(value: dict[str, Any]) -> Any:
    return (
        [[bucket["key"], bucket["doc_count"]] for bucket in value["buckets"]]
        if "buckets" in value
        else value["value"]
    )


def run(url: str, requests: dict[str, Any]) -> Any:
    with Elasticsearch(url, max_retries=0, request_timeout=60) as client:
        calls = dozen(client, requests)
        result = None
        try:
            while True:
                result = calls.send(result)
        except StopIteration as end:
            return end.value


async def arun(url: str, requests: dict[str, Any]) -> Any:
    async with AsyncElasticsearch(url, max_retries=0, request_timeout=60) as client:
        calls = dozen(client, requests)
        call = next(calls)
        try:
            while True:
                try:
                    result = await call
                except ApiError as error:
                    call = calls.throw(error)
                else:
                    call = calls.send(result)
        except StopIteration as end:
            return end.value


if __name__ == "__main__":
    kind, address, file = sys.argv[1:]
    wanted = json.loads(Path(file).read_text(encoding="utf-8"))
    sys.stdout.write(
        json.dumps(run(address, wanted) if kind == "sync" else asyncio.run(arun(address, wanted)))
    )
