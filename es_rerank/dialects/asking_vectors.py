"""How each embedding service is asked for vectors, and how its answers are read: one table.

A passage that is longer than the model reads is to be refused and not cut: where a service has a key for
that, it is sent. A query may be cut. Keys that a service may not know are left out, because some services
refuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .asking import below
from .vectors import Purpose


class AskVectors(NamedTuple):
    """A request for vectors: the texts, what they are for, the model, and how many dimensions are wanted."""

    texts: Sequence[str]
    purpose: Purpose = "passage"
    model: str | None = None
    dims: int | None = None


VectorRow = tuple[object, object]
"""The index of a text and its vector, as a service sent them: neither is checked yet."""


class HeardVectors(NamedTuple):
    """An answer: its rows, and the name of the model that it says made them, None if it names none."""

    rows: list[VectorRow]
    model: str | None = None


Write = Callable[[AskVectors], dict[str, Any]]
Read = Callable[[object, int], HeardVectors | None]
"""Returns what an answer to a request with so many texts holds; None for an answer in another format."""


class VectorService(NamedTuple):
    """How services of one kind are asked.

    ``path``: where, unless the address names another path. ``most``: most texts in one request.
    ``needs_model``, ``names_model``: whether each request has to name a model, and whether the body has a key
    for it. ``purposes``: whether the service is told what a text is for. ``refuses``: whether it is known to
    refuse a text that is too long. ``authorization``: the scheme of an API key.
    """

    name: str
    path: str
    write: Write
    read: Read
    most: int = 250
    needs_model: bool = False
    names_model: bool = True
    purposes: bool = False
    refuses: bool = True
    authorization: str = "Bearer"


# --- requests -----------------------------------------------------------------------------------------------


def _given(**keys: object) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _openai(asked: AskVectors) -> dict[str, Any]:
    return _given(model=asked.model, input=asked.texts, dimensions=asked.dims)


def _es_rerank(asked: AskVectors) -> dict[str, Any]:
    # Base64 holds each float32 as it is, in a quarter of the bytes.
    return _given(
        input=asked.texts,
        input_type=asked.purpose,
        truncate=asked.purpose == "query",
        dimensions=asked.dims,
        encoding_format="base64",
    )


def _tei(asked: AskVectors) -> dict[str, Any]:
    return _given(
        inputs=asked.texts, truncate=asked.purpose == "query", normalize=True, dimensions=asked.dims
    )


def _ollama(asked: AskVectors) -> dict[str, Any]:
    return _given(
        model=asked.model, input=asked.texts, truncate=asked.purpose == "query", dimensions=asked.dims
    )


def _cohere(asked: AskVectors) -> dict[str, Any]:
    return _given(
        model=asked.model,
        texts=asked.texts,
        input_type="search_query" if asked.purpose == "query" else "search_document",
        embedding_types=["float"],
        truncate="END" if asked.purpose == "query" else "NONE",
        output_dimension=asked.dims,
    )


def _voyage(asked: AskVectors) -> dict[str, Any]:
    return _given(
        model=asked.model,
        input=asked.texts,
        input_type="query" if asked.purpose == "query" else "document",
        truncation=asked.purpose == "query",
        output_dimension=asked.dims,
    )


def _jina(asked: AskVectors) -> dict[str, Any]:
    return _given(
        model=asked.model,
        input=asked.texts,
        task=f"retrieval.{asked.purpose}",
        truncate=asked.purpose == "query",
        dimensions=asked.dims,
    )


def _nvidia(asked: AskVectors) -> dict[str, Any]:
    return _given(
        model=asked.model,
        input=asked.texts,
        input_type=asked.purpose,
        truncate="END" if asked.purpose == "query" else "NONE",
        dimensions=asked.dims,
    )


def _inference(asked: AskVectors) -> dict[str, Any]:
    return {"input": asked.texts, "input_type": "search" if asked.purpose == "query" else "ingest"}


# --- answers ------------------------------------------------------------------------------------------------


def _in_order(vectors: object, count: int, model: object = None) -> HeardVectors | None:
    """Return the rows of a list of vectors; of too many, only so many that the check finds it."""
    if not isinstance(vectors, list):
        return None
    rows: list[VectorRow] = list(enumerate(vectors[: count + 1]))
    return HeardVectors(rows, model if isinstance(model, str) else None)


def _bare(answer: object, count: int) -> HeardVectors | None:
    is_nested = isinstance(answer, list) and all(isinstance(row, list) for row in answer)
    return _in_order(answer, count) if is_nested else None


def _data(answer: object, count: int) -> HeardVectors | None:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(data, list):
        return None
    found = [row if isinstance(row, Mapping) else {} for row in data[: count + 1]]
    if found and not any("embedding" in row for row in found):
        return None
    # Some servers leave the index out; then the order of the rows is that of the texts.
    indexed = any("index" in row for row in found)
    rows = [(row.get("index") if indexed else place, row.get("embedding")) for place, row in enumerate(found)]
    model = answer.get("model")
    return HeardVectors(rows, model if isinstance(model, str) and model else None)


def _embeddings(answer: object, count: int) -> HeardVectors | None:
    """Read Ollama's answer, and both of Cohere's: vectors in a list, or in lists by type."""
    if not isinstance(answer, Mapping):
        return None
    vectors = answer.get("embeddings")
    if isinstance(vectors, Mapping):
        vectors = vectors.get("float") or vectors.get("float_")
    return _in_order(vectors, count, answer.get("model"))


def _text_embedding(answer: object, count: int) -> HeardVectors | None:
    rows = answer.get("text_embedding") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list):
        return None
    return _in_order([row.get("embedding") if isinstance(row, Mapping) else row for row in rows], count)


VECTOR_SERVICES = (
    # a sidecar of ours; GET /info tells it
    VectorService("es-rerank", "/v1/embeddings", _es_rerank, _data, 32, names_model=False, purposes=True),
    # huggingface/text-embeddings-inference, router/src/http; GET /info tells it
    VectorService("tei", "/embed", _tei, _bare, 32, names_model=False),
    # https://platform.openai.com/docs/api-reference/embeddings, and vLLM, llama.cpp, LocalAI, infinity and
    # others, some of which cut a longer text without saying so
    VectorService("openai", "/v1/embeddings", _openai, _data, refuses=False),
    # https://github.com/ollama/ollama/blob/main/docs/api.md: its /v1/embeddings cuts without saying so
    VectorService("ollama", "/api/embed", _ollama, _embeddings, needs_model=True),
    # https://docs.cohere.com/reference/embed
    VectorService("cohere", "/v2/embed", _cohere, _embeddings, 96, needs_model=True, purposes=True),
    # https://docs.voyageai.com/reference/embeddings-api
    VectorService("voyage", "/v1/embeddings", _voyage, _data, needs_model=True, purposes=True),
    # https://api.jina.ai/redoc
    VectorService("jina", "/v1/embeddings", _jina, _data, needs_model=True, purposes=True),
    # https://docs.nvidia.com/nim/nemo-retriever/text-embedding
    VectorService("nvidia", "/v1/embeddings", _nvidia, _data, 96, needs_model=True, purposes=True),
    # Elasticsearch's own inference API; the path names the endpoint, which decides how a text is cut
    VectorService(
        "elasticsearch",
        "/_inference/text_embedding",
        _inference,
        _text_embedding,
        names_model=False,
        purposes=True,
        refuses=False,
        authorization="ApiKey",
    ),
)
"""Every kind of service that can be asked for vectors."""

VECTORS_BY_NAME = {service.name: service for service in VECTOR_SERVICES}
"""The same, by name."""

VECTOR_EXAMPLE = ("Paris", "bread")
"""Two short texts that a service is asked for the vectors of, before the first texts of a caller."""

_LAST = ("embeddings", "embed")


def names_vectors(path: str) -> bool:
    """Whether the path of an address says itself where vectors are asked for."""
    return path.rpartition("/")[2] in _LAST or "/_inference/text_embedding/" in path


def vector_trials(path: str, *, named: bool) -> list[tuple[VectorService, str]]:
    """Return the requests by which a service at an address is found, each a service and its path, in order.

    ``path`` is the path of the address, without a slash at its end. A path that names what is asked there is
    kept. ``named``: whether the caller names a model, without which some services cannot be asked.
    """
    one = VECTORS_BY_NAME
    if "/_inference/text_embedding/" in path:
        return [(one["elasticsearch"], path)]
    if names_vectors(path):
        names = ("openai",) if path.endswith("/embeddings") else ("tei", "ollama", "cohere")
        found = [(one[name], path) for name in names]
    else:
        places = (
            ("tei", "/embed"),
            ("ollama", "/api/embed"),
            ("openai", "/v1/embeddings"),
            ("openai", "/embeddings"),
            ("cohere", "/v2/embed"),
        )
        found = [(one[name], below(path, place)) for name, place in places]
        found = [each for place, each in enumerate(found) if each not in found[:place]]
    return [each for each in found if named or not each[0].needs_model]


def told_at(path: str) -> str:
    """Return the path where a sidecar or TEI tells about itself, below the address of a service."""
    prefix = path.rpartition("/")[0] if path.rpartition("/")[2] in _LAST else path
    for version in ("/v1", "/v2"):
        prefix = prefix.removesuffix(version)
    return f"{prefix}/info"
