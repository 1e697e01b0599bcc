"""Voyage's own package: reranking and embeddings, each with its asynchronous twin."""

from typing import Any

import voyageai
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

MODEL = "rerank-2.5"
EMBEDDER = "voyage-3.5"
AT = f"{TOLD.keyed}/v1"

free = voyageai.Client("any", base_url=f"{TOLD.open}/v1")
keyed = voyageai.Client(TOLD.key, base_url=AT)
wrong = voyageai.Client(WRONG_KEY, base_url=AT)


def told(found: Any) -> Any:
    """Return what a user reads of an answer."""
    return {
        "results": [[row.index, row.relevance_score] for row in found.results],
        "documents": [row.document for row in found.results],
        "total_tokens": found.total_tokens,
    }


def vectors(found: Any) -> Any:
    """Return what a user reads of embeddings."""
    return {"embeddings": found.embeddings, "total_tokens": found.total_tokens}


def rerank() -> Any:
    return told(free.rerank(TOLD.query, TOLD.documents, model=MODEL))


def rerank_top() -> Any:
    return told(free.rerank(TOLD.query, TOLD.documents, model=MODEL, top_k=2, truncation=False))


def rerank_at_an_address_with_a_slash() -> Any:
    client = voyageai.Client("any", base_url=f"{TOLD.open}/v1/")
    return told(client.rerank(TOLD.query, TOLD.documents, model=MODEL))


def rerank_with_key() -> Any:
    return told(keyed.rerank(TOLD.query, TOLD.documents, model=MODEL))


def rerank_wrong_key() -> Any:
    return told(wrong.rerank(TOLD.query, TOLD.documents, model=MODEL))


def rerank_no_query() -> Any:
    return told(free.rerank("", TOLD.documents, model=MODEL))


def rerank_no_documents() -> Any:
    return told(free.rerank(TOLD.query, [], model=MODEL))


def rerank_too_many() -> Any:
    return told(keyed.rerank(TOLD.query, TOO_MANY, model=MODEL))


def rerank_whole() -> Any:
    return told(free.rerank(TOLD.query, ["capital " * 3000], model=MODEL, truncation=False))


async def rerank_async() -> Any:
    client = voyageai.AsyncClient(TOLD.key, base_url=AT)
    return told(await client.rerank(TOLD.query, TOLD.documents, model=MODEL, top_k=3))


async def rerank_async_wrong_key() -> Any:
    client = voyageai.AsyncClient(WRONG_KEY, base_url=AT)
    return told(await client.rerank(TOLD.query, TOLD.documents, model=MODEL))


def embed_documents() -> Any:
    return vectors(free.embed(TOLD.documents, model=EMBEDDER, input_type="document"))


def embed_query() -> Any:
    return vectors(free.embed([TOLD.query], model=EMBEDDER, input_type="query"))


async def embed_async() -> Any:
    client = voyageai.AsyncClient(TOLD.key, base_url=AT)
    return vectors(await client.embed(TOLD.documents, model=EMBEDDER, input_type="document"))


def embed_wrong_key() -> Any:
    return vectors(wrong.embed(TOLD.documents, model=EMBEDDER))


answer(
    rerank,
    rerank_top,
    rerank_at_an_address_with_a_slash,
    rerank_with_key,
    rerank_wrong_key,
    rerank_no_query,
    rerank_no_documents,
    rerank_too_many,
    rerank_whole,
    rerank_async,
    rerank_async_wrong_key,
    embed_documents,
    embed_query,
    embed_async,
    embed_wrong_key,
)
