"""The headers, parameters and keys that the page names."""

from __future__ import annotations

from typing import Any

from .parts import Schema, flag, text, whole
from .search_parameters import MSEARCH_PARAMETERS, SEARCH_PARAMETERS

HEADERS: dict[str, dict[str, Any]] = {
    "X-Elastic-Product": {
        "description": "Always `Elasticsearch`. The official clients ask for it.",
        "schema": text(enum=["Elasticsearch"]),
    },
    "X-Opaque-Id": {
        "description": "The `X-Opaque-Id` of the request, if it had one.",
        "schema": text(),
    },
    "Warning": {
        "description": "What a caller should know about the answer, for example that texts are in a "
        "script that "
        "the model does not read. In a search also the warnings of Elasticsearch.",
        "schema": text(),
    },
    "Server-Timing": {
        "description": "The milliseconds of each stage, for the developer tools of a browser.",
        "schema": text(),
    },
    "Retry-After": {
        "description": "After how many seconds the same request may be answered.",
        "schema": whole(minimum=0),
    },
    "WWW-Authenticate": {"description": "`Bearer`: the kind of key that is needed.", "schema": text()},
    "x-rerank-truncated": {
        "description": "Of how many texts the end was not read, because they are longer than the "
        "model reads.",
        "schema": whole(minimum=0),
    },
    "x-rerank-model": {"description": "The name of the model that answers.", "schema": text()},
    "x-rerank-ignored": {
        "description": "The parameters of the request that have no effect here, separated by commas.",
        "schema": text(),
    },
    "x-rerank-truncated-at": {
        "description": "The positions of these texts, separated by commas, if there are at most 1,000.",
        "schema": text(),
    },
}
"""Headers of answers."""

EVERYWHERE = ("X-Elastic-Product", "X-Opaque-Id")
"""Headers of all answers except that of ``/metrics``."""

OF_ERRORS = {401: ("WWW-Authenticate",)} | dict.fromkeys((429, 502, 503), ("Retry-After",))
"""Headers that an error of a status may have besides those."""


def _parameter(place: str, name: str, description: str, schema: Schema, **more: Any) -> dict[str, Any]:  # noqa: ANN401 keywords of OpenAPI
    return {"name": name, "in": place, "description": description, "schema": schema, **more}


def _in_path(name: str, description: str, example: str) -> dict[str, Any]:
    return _parameter("path", name, description, text(), required=True, example=example)


_INDEX = "The name of an index, of several separated by commas, of an alias, or a pattern such as `logs-*`."

PARAMETERS: dict[str, tuple[dict[str, Any], ...]] = {
    "index": (_in_path("index", _INDEX, "articles"),),
    "reranker": (
        _in_path(
            "inference_id",
            "The name of a served reranker. `GET /_inference` lists them.",
            "es-rerank-minilm-l6",
        ),
    ),
    "embedder": (
        _in_path(
            "inference_id", "The name of the served embedder. `GET /_inference` lists it.", "all-MiniLM-L6-v2"
        ),
    ),
    "any model": (_in_path("inference_id", "The name of a served model.", "es-rerank-minilm-l6"),),
    "task": (
        _parameter(
            "path",
            "task_type",
            "What the model does.",
            text(enum=["rerank", "text_embedding"]),
            required=True,
            example="rerank",
        ),
    ),
    "model": (
        _parameter(
            "query",
            "model",
            "The name of a served reranker. Without it, the default reranker is meant.",
            text(),
        ),
    ),
    "model of any kind": (
        _parameter(
            "query",
            "model",
            "The name of a served reranker or embedder. Without it, the default reranker is meant, or the "
            "default embedder if no reranker is served.",
            text(),
        ),
    ),
    "embedding model": (
        _parameter(
            "query",
            "model",
            "The name of a served embedder. Without it, the default embedder is meant.",
            text(),
        ),
    ),
    "named model": (_in_path("model", "The name of a served model.", "all-MiniLM-L6-v2"),),
    "keep alive": (
        _parameter(
            "query",
            "keep_alive",
            "How long Elasticsearch keeps the point in time, such as `1m`.",
            text(),
            required=True,
            example="1m",
        ),
    ),
    "always": (
        _parameter("query", "pretty", "Whether the JSON of the answer is indented.", flag(default=False)),
        _parameter("header", "X-Opaque-Id", "A name of the request. It comes back with the answer.", text()),
    ),
    "deadline": (
        _parameter(
            "header",
            "X-Rerank-Timeout-Ms",
            "The deadline of the request in milliseconds. Without it, the setting "
            "`ES_RERANK_TIMEOUT_MS` holds.",
            whole(minimum=1),
        ),
    ),
    "search": tuple(
        _parameter("query", name, description, schema)
        for name, (description, schema) in SEARCH_PARAMETERS.items()
    ),
    "msearch": tuple(
        _parameter("query", name, description, schema)
        for name, (description, schema) in MSEARCH_PARAMETERS.items()
    ),
}
"""Parameters by the names that operations give them."""

SECURITY: dict[str, dict[str, Any]] = {
    "sidecarKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the sidecar, if it has keys (`es-rerank key NAME` makes one). `ApiKey "
        "KEY` is "
        "taken as well as `Bearer KEY`.",
    },
    "metricsKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key for the figures, if the setting `ES_RERANK_METRICS_KEY_HASHES` holds one.",
    },
    "elasticsearchUser": {
        "type": "http",
        "scheme": "basic",
        "description": "A user of Elasticsearch. It goes to Elasticsearch unchanged, and Elasticsearch "
        "decides.",
    },
    "elasticsearchApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "An API key of Elasticsearch: `ApiKey` and the encoded key. It goes to Elasticsearch "
        "unchanged, and Elasticsearch decides.",
    },
}
"""Who may ask: keys of the sidecar for its models, Elasticsearch's own users and keys for searches."""

MODEL_KEY = ("sidecarKey",)
OF_ELASTICSEARCH = ("elasticsearchUser", "elasticsearchApiKey")
