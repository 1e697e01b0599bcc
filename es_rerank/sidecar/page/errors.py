"""The errors on the page: when each comes, and what it looks like in the formats of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...dialects.failures import failure_of
from ...dialects.table import DIALECTS
from ...dialects.vectors import VECTOR_DIALECTS
from ...errors import (
    DeadlineError,
    EsRerankError,
    LoadingError,
    MediaTypeError,
    ModelError,
    OverloadError,
    RemoteModelError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    UnknownModelError,
    UnreachableError,
    error_body,
    message_of,
    outcome_of,
)
from .parts import Schema, closed, either, listed, nullable, opened, ref, text, whole


class Case(NamedTuple):
    """An error of the sidecar, and when it comes. ``early``: it comes before the body is read, so that it is
    in the format of the path, whatever the body holds.
    """

    error: EsRerankError
    when: str
    early: bool = False


class Format(NamedTuple):
    """A format of errors: the name of its schema, and the status and the body of an error."""

    schema: str
    written: Callable[[EsRerankError], tuple[int, Any]]


ERRORS = {
    "mistake": Case(RequestError("[query] field required"), "The request has a mistake."),
    "no key": Case(
        UnauthorizedError(
            "this path needs a key of the sidecar: send Authorization: Bearer KEY "
            "(settings api_keys_file and api_key_hashes hold the hashes of its keys)"
        ),
        "The sidecar has keys, and the request has none of them.",
        early=True,
    ),
    "no metrics key": Case(
        UnauthorizedError(
            "this page needs a key for metrics: send Authorization: Bearer KEY "
            "(setting metrics_key_hashes holds the hashes of these keys)"
        ),
        "The page needs a key, and the request has no such key.",
        early=True,
    ),
    "unknown model": Case(
        UnknownModelError(
            "inference endpoint [other] is not served here; served rerankers: es-rerank-minilm-l6"
        ),
        "No model with this name is served.",
    ),
    "too large": Case(
        TooLargeError("the request body is over 16777216 bytes (setting max_body_bytes)"),
        "The body, a text or the number of texts is over a limit of the sidecar or of the key.",
        early=True,
    ),
    "too many texts": Case(
        TooLargeError(
            "1001 documents are more than one request may hold (1000, setting max_documents); send them in "
            "parts"
        ),
        "The body, a text or the number of texts is over a limit of the sidecar or of the key.",
    ),
    "web page": Case(
        MediaTypeError("a web page must send a body with the header Content-Type: application/json"),
        "A web page sends a body that is not declared as JSON.",
    ),
    "encoding": Case(
        MediaTypeError("the content-encoding [br] is not read here; send the body as gzip, or as it is"),
        "The body has a content-encoding other than gzip.",
        early=True,
    ),
    "not JSON": Case(
        MediaTypeError(
            "es-rerank runs [rrf] and does not read YAML; send it as application/json and accept "
            "application/json"
        ),
        "The search is one that es-rerank runs, in YAML, CBOR or SMILE.",
    ),
    "overload": Case(
        OverloadError("the request would wait longer than its deadline allows", retry_after_s=2),
        "So much work waits that the request would not be answered in time. Nothing was done.",
    ),
    "broken model": Case(
        ModelError("no model is served: unexpected OSError while the model was loading"),
        "A model cannot be loaded or does not work.",
    ),
    "remote model": Case(
        RemoteModelError("remote:http://gpu:8080 answered 500 to a rerank request"),
        "A model that another server runs gave no answer.",
    ),
    "loading": Case(LoadingError("no model is served: the model is still loading"), "The models still load."),
    "unreachable": Case(
        UnreachableError("no Elasticsearch answers at http://localhost:9200"),
        "Elasticsearch does not answer.",
    ),
    "late": Case(
        DeadlineError("the deadline came when 40 of 100 texts were scored; send fewer or allow more time"),
        "The deadline came before the answer was complete.",
    ),
}

OF_MODELS = (
    "mistake",
    "no key",
    "too large",
    "encoding",
    "overload",
    "broken model",
    "remote model",
    "loading",
    "late",
)
"""Errors of paths that use the models directly."""

OF_DIALECTS = (*OF_MODELS, "too many texts", "unknown model", "web page")
"""Errors of the paths of other servers."""

OF_SEARCHES = (
    "mistake",
    "not JSON",
    "unknown model",
    "too large",
    "overload",
    "broken model",
    "remote model",
    "loading",
    "unreachable",
    "late",
)

OF_SEVERAL = ("mistake", "not JSON", "too large", "broken model", "loading", "unreachable")
"""Errors of an ``_msearch`` as a whole. Each of its searches may have an error of its own in the answer."""

_FAULT = opened(
    {"type": text("The kind of the error."), "reason": text("What is wrong, and what to do.")},
    {
        "root_cause": listed({"type": "object"}, "The same fault in a list, as Elasticsearch writes it."),
        "caused_by": {"type": "object", "description": "The cause, where Elasticsearch reports one."},
    },
)


def _of_elasticsearch(error: EsRerankError) -> tuple[int, Any]:
    return outcome_of(error).status, error_body(error)


def _of_dialect(name: str) -> Callable[[EsRerankError], tuple[int, Any]]:
    """Return what writes an error as a format of requests does, with an ``id`` that stays the same."""
    dialect = next(each for each in (*DIALECTS, *VECTOR_DIALECTS) if each.name == name)

    def written(error: EsRerankError) -> tuple[int, Any]:
        failure = failure_of(error)
        status = failure.status_in(tei=dialect.tei_status)
        body = dialect.error(message_of(error), failure, status)
        return status, {**body, "id": SOME_ID} if "id" in body else body

    return written


SOME_ID = "3f1c2a52-0d4e-4a57-9f0e-6a1f6d0b8c11"
"""The id of an answer in examples."""

FORMATS = {
    "Elasticsearch": Format("ElasticsearchError", _of_elasticsearch),
    "TEI": Format("TeiError", _of_dialect("tei")),
    "Cohere, Jina, Voyage, vLLM": Format("RerankError", _of_dialect("results")),
    "OpenAI": Format("OpenAIError", _of_dialect("openai")),
    "Weaviate": Format("WeaviateError", _of_dialect("weaviate")),
}

_MESSAGE = text("What is wrong, and what to do.")

ERROR_SCHEMAS: dict[str, Schema] = {
    "ElasticsearchError": opened(
        {
            "error": either(
                _FAULT,
                text("What is wrong, where Elasticsearch answers in one sentence."),
                description="What is wrong.",
            )
        },
        {"status": whole("The HTTP status.")},
        "An error as Elasticsearch writes it.",
    ),
    "TeiError": closed(
        {
            "error": _MESSAGE,
            "error_type": text(
                "The kind of the error.",
                enum=["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Unauthorized"],
            ),
        },
        description="An error as text-embeddings-inference writes it.",
    ),
    "RerankError": closed(
        {
            "id": text("The id of the answer."),
            "message": text("What is wrong, where Cohere's clients look for it."),
            "detail": text("The same, where Jina's and Voyage's clients look for it."),
            "error": ref("VllmFault"),
        },
        description="An error that the clients of Cohere, Jina, Voyage, vLLM and infinity can read.",
    ),
    "VllmFault": closed(
        {
            "message": _MESSAGE,
            "type": text("The kind of the error, such as `BadRequestError`."),
            "param": {"type": "null"},
            "code": text("The HTTP status."),
        },
        description="What the clients of vLLM, infinity and llama.cpp look for.",
    ),
    "OpenAIError": closed(
        {
            "error": closed(
                {
                    "message": _MESSAGE,
                    "type": text("The kind of the error."),
                    "param": nullable(text("The parameter of the request that is wrong.")),
                    "code": nullable(text("The code of the error, such as `model_not_found`.")),
                },
                description="What OpenAI's clients look for.",
            ),
            "message": text("The same message, where Cohere's clients look for it."),
            "detail": text("The same message, where Jina's and Voyage's clients look for it."),
        },
        description="An error that the clients of OpenAI, Cohere, Jina and Voyage can read.",
    ),
    "WeaviateError": closed({"error": _MESSAGE}, description="An error as Weaviate reads it."),
}
