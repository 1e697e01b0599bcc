"""One gateway in this process, and a search that it runs beside one that Elasticsearch runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
from app_client import app_client
from corpus import EMBEDDER, fill
from elasticsearch import AsyncElasticsearch, Elasticsearch
from retriever_bodies import MATCH, rescorer, rrf, standard

from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

JSON = {"content-type": "application/json"}
HERE = {"retriever": rrf(standard(query=MATCH), standard(query={"match_all": {}}))}
"""A search that es-rerank runs."""

THERE = {"retriever": rescorer()}
"""A search that Elasticsearch runs on any licence, by a compound retriever too."""


@asynccontextmanager
async def gateway(
    url: str, *, pass_through: bool = False, elasticsearch: AsyncElasticsearch | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a caller of a gateway to the Elasticsearch at ``url``, by ``elasticsearch`` if given."""
    reranker = WordOverlapReranker()
    service = Service(
        elasticsearch or AsyncElasticsearch(url),
        lambda: ({reranker.name: reranker}, EMBEDDER),
        pass_through=pass_through,
    )
    async with app_client(service) as client:
        while (await client.get("/readyz")).status_code != 200:
            pass
        yield client


@contextmanager
def filled_index(es: Elasticsearch, name: str) -> Iterator[str]:
    """Yield the name of an index with the articles."""
    es.options(ignore_status=404).indices.delete(index=name)
    fill(es, name)
    yield name
    es.indices.delete(index=name)


def said(answer: httpx.Response) -> tuple[int, str]:
    """Return the status of an answer and the type of its error."""
    error = answer.json().get("error", {}) if answer.status_code >= 400 else {}
    return answer.status_code, error if isinstance(error, str) else error.get("type", "")
