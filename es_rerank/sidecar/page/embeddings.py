"""The paths of other embedding servers on the page: OpenAI, TEI, Cohere."""

from __future__ import annotations

from typing import Any

from .collection import QUESTION, SIGNED
from .errors import OF_DIALECTS, SOME_ID
from .headers import MODEL_KEY
from .models import SHORTENED, VECTOR, VECTOR_OF_QUESTION, VECTOR_OF_SIGNED
from .parts import (
    Example,
    Mistake,
    Operation,
    Schema,
    closed,
    either,
    listed,
    opened,
    ref,
    text,
    whole,
    with_one_of,
)
from .rerank import OF_TEI

_TAG = "embeddings"
_MODEL = "all-MiniLM-L6-v2"
_TEXTS = either(listed(text(), minItems=1), text(), description="The texts: one, or a list of them.")
_INPUTS = either(
    listed(either(text(), {"type": "object"}), minItems=1),
    text(),
    description="The texts, in the name of Cohere's second version. An object has its text in `text`, or in "
    "the parts of `content`.",
)
_PURPOSE = text(
    "Whether the texts are queries or passages. The words of all services are taken: `query`, "
    "`search_query`, "
    "`retrieval.query`, `passage`, `search_document` and so on. `input_type`, `task`, `task_type` and "
    "`prompt_name` are four names of this parameter. Without it, the texts are passages."
)
_NAME = text("The embedder. The default one answers for a name that is not served, and `Warning` says so.")
_DIMS = whole("How many numbers a vector has. It must be what the model makes, or 0.", minimum=0)
_BASE64 = text("The base64 of the numbers as float32 in little-endian order.", contentEncoding="base64")


def _of_openai(row: Any, tokens: int) -> dict[str, Any]:  # noqa: ANN401 numbers or text
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": row}],
        "model": _MODEL,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _of_cohere(version: str, kind: str, vectors: Any, said: str, tokens: int) -> dict[str, Any]:  # noqa: ANN401 lists by type or not
    return {
        "id": SOME_ID,
        "response_type": f"embeddings_{kind}",
        "embeddings": vectors,
        "texts": [said],
        "meta": {"api_version": {"version": version}, "billed_units": {"input_tokens": tokens}},
    }


SCHEMAS: dict[str, Schema] = {
    "OpenAIEmbeddingsBody": opened(
        {"input": _TEXTS},
        {
            "model": _NAME,
            "encoding_format": text("How each vector is written.", enum=["float", "base64"], default="float"),
            "dimensions": _DIMS,
            "input_type": _PURPOSE,
        },
        "A request as OpenAI, Voyage, Jina and NVIDIA take it. Parameters without an effect are named in "
        "`x-rerank-ignored`.",
    ),
    "OpenAIEmbeddings": closed(
        {
            "object": text(enum=["list"]),
            "data": listed(
                closed(
                    {
                        "object": text(enum=["embedding"]),
                        "index": whole("The position of the text in the request, from 0.", minimum=0),
                        "embedding": either(VECTOR, _BASE64),
                    }
                ),
                "One vector for each text, in the order of the request.",
            ),
            "model": text("The model that answers."),
            "usage": ref("Usage"),
        }
    ),
    "TeiEmbedBody": opened(
        {"inputs": _TEXTS},
        {
            "model": _NAME,
            "prompt_name": _PURPOSE,
            "truncate": {"description": "If false, a long text is an error."},
        },
        "A request as text-embeddings-inference takes it. Parameters without an effect are named in "
        "`x-rerank-ignored`.",
    ),
    "TeiVectors": listed(VECTOR, "One vector for each text, in the order of the request."),
    "CohereEmbedBody": with_one_of(
        (("texts",), ("inputs",)),
        {"texts": _TEXTS, "inputs": _INPUTS},
        {
            "model": _NAME,
            "input_type": _PURPOSE,
            "embedding_types": listed(text(enum=["float", "base64"]), "How the vectors are written."),
            "output_dimension": _DIMS,
        },
        "A request as Cohere takes it. Parameters without an effect are named in `x-rerank-ignored`.",
    ),
    "CohereEmbeddings": closed(
        {
            "id": text("The id of the answer."),
            "response_type": text(
                "How `embeddings` is written.", enum=["embeddings_floats", "embeddings_by_type"]
            ),
            "embeddings": either(
                listed(VECTOR),
                closed({}, {"float": listed(VECTOR), "base64": listed(_BASE64)}),
                description="One vector for each text: a list, or a list for each type.",
            ),
            "texts": listed(text(), "The texts."),
            "meta": closed(
                {
                    "api_version": closed({"version": text("The version that the path names.")}),
                    "billed_units": closed({"input_tokens": whole("How many tokens the model read.")}),
                },
                description="What Cohere's clients read.",
            ),
        }
    ),
}

_SHARED: dict[str, Any] = {
    "parameters": ("embedding model", "always", "deadline"),
    "headers": (
        "Warning",
        "x-rerank-model",
        "x-rerank-ignored",
        "x-rerank-truncated",
        "x-rerank-truncated-at",
    ),
    "errors": OF_DIALECTS,
    "security": MODEL_KEY,
}


def _openai(name: str, summary: str, said: str) -> Operation:
    return Operation(
        name,
        _TAG,
        summary,
        f"{said} Each vector has the length 1. {SHORTENED}",
        ref("OpenAIEmbeddings"),
        (
            Example(
                "A passage",
                _of_openai(VECTOR_OF_SIGNED, 17),
                {"model": _MODEL, "input": [SIGNED]},
                "OpenAI",
            ),
            Example(
                "A query",
                _of_openai(VECTOR_OF_QUESTION, 6),
                {"model": _MODEL, "input": QUESTION, "input_type": "query"},
                "OpenAI",
            ),
        ),
        (
            Mistake(
                {"input": []},
                "[input] must be a text or a list of texts with at least one entry",
                "OpenAI",
            ),
        ),
        body=ref("OpenAIEmbeddingsBody"),
        **_SHARED,
    )


def _cohere(name: str, summary: str, said: str, *examples: Example) -> Operation:
    return Operation(
        name,
        _TAG,
        summary,
        f"{said} Each vector has the length 1. {SHORTENED}",
        ref("CohereEmbeddings"),
        examples,
        (Mistake({"model": _MODEL}, "[texts] field required", "OpenAI"),),
        body=ref("CohereEmbedBody"),
        **_SHARED,
    )


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/v1/embeddings", "post"): _openai(
        "createEmbeddings",
        "Turn texts into vectors, as OpenAI's API does",
        "The clients of OpenAI, Voyage, Jina and NVIDIA ask here.",
    ),
    ("/embeddings", "post"): _openai(
        "createEmbeddingsWithoutVersion",
        "Turn texts into vectors, as OpenAI's API does, at a path without a version",
        "Another name of `/v1/embeddings`, for tools that add only `/embeddings` to an address.",
    ),
    ("/infinity/embeddings", "post"): _openai(
        "createEmbeddingsForInfinity",
        "Turn texts into vectors, at the address of infinity's clients",
        "Another name of `/v1/embeddings`, below the address where infinity's clients ask for scores.",
    ),
    ("/embed", "post"): Operation(
        "embed",
        _TAG,
        "Turn texts into vectors, as text-embeddings-inference does",
        f"Each vector has the length 1. {SHORTENED}",
        ref("TeiVectors"),
        (
            Example(
                "Two passages", [VECTOR_OF_SIGNED, VECTOR_OF_QUESTION], {"inputs": [SIGNED, QUESTION]}, "TEI"
            ),
        ),
        (
            Mistake(
                {"inputs": []}, "[inputs] must be a text or a list of texts with at least one entry", "TEI"
            ),
        ),
        body=ref("TeiEmbedBody"),
        **_SHARED,
    ),
    ("/", "post"): Operation(
        "askWithoutPath",
        _TAG,
        "Turn texts into vectors or rerank them, as text-embeddings-inference does",
        "With `inputs` as `/embed`: the client of the Hugging Face Hub asks here. With `query` and `texts` "
        f"as `/rerank`. {SHORTENED}",
        either(ref("TeiVectors"), ref("TeiScores")),
        (
            Example(
                "Two passages", [VECTOR_OF_SIGNED, VECTOR_OF_QUESTION], {"inputs": [SIGNED, QUESTION]}, "TEI"
            ),
            OF_TEI._replace(summary="A query and two texts"),
        ),
        (Mistake({"model": _MODEL}, "[inputs] field required", "TEI"),),
        body=either(ref("TeiEmbedBody"), ref("TeiRerankBody")),
        **_SHARED,
    ),
    ("/v1/embed", "post"): _cohere(
        "embedV1",
        "Turn texts into vectors, as Cohere v1 does",
        "The path of Cohere's first version.",
        Example(
            "A passage",
            _of_cohere("1", "floats", [VECTOR_OF_SIGNED], SIGNED, 17),
            {"model": _MODEL, "texts": [SIGNED], "input_type": "search_document"},
            "OpenAI",
        ),
    ),
    ("/v2/embed", "post"): _cohere(
        "embedV2",
        "Turn texts into vectors, as Cohere v2 does",
        "The path of Cohere's second version.",
        Example(
            "A query",
            _of_cohere("2", "by_type", {"float": [VECTOR_OF_QUESTION]}, QUESTION, 6),
            {
                "model": _MODEL,
                "texts": [QUESTION],
                "input_type": "search_query",
                "embedding_types": ["float"],
            },
            "OpenAI",
        ),
    ),
}
