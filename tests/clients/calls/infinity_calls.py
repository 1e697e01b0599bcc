"""The client of infinity's server: reranking and embeddings, each with its asynchronous twin."""

from typing import Any

from infinity_client import AuthenticatedClient, Client
from infinity_client.api.default import embeddings, rerank
from infinity_client.models import OpenAIEmbeddingInputText, RerankInput
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer


def at(base: str, key: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=base, token=key, raise_on_unexpected_status=True)


keyed = at(f"{TOLD.keyed}/infinity", TOLD.key)


def body(**more: Any) -> RerankInput:
    return RerankInput(**{"query": TOLD.query, "documents": TOLD.documents, **more})


def told(found: Any) -> Any:
    """Return what a user reads of an answer. A document that was not asked for is no string."""
    return {
        "results": [[row.index, row.relevance_score] for row in found.results],
        "documents": [row.document if isinstance(row.document, str) else None for row in found.results],
        "id": found.id,
        "object": found.object_.value,
        "usage": [found.usage.prompt_tokens, found.usage.total_tokens],
    }


def vectors(found: Any) -> Any:
    return {"embeddings": [row.embedding for row in found.data], "object": found.object_.value}


def plain() -> Any:
    return told(rerank.sync(client=keyed, body=body()))


def top_with_documents() -> Any:
    return told(rerank.sync(client=keyed, body=body(top_n=2, return_documents=True, model="any")))


def logits() -> Any:
    return told(rerank.sync(client=keyed, body=body(raw_scores=True)))


def without_key() -> Any:
    client = Client(base_url=f"{TOLD.open}/infinity", raise_on_unexpected_status=True)
    return told(rerank.sync(client=client, body=body()))


async def asynchronous() -> Any:
    return told(await rerank.asyncio(client=keyed, body=body(return_documents=True)))


def wrong_key() -> Any:
    return told(rerank.sync(client=at(f"{TOLD.keyed}/infinity", WRONG_KEY), body=body()))


def no_query() -> Any:
    return told(rerank.sync(client=keyed, body=body(query="")))


def too_many() -> Any:
    return told(rerank.sync(client=keyed, body=body(documents=TOO_MANY)))


def embed() -> Any:
    wanted = OpenAIEmbeddingInputText(input_=TOLD.documents, model="any")
    return vectors(embeddings.sync(client=keyed, body=wanted))


answer(
    plain,
    top_with_documents,
    logits,
    without_key,
    asynchronous,
    wrong_key,
    no_query,
    too_many,
    embed,
)
