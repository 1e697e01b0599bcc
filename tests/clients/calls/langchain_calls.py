"""LangChain's document compressors of Cohere and Voyage, and its embeddings of OpenAI and Cohere."""

from typing import Any

from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings
from langchain_voyageai import VoyageAIRerank
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

DOCUMENTS = [
    Document(text, metadata={"source": f"page {number}"}) for number, text in enumerate(TOLD.documents)
]
NOTES = [{"title": f"page {number}", "text": text} for number, text in enumerate(TOLD.documents)]


def cohere_rerank(key: str = TOLD.key, base: str = TOLD.keyed, **more: Any) -> CohereRerank:
    return CohereRerank(model="rerank-v3.5", cohere_api_key=key, base_url=base, **more)


def voyage_rerank(key: str = TOLD.key, base: str = TOLD.keyed, **more: Any) -> VoyageAIRerank:
    return VoyageAIRerank(model="rerank-2.5", voyage_api_key=key, base_url=f"{base}/v1", **more)


def told(found: Any) -> Any:
    """Return what a user reads of compressed documents."""
    return {
        "results": [
            [TOLD.documents.index(row.page_content), row.metadata["relevance_score"]] for row in found
        ],
        "sources": [row.metadata["source"] for row in found],
        "tokens": [row.metadata.get("total_tokens") for row in found],
    }


def scored(found: Any) -> Any:
    return {"results": [[row["index"], row["relevance_score"]] for row in found]}


def cohere_default_top() -> Any:
    return told(cohere_rerank().compress_documents(DOCUMENTS, TOLD.query))


def cohere_all() -> Any:
    return told(cohere_rerank(top_n=None).compress_documents(DOCUMENTS, TOLD.query))


def cohere_open() -> Any:
    return told(cohere_rerank("any", TOLD.open).compress_documents(DOCUMENTS, TOLD.query))


async def cohere_async() -> Any:
    return told(await cohere_rerank().acompress_documents(DOCUMENTS, TOLD.query))


def cohere_dicts() -> Any:
    """Dicts are sent as YAML."""
    return scored(cohere_rerank().rerank(NOTES, TOLD.query, top_n=None))


def cohere_dict_fields() -> Any:
    return scored(cohere_rerank().rerank(NOTES, TOLD.query, rank_fields=["text"], top_n=None))


def cohere_wrong_key() -> Any:
    return told(cohere_rerank(WRONG_KEY).compress_documents(DOCUMENTS, TOLD.query))


def cohere_no_query() -> Any:
    return told(cohere_rerank().compress_documents(DOCUMENTS, ""))


def cohere_too_many() -> Any:
    return scored(cohere_rerank().rerank(TOO_MANY, TOLD.query))


def voyage() -> Any:
    return told(voyage_rerank().compress_documents(DOCUMENTS, TOLD.query))


def voyage_top() -> Any:
    return told(voyage_rerank("any", TOLD.open, top_k=2).compress_documents(DOCUMENTS, TOLD.query))


async def voyage_async() -> Any:
    return told(await voyage_rerank().acompress_documents(DOCUMENTS, TOLD.query))


def voyage_wrong_key() -> Any:
    return told(voyage_rerank(WRONG_KEY).compress_documents(DOCUMENTS, TOLD.query))


def voyage_no_query() -> Any:
    return told(voyage_rerank().compress_documents(DOCUMENTS, ""))


def openai_embeddings() -> OpenAIEmbeddings:
    """It sends OpenAI's token numbers in place of texts unless `check_embedding_ctx_length` is false."""
    return OpenAIEmbeddings(
        model="any", base_url=f"{TOLD.keyed}/v1", api_key=TOLD.key, check_embedding_ctx_length=False
    )


def openai_documents() -> Any:
    return openai_embeddings().embed_documents(TOLD.documents)


async def openai_async() -> Any:
    return await openai_embeddings().aembed_documents(TOLD.documents)


def openai_query() -> Any:
    return [openai_embeddings().embed_query(TOLD.query)]


def cohere_embeddings() -> CohereEmbeddings:
    return CohereEmbeddings(model="embed-v4.0", cohere_api_key=TOLD.key, base_url=TOLD.keyed)


def cohere_documents() -> Any:
    return cohere_embeddings().embed_documents(TOLD.documents)


async def cohere_documents_async() -> Any:
    return await cohere_embeddings().aembed_documents(TOLD.documents)


def cohere_query() -> Any:
    return [cohere_embeddings().embed_query(TOLD.query)]


answer(
    cohere_default_top,
    cohere_all,
    cohere_open,
    cohere_async,
    cohere_dicts,
    cohere_dict_fields,
    cohere_wrong_key,
    cohere_no_query,
    cohere_too_many,
    voyage,
    voyage_top,
    voyage_async,
    voyage_wrong_key,
    voyage_no_query,
    openai_documents,
    openai_async,
    openai_query,
    cohere_documents,
    cohere_documents_async,
    cohere_query,
)
