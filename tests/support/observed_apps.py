"""Applications of a sidecar in this process, over an Elasticsearch that is a script, with what they tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from app_client import app_client
from prometheus_client.parser import text_string_to_metric_families
from scripted_elasticsearch import Reply, Script

from es_rerank.models import Embedder, Reranker
from es_rerank.sidecar.record import Record
from es_rerank.sidecar.service import Observing, Service
from es_rerank.testing import WordOverlapReranker

TREE = {
    "text_similarity_reranker": {
        "retriever": {"standard": {"query": {"match": {"text": "red fox"}}}},
        "field": "text",
        "inference_text": "red fox",
        "rank_window_size": 10,
    }
}
SEARCH = {"retriever": TREE}
LENIENT = {"text_similarity_reranker": {**TREE["text_similarity_reranker"], "allow_rerank_failures": True}}
TEXTS = ("red fox", "red", "blue hen")


def hits(texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    """Return an answer of Elasticsearch with a hit for each text."""
    found = [
        {"_index": "articles", "_id": str(place), "_score": 9.0 - place, "_source": {"text": text}}
        for place, text in enumerate(texts)
    ]
    total = {"value": len(found), "relation": "eq"}
    return {
        "took": 1,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": total, "max_score": 9.0, "hits": found},
    }


def answering(asked: str, body: Any) -> Reply:
    """Answer as a small index would: every search finds all its documents."""
    if asked == "GET /":
        return Reply(body={"version": {"number": "9.5.0"}, "tagline": "You Know, for Search"})
    if asked == "GET /_es_rerank":
        return Reply(status=400, body={"error": "no handler found", "status": 400})
    if asked == "GET /articles":
        return Reply(body={"articles": {"mappings": {"properties": {"text": {"type": "text"}}}}})
    if asked.endswith("/_msearch"):
        return Reply(body={"took": 1, "responses": [{**hits(), "status": 200} for _ in body[1::2]]})
    found = hits()
    wanted = (body or {}).get("query", {})
    if "_source" not in wanted and "size" in (body or {}) and body["size"] == 0:
        found["hits"]["hits"] = []
    return Reply(body=found)


@asynccontextmanager
async def observed(
    observing: Observing | None = None,
    *,
    answer: Callable[[str, Any], Reply] = answering,
    reranker: Reranker | None = None,
    embedder: Embedder | None = None,
    **options: Any,
) -> AsyncIterator[tuple[httpx.AsyncClient, Script]]:
    """Yield a caller of an application that is ready, and what its Elasticsearch was asked."""
    model = reranker or WordOverlapReranker()
    script = Script(answer)
    service = Service(
        script.async_client()._client,  # noqa: SLF001 the plain client
        lambda: ({model.name: model}, embedder),
        plugin="never",
        observing=observing or Observing(),
        **options,
    )
    async with app_client(service, raise_app_exceptions=False) as caller:
        while (await caller.get("/readyz")).status_code != 200:
            pass
        yield caller, script


class KeptRecords:
    """A sink of ``Observed`` that keeps the records of requests."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)


async def samples(caller: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the value of each sample of /metrics by its name and labels."""
    return read_samples((await caller.get("/metrics")).text)


def read_samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the value of each sample in Prometheus' text format by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
