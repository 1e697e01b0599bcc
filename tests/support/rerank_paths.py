"""A sidecar in this process that is asked for scores on every rerank path, and what its answers hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from app_client import app_client
from elasticsearch import AsyncElasticsearch

from es_rerank.models.load import local_reranker
from es_rerank.sidecar.service import Service

QUERY = "who signed the treaty"
TEXTS = ["it rained", "the king signed", "who signed the treaty of paris", "it rained", ""]
OBJECT = ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking")
"""Paths whose answer is one object for many clients."""


@asynccontextmanager
async def sidecar(models: dict[str, Any], **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar. ``models``: rerankers or their folders by name, the default first."""

    def load() -> tuple[dict[str, Any], None]:
        return {
            name: local_reranker(model) if isinstance(model, Path) else model
            for name, model in models.items()
        }, None

    service = Service(AsyncElasticsearch("http://127.0.0.1:9"), load, **options)
    async with app_client(service, raise_app_exceptions=False) as client:
        yield client


def body_for(path: str, texts: list[Any], **options: Any) -> dict[str, Any]:
    """Return a request for the scores of ``texts``, in the format of a path."""
    if "score" in path:
        return {"text_1": QUERY, "text_2": texts, **options}
    if path == "/v1/ranking":
        return {"query": {"text": QUERY}, "passages": [{"text": text} for text in texts], **options}
    return {"query": QUERY, "texts" if path == "/rerank" else "documents": texts, **options}


def scores_in(answer: Any, count: int) -> dict[int, float]:
    """Return the scores of an answer in any format, by position."""
    if isinstance(answer, list):
        return {row["index"]: row["score"] for row in answer}
    if "results" in answer and "data" in answer:
        assert [(row["index"], row["relevance_score"]) for row in answer["data"]] == [
            (row["index"], row["relevance_score"]) for row in answer["results"]
        ]
    if "results" in answer:
        return {row["index"]: row["relevance_score"] for row in answer["results"]}
    if "rankings" in answer:
        return {row["index"]: row["logit"] for row in answer["rankings"]}
    if "scores" in answer:
        assert len(answer["scores"]) == count
        return {place: row["score"] for place, row in enumerate(answer["scores"])}
    assert [row["index"] for row in answer["data"]] == list(range(count))
    return {row["index"]: row["score"] for row in answer["data"]}
