"""Requests that other tools send to a reranker, written anew from their sources, and what they read of the
answer.

The tools are not installed: some are servers of their own. ``tests/clients/test_golden_requests.py`` names
which version of each source was read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import golden_answers as answers

QUERY = "What is the capital of the United States?"
BEST = 2
TEXTS = [
    (
        "Carson City is the capital city of the American state of Nevada. At the 2010 United States Census, "
        "Carson City had a population of 55,274."
    ),
    (
        "The Commonwealth of the Northern Mariana Islands is a group of islands in the Pacific Ocean that "
        "are a political division controlled by the United States. Its capital is Saipan."
    ),
    (
        "Washington, D.C., formally the District of Columbia, is the capital city and federal district of "
        "the United States. It is located on the east bank of the Potomac River."
    ),
]
"""What Dify asks when its user adds a model."""

Body = Callable[[str, list[str]], dict[str, Any]]
"""Returns the body of a request from the query and the texts."""

Read = Callable[[Any, list[str]], dict[int, float]]
"""Returns the score of each text, by its position, as the tool makes it of the answer's JSON value. Raises
an exception where the tool would fail.
"""

_JSON = {"Content-Type": "application/json"}


def _bearer(key: str) -> str:
    return f"Bearer {key}"


def _bearer_if_set(key: str) -> str | None:
    return f"Bearer {key}" if key else None


def _never(key: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Golden:
    """The request of one tool.

    ``authorization``: the header's value for a key that the tool's user has set, "" for none; None where the
    tool sends no such header. ``most``: how many texts the tool sends at once. ``refusal``: what the tool
    tells its user of an error, from the JSON value of the answer. ``logits``: whether the tool wants logits.
    """

    path: str
    body: Body
    read: Read
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    authorization: Callable[[str], str | None] = _bearer
    most: int | None = None
    refusal: Callable[[Any], str] = json.dumps
    logits: bool = False

    def sent(self, query: str, texts: list[str], key: str) -> dict[str, Any]:
        """Return a request as the arguments of a client of httpx."""
        value = self.authorization(key)
        # As bytes: httpx would not send the blank behind a scheme without a key.
        given = {} if value is None else {"Authorization": value}
        headers = [(name.encode(), text.encode()) for name, text in {**self.headers, **given}.items()]
        content = json.dumps(self.body(query, texts)).encode()
        return {"url": self.path, "content": content, "headers": headers}


# --- how requests are written -------------------------------------------------------------------------------


def _documents(model: str | None = None, **more: Any) -> Body:
    """Return what writes the common request: query, documents, and keys of the tool's own."""

    def body(query: str, texts: list[str]) -> dict[str, Any]:
        named = {} if model is None else {"model": model}
        told = {key: value(texts) if callable(value) else value for key, value in more.items()}
        return {**named, "query": query, "documents": texts, **told}

    return body


def _texts(**more: Any) -> Body:
    return lambda query, texts: {"query": query, "texts": texts, **more}


def _passages(model: str, **more: Any) -> Body:
    def body(query: str, texts: list[str]) -> dict[str, Any]:
        told = {key: value(texts) if callable(value) else value for key, value in more.items()}
        passages = [{"text": text} for text in texts]
        return {"model": model, "query": {"text": query}, "passages": passages, **told}

    return body


# --- the tools ----------------------------------------------------------------------------------------------

OPEN_WEBUI = Golden(
    "/v1/rerank",
    _documents("reranker", top_n=len),
    answers.by_position,
    headers={
        **_JSON,
        "X-OpenWebUI-User-Name": "J%C3%BCrgen%20M%C3%BCller",
        "X-OpenWebUI-User-Id": "0f0c",
        "X-OpenWebUI-User-Email": "juergen@example.org",
        "X-OpenWebUI-User-Role": "user",
    },
)

DIFY = Golden(
    "/v1/rerank",
    _documents("bge-reranker-v2-m3", top_n=len, return_documents=True, score_threshold=0.8),
    answers.dify,
    authorization=lambda key: f"Bearer {key}" if key else "",
)
"""Its check of a model sends this too, and takes every answer that can be read."""

DIFY_SDK = Golden(
    "/rerank",
    _documents("bge-reranker-v2-m3", top_n=None, return_documents=True),
    answers.dify_sdk,
    authorization=lambda key: f"Bearer {key or None}",
)

RAGFLOW_OPENAI = Golden("/rerank", _documents("bge-reranker-v2-m3", top_n=len), answers.ragflow)
"""The class of LocalAI sends the same. Both scale the scores of one answer to 0..1; in some releases the
first one leaves zeros instead, whatever it is sent.
"""

RAGFLOW_COHERE = Golden(
    "/v1/rerank",
    _documents("bge-reranker-v2-m3", top_n=len, return_documents=False),
    answers.cohere_client,
    headers={**_JSON, "User-Agent": "cohere/5.15.0", "X-Fern-Language": "Python"},
)
"""The class of vLLM and Cohere, which runs Cohere's client for the API of version 1."""

RAGFLOW_XINFERENCE = Golden(
    "/v1/rerank",
    _documents("bge-reranker-v2-m3", return_documents="true", return_len="true"),
    answers.by_index,
    headers={**_JSON, "accept": "application/json"},
    authorization=_bearer_if_set,
)

RAGFLOW_NVIDIA = Golden(
    "/v1/reranking",
    _passages("nv-rerank-qa-mistral-4b:1", truncate="END", top_n=len),
    answers.rankings,
    headers={**_JSON, "accept": "application/json"},
    logits=True,
)

RAGFLOW_SILICONFLOW = Golden(
    "/v1/rerank",
    _documents(
        "bge-reranker-v2-m3",
        top_n=len,
        return_documents=False,
        max_chunks_per_doc=1024,
        overlap_tokens=80,
    ),
    answers.with_tokens,
)

RAGFLOW_GPUSTACK = Golden("/v1/rerank", _documents("bge-reranker-v2-m3", top_n=len), answers.by_index)

RAGFLOW_HUGGING_FACE = Golden(
    "/rerank", _texts(raw_scores=False, truncate=True), answers.tei, authorization=_never, most=8
)

LIBRECHAT = Golden(
    "/v1/rerank",
    _documents("jina-reranker-v2-base-multilingual", top_n=len, return_documents=True),
    answers.librechat,
)

LIGHTRAG_JINA = Golden(
    "/v1/rerank",
    _documents("jina-reranker-v2-base-multilingual", return_documents=False),
    answers.by_index,
    authorization=_bearer_if_set,
)

LIGHTRAG_COHERE = Golden(
    "/v2/rerank", _documents("rerank-v3.5", top_n=len), answers.by_index, authorization=_bearer_if_set
)

WEAVIATE = Golden(
    "/weaviate/rerank",
    _documents(property=""),
    answers.weaviate,
    headers={"User-Agent": "Go-http-client/1.1"},  # and no media type
    authorization=_never,
    most=32,
    refusal=lambda answer: str(answer["error"] if isinstance(answer["error"], str) else ""),
)

LOCALAI = Golden(
    "/v1/rerank", _documents("jina-reranker-v1-base-en", top_n=len, backend="rerankers"), answers.with_usage
)
"""What its own clients send to it, and the answer that they know."""

KOTAEMON = Golden("/rerank", _texts(is_truncated=True), answers.tei, authorization=_never, most=6)

XINFERENCE = Golden(
    "/v1/rerank",
    _documents(
        "bge-reranker-v2-m3",
        top_n=None,
        max_chunks_per_doc=None,
        return_documents=None,
        return_len=None,
        kwargs="{}",
    ),
    answers.by_index,
    authorization=_bearer_if_set,
    refusal=lambda answer: str(answer["detail"]),
)

FASTGPT = Golden("/v1/rerank", _documents("bge-reranker-v2-m3"), answers.fastgpt)

MILVUS_VLLM = Golden("/rerank", _documents(), answers.by_index, authorization=_bearer_if_set)

CONTINUE = Golden(
    "/rerank",
    _texts(return_text=False, raw_scores=False, truncation_direction="Right", truncate=True),
    answers.tei,
    authorization=_bearer_if_set,
)

OPENSEARCH = Golden("/v1/rerank", _documents("rerank-english-v2.0", top_n=len), answers.by_position)
"""A connector of ml-commons with its functions for Cohere, as its tutorial creates it."""

LANGCHAIN_NVIDIA = Golden(
    "/v1/ranking",
    _passages("nvidia/llama-3.2-nv-rerankqa-1b-v2"),
    answers.rankings,
    headers={**_JSON, "Accept": "application/json", "User-Agent": "langchain-nvidia-ai-endpoints"},
    most=32,
    logits=True,
)


def _of_elasticsearch(
    path: str, body: Body, read: Read, told: str, *, source: bool = True, logits: bool = False
) -> Golden:
    """Return what one of its inference services sends. ``told``: where it looks for the reason of an error.
    ``source``: whether it names itself in a header.
    """
    headers = {**_JSON, **({"Request-Source": "unspecified:elasticsearch"} if source else {})}
    return Golden(path, body, read, headers=headers, refusal=lambda answer: str(answer[told]), logits=logits)


ELASTICSEARCH_COHERE = _of_elasticsearch(
    "/v2/rerank",
    _documents("rerank-v3.5", return_documents=True, top_n=len, max_chunks_per_doc=10),
    answers.elasticsearch_cohere,
    "message",
)
ELASTICSEARCH_COHERE_SHORT = _of_elasticsearch(
    "/v1/rerank", _documents("rerank-english-v3.0"), answers.elasticsearch_cohere, "message"
)
ELASTICSEARCH_HUGGING_FACE = _of_elasticsearch(
    "/rerank", _texts(return_text=True, top_n=3), answers.elasticsearch_tei, "error", source=False
)
ELASTICSEARCH_JINA = _of_elasticsearch(
    "/v1/rerank",
    _documents("jina-reranker-v3", top_n=len, return_documents=True),
    answers.by_index,
    "detail",
)
ELASTICSEARCH_VOYAGE = _of_elasticsearch(
    "/v1/rerank",
    _documents("rerank-2.5", return_documents=True, top_k=len, truncation=True),
    answers.elasticsearch_voyage,
    "detail",
)
ELASTICSEARCH_VOYAGE_SHORT = _of_elasticsearch(
    "/v1/rerank", _documents("rerank-2.5"), answers.elasticsearch_voyage, "detail"
)
"""Without the settings that may be left out, this is the request of every other service."""

ELASTICSEARCH_NVIDIA = _of_elasticsearch(
    "/v1/ranking",
    _passages("nv-rerank-qa-mistral-4b:1"),
    lambda answer, texts: answers.elasticsearch(answer["rankings"], {"logit"}, set()),
    "detail",
    source=False,
    logits=True,
)

ALL = {name: value for name, value in globals().items() if isinstance(value, Golden)}
"""Every request by its name."""
