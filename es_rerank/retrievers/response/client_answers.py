"""Answers and errors in the elasticsearch client's own types."""

from __future__ import annotations

import functools
from typing import Any

from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError
from elasticsearch.exceptions import HTTP_EXCEPTIONS

from ...errors import EsRerankError, error_body, outcome_of


def response(body: dict[str, Any], took_ms: int) -> ObjectApiResponse[Any]:
    """Return a body as the elasticsearch client's own response type; its meta is that of our own answer."""
    return ObjectApiResponse(body=body, meta=_meta(200, took_ms / 1000))


def _meta(status: int, seconds: float = 0.0) -> ApiResponseMeta:
    headers = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
    return ApiResponseMeta(status, "1.1", headers, seconds, NodeConfig("http", "es-rerank", 0))


def client_error(error: EsRerankError) -> ApiError:
    """Return an error that is both ours and the elasticsearch client's: whoever catches either catches it.

    Its status, ``meta`` and ``body`` are what the sidecar answers for the same fault.
    """
    status = outcome_of(error).status
    both = _both(type(error), HTTP_EXCEPTIONS.get(status, ApiError))  # type: ignore[arg-type]  # classes are hashable
    made: ApiError = both.__new__(both, error.message)
    made.__dict__.update(error.__dict__, body=error_body(error), meta=_meta(status), errors=(), _ours=error)
    return made


@functools.cache
def _both(ours: type[EsRerankError], theirs: type[ApiError]) -> type[ApiError]:
    def __str__(self: Any) -> str:  # noqa: ANN401, N807 our own sentence
        return str(self.message)

    def error(self: Any) -> str:  # noqa: ANN401 Elasticsearch's name for the fault, where its own client has it
        return str(self.body["error"]["type"])

    def __reduce__(self: Any) -> tuple[Any, ...]:  # noqa: ANN401, N807 survives a process boundary
        return client_error, (self._ours,)

    names = {
        "__module__": ours.__module__,
        "__doc__": ours.__doc__,
        "__str__": __str__,
        "__reduce__": __reduce__,
        "error": property(error),
    }
    return type(ours.__name__, (ours, theirs), names)
