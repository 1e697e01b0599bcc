"""Reads requests and writes responses in Elasticsearch's formats: bodies, timeouts, media types, errors."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from elasticsearch import (
    ApiError,
    ConnectionTimeout,
    SerializationError,
    TransportError,
    UnsupportedProductError,
)
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from ...errors import (
    DeadlineError,
    EsRerankError,
    RequestError,
    UnreachableError,
    error_body,
    outcome_of,
)
from ...off_loop import is_large, off_loop
from ...retrievers.execution.product import PRODUCT, PRODUCT_HEADER, foreign
from ...retrievers.grammar.json_values import read_json, token_fault
from ...retrievers.grammar.parameters import whole_number
from ..record import LEFT
from ..upstream.forwarding import CHECK, unreachable
from ..upstream.headers import CONTROL, TIMEOUT_HEADER
from .large_answer import LargeAnswer, written

T = TypeVar("T")

_VENDOR = re.compile(r"application/vnd\.elasticsearch\+json\s*;\s*compatible-with=(\d+)")
_FEW_BYTES = 1 << 15
"""A body of at most this number of bytes is parsed at once: that takes about a millisecond."""


class ClientLeftError(Exception):
    """Raised when the caller closed the connection: the work was cancelled, and no answer can be sent."""


async def parsed(request: Request, data: bytes, read: Callable[[bytes], T]) -> T:
    """Return what ``read`` makes of the bytes of a body. Many bytes are read beside the event loop.

    Raises ClientLeftError when the caller closes the connection meanwhile, DeadlineError when the deadline
    comes first: many large bodies may wait.
    """
    if len(data) <= _FEW_BYTES:
        return read(data)
    seconds = request.app.state.service.allowed_s(timeout_s(request))
    await asyncio.sleep(0)  # the end of the connection is often read with the end of the body
    if await request.is_disconnected():
        raise ClientLeftError
    try:
        async with asyncio.timeout(seconds):
            return await cancel_on_disconnect(request, off_loop(read, data))
    except TimeoutError as error:
        raise DeadlineError(
            f"the deadline came before the request body was parsed; allow more with {TIMEOUT_HEADER}"
        ) from error


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a body. An empty body is an empty object.

    Raises RequestError when the body is not JSON or not an object.
    """
    value = read_json(data) if not _is_blank(data) else {}
    if not isinstance(value, dict):
        raise token_fault(value)
    check_utf8(data, value)
    return value


def check_utf8(data: bytes, value: Any) -> None:  # noqa: ANN401 any JSON value
    """Check that a JSON value can be sent on as UTF-8; ``data`` is its text.

    Raises RequestError when a string holds half a surrogate pair, as an escape or in bytes.
    """
    try:
        if b"\xed" in data:  # the first byte of a surrogate, and of some other signs
            data.decode()
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise RequestError(
            "the request body holds half a surrogate pair such as \\ud800; send whole characters"
        ) from error


def _is_blank(data: bytes) -> bool:
    """Whether bytes are nothing but white space, without a copy of them."""
    return data.isspace() or not data


def timeout_s(request: Request) -> float | None:
    """Return the timeout in the caller's header, in seconds, or None without the header.

    Raises RequestError when the header is not a positive number of milliseconds, or more than the longest
    deadline.
    """
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    milliseconds = whole_number(value)
    if milliseconds is None or milliseconds < 1:
        raise RequestError(
            f"header {TIMEOUT_HEADER} must be a positive number of milliseconds, found {value!r}"
        )
    longest_s: float = request.app.state.service.limits.longest_s
    if milliseconds / 1000 > longest_s:
        raise RequestError(
            f"header {TIMEOUT_HEADER} asks for {milliseconds} milliseconds, the longest deadline is "
            f"{longest_s * 1000:.0f} (setting max_timeout_ms)"
        )
    return milliseconds / 1000


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Return the result of ``work``. Cancel the work if the caller closes the connection.

    Raises ClientLeftError when the caller closes the connection.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError
        return task.result()
    finally:
        for waiting in (task, gone):
            waiting.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(request: Request, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 any JSON value
    """Return a JSON response. Its media type is Elasticsearch's vendor type if the caller accepts it.

    The caller's ``X-Opaque-Id`` comes back, as from Elasticsearch.
    """
    vendor = _VENDOR.search(request.headers.get("accept", ""))
    media = (
        f"application/vnd.elasticsearch+json;compatible-with={vendor[1]}" if vendor else "application/json"
    )
    indent = 2 if request.query_params.get("pretty", "false") != "false" else None
    opaque = request.headers.get("x-opaque-id")
    returned = {} if opaque is None or CONTROL.search(opaque) else {"X-Opaque-Id": opaque}
    sent = {PRODUCT_HEADER: PRODUCT, **returned, **(headers or {})}
    if is_large(body):
        return LargeAnswer(body, indent, status, sent, media)
    return Response(written(body, indent), status, sent, media)


def retry_after(error: EsRerankError) -> dict[str, str]:
    """Return the header ``Retry-After`` of an error that may pass, no header for other errors."""
    wait_s = getattr(error, "retry_after_s", None)
    return {} if wait_s is None else {"Retry-After": str(wait_s)}


def _wait_of(error: ApiError) -> dict[str, str]:
    """Return the header ``Retry-After`` of an error of es-rerank or of Elasticsearch, if it has one."""
    if isinstance(error, EsRerankError):
        return retry_after(error)
    said = error.meta.headers.get("retry-after")
    return {} if said is None else {"Retry-After": said}


def warning(*texts: str | None) -> dict[str, str]:
    """Return the header ``Warning`` with texts, as Elasticsearch writes it (RFC 7234, 5.5); no header for
    None alone.
    """
    written = ", ".join(f'299 es-rerank "{_quoted(text)}"' for text in texts if text is not None)
    return {"Warning": written} if written else {}


def _quoted(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(sign if " " <= sign <= "~" and sign != "%" else quote(sign) for sign in quoted)


def not_served(request: Request, status: int) -> Response:
    """Return the answer for a path (501) or a method (405) that is not served, in Elasticsearch's format.

    The status is never 404: a client of Elasticsearch would take it for a missing index or document.
    """
    status = 501 if status == 404 else status
    reason = (
        f"no handler found for uri [{request.scope['path']}] and method [{request.method}]; "
        "es-rerank serve --pass-through sends such requests on to Elasticsearch"
    )
    cause = {
        "type": "not_implemented_exception" if status == 501 else "illegal_argument_exception",
        "reason": reason,
    }
    return answer(request, {"error": {"root_cause": [cause], **cause}, "status": status}, status)


def unexpected(error: Exception) -> EsRerankError:
    """Return the error that a caller is told of instead of one that no code expects."""
    return EsRerankError(f"unexpected {type(error).__name__} in the sidecar; its log has the details")


def error_response(request: Request, error: Exception) -> Response:
    """Return an error in Elasticsearch's format. Elasticsearch's own errors keep body and status."""
    if isinstance(error, (UnsupportedProductError, SerializationError)):
        error = UnreachableError(f"{foreign('--elasticsearch-url')}; {CHECK}")
    if isinstance(error, ApiError):
        return answer(request, error.body, error.meta.status, _wait_of(error))
    if isinstance(error, (ClientLeftError, ClientDisconnect)):
        return Response(status_code=LEFT)
    if isinstance(error, ConnectionTimeout):
        error = DeadlineError(
            f"Elasticsearch has not answered in time: {error.message}; allow more with {TIMEOUT_HEADER}"
        )
    if isinstance(error, TransportError):
        error = unreachable(error, error.message)
    if not isinstance(error, EsRerankError):
        error = unexpected(error)
    status = outcome_of(error).status
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return answer(request, error_body(error), status, challenge | retry_after(error))
