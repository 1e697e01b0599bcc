"""LiteLLM: reranking by each of its providers whose address can be changed, and embeddings."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks for prices on the internet

from collections.abc import Callable
from typing import Any

import litellm
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

litellm.suppress_debug_info = True
litellm.telemetry = False

RERANKERS = (
    "cohere",
    "infinity",
    "huggingface",
    "hosted_vllm",
    "jina_ai",
    "voyage",
    "together_ai",
    "azure_ai",
    "litellm_proxy",
    "scaleway",
    "nvidia_nim",
)
BELOW = {"infinity": "/infinity", "together_ai": "/v1"}
"""Provider to the path of the address that it is given, for reranking."""

EMBEDDERS = {
    "openai": "/v1",
    "hosted_vllm": "/v1",
    "infinity": "/v1",
    "voyage": "/v1/embeddings",
    "jina_ai": "/v1",
    "cohere": "/v2/embed",
}
"""The same for embeddings."""


def told(found: Any) -> Any:
    """Return what a user reads of an answer."""
    return {
        "id": found.id,
        "meta": found.meta,
        "results": [[row["index"], row["relevance_score"]] for row in found.results],
        "documents": [(row.get("document") or {}).get("text") for row in found.results],
    }


def asked(provider: str, *, base: str = TOLD.keyed, key: str = TOLD.key, **more: Any) -> dict[str, Any]:
    """Return the arguments of a call."""
    return {
        "model": f"{provider}/{'ranking/' if provider == 'nvidia_nim' else ''}any-reranker",
        "api_base": base + BELOW.get(provider, ""),
        "api_key": key,
        "query": TOLD.query,
        "documents": TOLD.documents,
        **more,
    }


NOTES = [{"text": text, "number": number} for number, text in enumerate(TOLD.documents)]
EVERY_OPTION = {
    "cohere": {"max_tokens_per_doc": 4096, "rank_fields": ["text"]},
    "azure_ai": {"max_chunks_per_doc": 10, "rank_fields": ["text"]},
    "hosted_vllm": {
        "rank_fields": ["text"],
        "instruction": "Find the passage that answers the question.",
        "max_tokens_per_doc": 4096,
        "max_tokens_per_query": 512,
        "truncate_prompt_tokens": -1,
        "truncation_side": "right",
    },
    "huggingface": {"truncate": False, "truncation_direction": "Right"},
}
"""What else the providers send on, beside `top_n` and `return_documents`."""


def case(name: str, call: Callable[..., Any], provider: str, **more: Any) -> Callable[[], Any]:
    """Return a case that asks one provider."""

    def run() -> Any:
        return told(call(**asked(provider, **more)))

    run.__name__ = f"{provider} {name}"
    return run


def awaited(provider: str, **more: Any) -> Callable[[], Any]:
    """Return a case that asks one provider asynchronously. Then documents have to be asked for."""

    async def run() -> Any:
        return told(await litellm.arerank(**asked(provider, **more)))

    run.__name__ = f"{provider} async"
    return run


def embedded(provider: str, path: str, name: str = "embedding", **more: Any) -> Callable[[], Any]:
    """Return a case that asks one provider for embeddings, at a path behind the address."""

    def run() -> Any:
        found = litellm.embedding(
            model=f"{provider}/any-embedder",
            api_base=TOLD.keyed + path,
            api_key=TOLD.key,
            input=TOLD.documents,
            **more,
        )
        return {"embeddings": [row["embedding"] for row in found.data], "tokens": found.usage.prompt_tokens}

    run.__name__ = f"{provider} {name}"
    return run


async def aembedding() -> Any:
    found = await litellm.aembedding(
        model="openai/any-embedder", api_base=f"{TOLD.keyed}/v1", api_key=TOLD.key, input=TOLD.documents
    )
    return {"embeddings": [row["embedding"] for row in found.data], "tokens": found.usage.prompt_tokens}


aembedding.__name__ = "openai aembedding"

answer(
    *(case("strings", litellm.rerank, provider) for provider in RERANKERS),
    *(case("top", litellm.rerank, provider, top_n=2) for provider in RERANKERS),
    *(case("indices", litellm.rerank, provider, return_documents=False) for provider in RERANKERS),
    *(case("objects", litellm.rerank, each, documents=NOTES) for each in RERANKERS),
    *(case("every option", litellm.rerank, each, **more) for each, more in EVERY_OPTION.items()),
    *(case("open", litellm.rerank, provider, base=TOLD.open, key="any") for provider in RERANKERS),
    *(case("wrong key", litellm.rerank, provider, key=WRONG_KEY) for provider in RERANKERS),
    *(case("no query", litellm.rerank, provider, query="") for provider in RERANKERS),
    *(case("too many", litellm.rerank, provider, documents=TOO_MANY) for provider in RERANKERS),
    *(awaited(provider, return_documents=True) for provider in RERANKERS),
    *(embedded(provider, path) for provider, path in EMBEDDERS.items()),
    embedded("infinity", BELOW["infinity"], "embedding where it reranks"),
    aembedding,
)
