"""Haystack's rankers of Cohere, Jina and Hugging Face's text-embeddings-inference (TEI), and its embedders of
OpenAI, Cohere and TEI.
"""

from typing import Any

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder, CohereTextEmbedder
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.huggingface_api.ranker import TruncationDirection
from haystack_integrations.components.rankers.jina import JinaRanker
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

DOCUMENTS = [
    Document(id=str(number), content=text, meta={"page": number})
    for number, text in enumerate(TOLD.documents)
]
MANY = [Document(content=text) for text in TOO_MANY]


def told(found: Any) -> Any:
    """Return what a user reads of ranked documents."""
    return {
        "results": [[int(row.id), row.score] for row in found["documents"]],
        "pages": [row.meta["page"] for row in found["documents"]],
    }


def cohere_ranker(key: str = TOLD.key, base: str = TOLD.keyed, **more: Any) -> CohereRanker:
    return CohereRanker(api_key=Secret.from_token(key), api_base_url=base, **more)


def tei_ranker(key: str | None = TOLD.key, base: str = TOLD.keyed, **more: Any) -> HuggingFaceTEIRanker:
    token = Secret.from_token(key) if key else None
    return HuggingFaceTEIRanker(url=base, token=token, max_retries=1, **more)


def cohere() -> Any:
    return told(cohere_ranker().run(query=TOLD.query, documents=DOCUMENTS))


def cohere_top() -> Any:
    return told(cohere_ranker("any", TOLD.open, top_k=2).run(query=TOLD.query, documents=DOCUMENTS))


def cohere_meta() -> Any:
    """Fields of the metadata stand before the text."""
    found = cohere_ranker(meta_fields_to_embed=["page"]).run(query=TOLD.query, documents=DOCUMENTS)
    return told(found)


async def cohere_async() -> Any:
    return told(await cohere_ranker().run_async(query=TOLD.query, documents=DOCUMENTS))


def cohere_wrong_key() -> Any:
    return told(cohere_ranker(WRONG_KEY).run(query=TOLD.query, documents=DOCUMENTS))


def cohere_no_query() -> Any:
    return told(cohere_ranker().run(query="", documents=DOCUMENTS))


def cohere_too_many() -> Any:
    return told(cohere_ranker().run(query=TOLD.query, documents=MANY))


def tei() -> Any:
    return told(tei_ranker().run(query=TOLD.query, documents=DOCUMENTS))


def tei_top() -> Any:
    return told(tei_ranker(None, TOLD.open).run(query=TOLD.query, documents=DOCUMENTS, top_k=2))


def tei_raw() -> Any:
    return told(tei_ranker(raw_scores=True).run(query=TOLD.query, documents=DOCUMENTS))


def tei_cut() -> Any:
    found = tei_ranker().run(
        query=TOLD.query, documents=DOCUMENTS, truncation_direction=TruncationDirection.RIGHT
    )
    return told(found)


def tei_cut_left() -> Any:
    found = tei_ranker().run(
        query=TOLD.query, documents=DOCUMENTS, truncation_direction=TruncationDirection.LEFT
    )
    return told(found)


async def tei_async() -> Any:
    return told(await tei_ranker().run_async(query=TOLD.query, documents=DOCUMENTS))


def tei_wrong_key() -> Any:
    return told(tei_ranker(WRONG_KEY).run(query=TOLD.query, documents=DOCUMENTS))


def tei_no_query() -> Any:
    return told(tei_ranker().run(query="", documents=DOCUMENTS))


def tei_too_many() -> Any:
    return told(tei_ranker().run(query=TOLD.query, documents=MANY))


def jina_ranker(key: str = TOLD.key, **more: Any) -> JinaRanker:
    return JinaRanker(api_key=Secret.from_token(key), base_url=f"{TOLD.keyed}/v1/rerank", **more)


def jina() -> Any:
    found = jina_ranker().run(query=TOLD.query, documents=DOCUMENTS)
    return {**told(found), "meta": found["meta"]}


def jina_above() -> Any:
    return told(jina_ranker(score_threshold=0.2).run(query=TOLD.query, documents=DOCUMENTS))


def jina_empty_document() -> Any:
    found = jina_ranker().run(
        query=TOLD.query, documents=[*DOCUMENTS, Document(id="5", content="", meta={"page": 5})]
    )
    return told(found)


async def jina_async() -> Any:
    return told(await jina_ranker(top_k=2).run_async(query=TOLD.query, documents=DOCUMENTS))


def jina_wrong_key() -> Any:
    return told(jina_ranker(WRONG_KEY).run(query=TOLD.query, documents=DOCUMENTS))


def jina_no_query() -> Any:
    return told(jina_ranker().run(query="", documents=DOCUMENTS))


def of_documents(found: Any) -> Any:
    return [row.embedding for row in found["documents"]]


def openai_documents() -> Any:
    embedder = OpenAIDocumentEmbedder(api_key=Secret.from_token(TOLD.key), api_base_url=f"{TOLD.keyed}/v1")
    return of_documents(embedder.run(DOCUMENTS))


def openai_query() -> Any:
    embedder = OpenAITextEmbedder(api_key=Secret.from_token(TOLD.key), api_base_url=f"{TOLD.keyed}/v1")
    return [embedder.run(TOLD.query)["embedding"]]


TEI = {
    "api_type": "text_embeddings_inference",
    "api_params": {"url": TOLD.keyed},
    "token": Secret.from_token(TOLD.key),
}


def tei_documents() -> Any:
    return of_documents(HuggingFaceAPIDocumentEmbedder(**TEI).run(DOCUMENTS))


def tei_query() -> Any:
    return [HuggingFaceAPITextEmbedder(**TEI).run(TOLD.query)["embedding"]]


COHERE = {"api_key": Secret.from_token(TOLD.key), "api_base_url": TOLD.keyed}


def cohere_documents() -> Any:
    return of_documents(CohereDocumentEmbedder(**COHERE).run(DOCUMENTS))


async def cohere_documents_async() -> Any:
    return of_documents(await CohereDocumentEmbedder(**COHERE).run_async(DOCUMENTS))


def cohere_query() -> Any:
    return [CohereTextEmbedder(**COHERE).run(TOLD.query)["embedding"]]


answer(
    cohere,
    cohere_top,
    cohere_meta,
    cohere_async,
    cohere_wrong_key,
    cohere_no_query,
    cohere_too_many,
    tei,
    tei_top,
    tei_raw,
    tei_cut,
    tei_cut_left,
    tei_async,
    tei_wrong_key,
    tei_no_query,
    tei_too_many,
    jina,
    jina_above,
    jina_empty_document,
    jina_async,
    jina_wrong_key,
    jina_no_query,
    openai_documents,
    openai_query,
    tei_documents,
    tei_query,
    cohere_documents,
    cohere_documents_async,
    cohere_query,
)
