"""Converts answers and errors to the types of the elasticsearch client."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar, cast

from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.exceptions import HTTP_EXCEPTIONS

from ...errors import EsRerankError, RequestError, error_body, outcome_of


def response(body: dict[str, Any], took_ms: int, warning: str | None = None) -> ObjectApiResponse[Any]:
    """Return a body as the response type of the elasticsearch client, with status 200 and ``took_ms`` as
    duration. ``warning`` is the header of that name.
    """
    return ObjectApiResponse(body=body, meta=_meta(200, took_ms / 1000, warning))


C = TypeVar("C", bound=Elasticsearch | AsyncElasticsearch)


def ignored_by(client: Elasticsearch | AsyncElasticsearch) -> Collection[int]:
    """Return the ``ignore_status`` of a client: the statuses whose answers it returns instead of an error."""
    statuses = vars(client).get("_ignore_status")
    return statuses if isinstance(statuses, Collection) else ()


def strict(client: C) -> C:
    """Return a client that raises an error for every failed request, whatever its ``ignore_status``."""
    return cast("C", client.options(ignore_status=())) if ignored_by(client) else client


def answer_to(
    error: EsRerankError | ApiError, client: Elasticsearch | AsyncElasticsearch
) -> ObjectApiResponse[Any]:
    """Return an error as an answer if ``client`` ignores its status, as the elasticsearch client does.

    Else raises it: an error of es-rerank as ``client_error`` returns it, an ApiError unchanged.
    """
    raised = error if isinstance(error, ApiError) else client_error(error)
    if raised.meta.status in ignored_by(client):
        return ObjectApiResponse(body=raised.body, meta=raised.meta)
    if raised is error:
        raise error
    raise raised from error


P = ParamSpec("P")
T = TypeVar("T")


def whole_characters(method: Callable[P, T]) -> Callable[P, T]:
    """Make a method of a client, blocking or not, refuse half a surrogate pair as the sidecar does.

    Such a text cannot be sent in an address or written as UTF-8. The method then answers with RequestError,
    as ``answer_to`` does. An error of that kind that is not due to the arguments is raised unchanged.
    """

    def answer(error: UnicodeEncodeError, client: Any, given: Any) -> Any:  # noqa: ANN401 any arguments
        try:
            json.dumps(given, ensure_ascii=False, default=str, skipkeys=True).encode()
        except UnicodeEncodeError:
            fault = RequestError(
                "the request holds half a surrogate pair such as \\ud800; send whole characters"
            )
            fault.__cause__ = error
            return answer_to(fault, client)
        raise error

    if inspect.iscoroutinefunction(method):

        async def awaited(client: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 those of the method
            try:
                return await method(client, *given, **named)
            except UnicodeEncodeError as error:
                return answer(error, client, (given, named))

        return cast("Callable[P, T]", functools.wraps(method)(awaited))

    def called(client: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 those of the method
        try:
            return method(client, *given, **named)
        except UnicodeEncodeError as error:
            return answer(error, client, (given, named))

    return cast("Callable[P, T]", functools.wraps(method)(called))


def _meta(status: int, seconds: float = 0.0, warning: str | None = None) -> ApiResponseMeta:
    headers = HttpHeaders(
        {"x-elastic-product": "Elasticsearch", "content-type": "application/json"}
        | ({} if warning is None else {"warning": warning})
    )
    return ApiResponseMeta(status, "1.1", headers, seconds, NodeConfig("http", "es-rerank", 0))


def client_error(error: EsRerankError) -> ApiError:
    """Return an error that is an instance of both ``type(error)`` and the elasticsearch client's
    ``ApiError``.

    Callers can catch it as either. Its status, ``meta`` and ``body`` are those of the sidecar's answer for
    this error.
    """
    status = outcome_of(error).status
    both = _both(type(error), HTTP_EXCEPTIONS.get(status, ApiError))  # type: ignore[arg-type]  # classes are hashable
    made: ApiError = both.__new__(both, error.message)
    made.__dict__.update(error.__dict__, body=error_body(error), meta=_meta(status), errors=(), _ours=error)
    return made


@functools.cache
def _both(ours: type[EsRerankError], theirs: type[ApiError]) -> type[ApiError]:
    def __str__(self: Any) -> str:  # noqa: ANN401, N807 the message of es-rerank
        return str(self.message)

    def error(self: Any) -> str:  # noqa: ANN401 the error type, as in ApiError.error
        return str(self.body["error"]["type"])

    def __reduce__(self: Any) -> tuple[Any, ...]:  # noqa: ANN401, N807 makes pickling possible
        return client_error, (self._ours,)

    names = {
        "__module__": ours.__module__,
        "__doc__": ours.__doc__,
        "__str__": __str__,
        "__reduce__": __reduce__,
        "error": property(error),
    }
    return type(ours.__name__, (ours, theirs), names)
