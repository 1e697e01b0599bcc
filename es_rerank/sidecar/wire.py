"""Reading requests and writing responses: bodies, deadlines, media types and errors as Elasticsearch shapes them."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable
from typing import Any, TypeVar

from elasticsearch import ApiError, TransportError
from fastapi import Request, Response

from ..errors import EsRerankError, RequestError, TooLargeError, UnreachableError, outcome_of

T = TypeVar("T")

TIMEOUT_HEADER = "x-rerank-timeout-ms"
PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
"""elasticsearch-py refuses a 2xx answer without it."""

_VENDOR = "application/vnd.elasticsearch+json"
_CLOSED = 499
"""nginx's status for a client that left; nobody reads it."""


class ClientLeftError(Exception):
    """The caller closed the connection; the work was cancelled and there is nobody to answer."""


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """Return the request's JSON object, decompressed; an empty body is an empty object.

    Raises TooLargeError for a body over ``limit`` bytes (before or after decompression), RequestError for one that
    is not a JSON object.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise TooLargeError(f"the request body is over {limit} bytes (setting max_body_bytes)")
    if request.headers.get("content-encoding") == "gzip":
        data = _decompressed(data, limit)
    try:
        value = json.loads(data) if data.strip() else {}
    except ValueError as error:
        raise RequestError(f"the request body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"the request body must be a JSON object, found {type(value).__name__}")
    return value


def _decompressed(data: bytearray, limit: int) -> bytearray:
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = bytearray(inflate.decompress(bytes(data), limit + 1))
    except zlib.error as error:
        raise RequestError(f"the request body is not gzip, though its content-encoding says so: {error}") from error
    if len(plain) > limit:
        raise TooLargeError(f"the request body is over {limit} bytes when decompressed (setting max_body_bytes)")
    return plain


def timeout_s(request: Request) -> float | None:
    """Return the caller's deadline in seconds from now, None where none is given.

    Raises RequestError for a header that is not a positive number of milliseconds.
    """
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise RequestError(f"header {TIMEOUT_HEADER} must be a positive number of milliseconds, found {value!r}")
    return int(value) / 1000


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """Return the result of ``work``, cancelling it when the caller closes the connection.

    Raises ClientLeftError then.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(request: Request, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 any JSON value
    """Return a JSON response in the media type that the caller asked for, Elasticsearch's vendor type included."""
    accepted = request.headers.get("accept", "")
    media = f"{_VENDOR};compatible-with=9" if accepted.startswith(_VENDOR) else "application/json"
    return Response(json.dumps(body, ensure_ascii=False, allow_nan=False), status, {**PRODUCT, **(headers or {})}, media)


def error_response(request: Request, error: Exception) -> Response:
    """Return an error in Elasticsearch's shape; Elasticsearch's own errors keep their body and status."""
    if isinstance(error, ApiError):
        return answer(request, error.body, error.meta.status)
    if isinstance(error, ClientLeftError):
        return Response(status_code=_CLOSED)
    if isinstance(error, TransportError):
        error = UnreachableError(f"Elasticsearch does not answer: {error.message}; check --elasticsearch-url of the sidecar")
    if not isinstance(error, EsRerankError):
        error = EsRerankError(f"unexpected {type(error).__name__} in the sidecar; its log has the details")
    status, _, kind = outcome_of(error)
    cause = {"type": kind, "reason": error.message}
    return answer(request, {"error": {"root_cause": [cause], **cause}, "status": status}, status)
