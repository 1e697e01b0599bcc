"""Cohere's own package: `Client` (version 1 of its API) and `ClientV2`, each with its asynchronous twin."""

from typing import Any

import cohere
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

MODEL = "rerank-v3.5"
NOTES = [{"text": text, "number": number} for number, text in enumerate(TOLD.documents)]
CITIES = [{"title": text[:12], "body": text} for text in TOLD.documents]

v1 = cohere.Client("any", base_url=TOLD.open)
v2 = cohere.ClientV2("any", base_url=TOLD.open)
v1_keyed = cohere.Client(TOLD.key, base_url=TOLD.keyed)
v2_keyed = cohere.ClientV2(TOLD.key, base_url=TOLD.keyed)
v1_wrong = cohere.Client(WRONG_KEY, base_url=TOLD.keyed)
v2_wrong = cohere.ClientV2(WRONG_KEY, base_url=TOLD.keyed)


def told(found: Any) -> Any:
    """Return what a user reads of an answer. Version 2 does not know documents: they are dicts."""
    return {
        "id": found.id,
        "meta": found.meta.model_dump(exclude_none=True),
        "results": [[row.index, row.relevance_score] for row in found.results],
        "documents": [_document(getattr(row, "document", None)) for row in found.results],
    }


def _document(document: Any) -> Any:
    return document.model_dump() if hasattr(document, "model_dump") else document


def v1_strings() -> Any:
    return told(v1.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


def v1_without_model() -> Any:
    return told(v1.rerank(query=TOLD.query, documents=TOLD.documents))


def v1_objects() -> Any:
    found = v1.rerank(
        model=MODEL,
        query=TOLD.query,
        documents=NOTES,
        top_n=2,
        return_documents=True,
        max_chunks_per_doc=10,
    )
    return told(found)


def v1_rank_fields() -> Any:
    return told(v1.rerank(query=TOLD.query, documents=CITIES, rank_fields=["body"], return_documents=True))


def v1_whole_objects() -> Any:
    return told(v1.rerank(query=TOLD.query, documents=TOLD.documents, return_documents=True))


def v1_with_key() -> Any:
    return told(v1_keyed.rerank(query=TOLD.query, documents=TOLD.documents))


def v1_wrong_key() -> Any:
    return told(v1_wrong.rerank(query=TOLD.query, documents=TOLD.documents))


def v1_no_query() -> Any:
    return told(v1.rerank(query="", documents=TOLD.documents))


def v1_no_documents() -> Any:
    return told(v1.rerank(query=TOLD.query, documents=[]))


def v1_too_many() -> Any:
    return told(v1_keyed.rerank(query=TOLD.query, documents=TOO_MANY))


def v2_strings() -> Any:
    return told(v2.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


def v2_top() -> Any:
    found = v2.rerank(
        model=MODEL, query=TOLD.query, documents=TOLD.documents, top_n=2, max_tokens_per_doc=4096, priority=1
    )
    return told(found)


def v2_many() -> Any:
    found = v2.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents * 20)
    return {"count": len(found.results), "indices": sorted(row.index for row in found.results)}


def v2_empty_key() -> Any:
    with cohere.ClientV2("", base_url=TOLD.open) as client:
        return told(client.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


def v2_with_key() -> Any:
    return told(v2_keyed.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


def v2_wrong_key() -> Any:
    return told(v2_wrong.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


def v2_no_query() -> Any:
    return told(v2.rerank(model=MODEL, query="", documents=TOLD.documents))


def v2_no_documents() -> Any:
    return told(v2.rerank(model=MODEL, query=TOLD.query, documents=[]))


def v2_too_many() -> Any:
    return told(v2_keyed.rerank(model=MODEL, query=TOLD.query, documents=TOO_MANY))


async def v1_async() -> Any:
    async with cohere.AsyncClient(TOLD.key, base_url=TOLD.keyed) as client:
        return told(await client.rerank(query=TOLD.query, documents=NOTES, return_documents=True))


async def v2_async() -> Any:
    async with cohere.AsyncClientV2(TOLD.key, base_url=TOLD.keyed) as client:
        return told(await client.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents, top_n=3))


async def v2_async_wrong_key() -> Any:
    async with cohere.AsyncClientV2(WRONG_KEY, base_url=TOLD.keyed) as client:
        return told(await client.rerank(model=MODEL, query=TOLD.query, documents=TOLD.documents))


EMBEDDER = "embed-v4.0"


def vectors(found: Any) -> Any:
    """Return what a user reads of embeddings. Version 1 gives a list where no type is asked for."""
    embeddings = found.embeddings
    return {
        "embeddings": embeddings if isinstance(embeddings, list) else embeddings.float_,
        "texts": found.texts,
        "meta": found.meta.model_dump(exclude_none=True),
    }


def v1_embed() -> Any:
    return vectors(v1.embed(model=EMBEDDER, texts=TOLD.documents, input_type="search_document"))


def v1_embed_query() -> Any:
    return vectors(v1.embed(model=EMBEDDER, texts=[TOLD.query], input_type="search_query"))


def v2_embed() -> Any:
    found = v2_keyed.embed(
        model=EMBEDDER, texts=TOLD.documents, input_type="search_document", embedding_types=["float"]
    )
    return vectors(found)


async def v2_embed_async() -> Any:
    async with cohere.AsyncClientV2(TOLD.key, base_url=TOLD.keyed) as client:
        found = await client.embed(
            model=EMBEDDER, texts=[TOLD.query], input_type="search_query", embedding_types=["float"]
        )
        return vectors(found)


def v2_embed_integers() -> Any:
    found = v2.embed(
        model=EMBEDDER, texts=TOLD.documents, input_type="search_document", embedding_types=["int8"]
    )
    return vectors(found)


def v2_embed_wrong_key() -> Any:
    found = v2_wrong.embed(
        model=EMBEDDER, texts=TOLD.documents, input_type="search_document", embedding_types=["float"]
    )
    return vectors(found)


answer(
    v1_strings,
    v1_without_model,
    v1_objects,
    v1_rank_fields,
    v1_whole_objects,
    v1_with_key,
    v1_wrong_key,
    v1_no_query,
    v1_no_documents,
    v1_too_many,
    v1_async,
    v2_strings,
    v2_top,
    v2_many,
    v2_empty_key,
    v2_with_key,
    v2_wrong_key,
    v2_no_query,
    v2_no_documents,
    v2_too_many,
    v2_async,
    v2_async_wrong_key,
    v1_embed,
    v1_embed_query,
    v2_embed,
    v2_embed_async,
    v2_embed_integers,
    v2_embed_wrong_key,
)
