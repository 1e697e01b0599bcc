"""Observes each request: one record of what it took and how it ended, for metrics, log, traces and headers.

A record holds counts, times and names of a closed set. It holds no text, query, index name or credential.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...caller import during
from ...observation import OBSERVER
from ..access.authority import KeyedRoute
from ..messages.methods import METHODS
from ..record import Record
from .log import without_values

_LOG = structlog.get_logger("es_rerank.sidecar")

_UNMATCHED = "unmatched"
"""The route of requests for paths that no route has."""

_TIMED = frozenset({"_search", "_msearch", "ranking", "rerank", "reranking", "rescore", "score"})
"""The last parts of routes whose answers have the header ``Server-Timing``, and ``_inference/rerank``."""


class Sink(Protocol):
    """Gets the record of each request when the request has ended."""

    def write(self, record: Record) -> None:
        """Write the record."""


class Observed:
    """A middleware that observes requests. It is the outermost one, so that it sees what the caller gets."""

    def __init__(self, app: ASGIApp, sinks: tuple[Sink, ...], spans: Any = None) -> None:  # noqa: ANN401 Spans; its module needs OpenTelemetry
        self._app, self._sinks, self._spans = app, sinks, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and write its record when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        span = None if self._spans is None else self._spans.request(scope, method)
        record = Record(method, scope, span)

        async def receive_and_count() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                record.left |= not record.answered
            else:
                record.bytes_in += len(message.get("body", b""))
            return message

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                record.route, record.asks_models = _route_of(scope)
                if record.stages and not record.forwarded and _is_timed(record.route):
                    timing = (b"server-timing", record.server_timing().encode())
                    message = {**message, "headers": [*message.get("headers", ()), timing]}
            elif message["type"] == "http.response.body":
                record.bytes_out += len(message.get("body", b""))
                record.answered |= not message.get("more_body", False)
            await send(message)

        try:
            with during(OBSERVER, record), nullcontext() if span is None else span:
                await self._app(scope, receive_and_count, send_and_count)
        except BaseException as error:
            record.broke_off(error)
            raise
        finally:
            self._end(record, scope, span)

    def _end(self, record: Record, scope: Scope, span: Any) -> None:  # noqa: ANN401 see __init__
        try:
            record.route, record.asks_models = _route_of(scope)
            record.end()
            if span is not None:
                span.end(record)
            for sink in self._sinks:
                sink.write(record)
        except Exception as error:  # noqa: BLE001 the request has its answer already
            _LOG.error(f"unexpected {type(error).__qualname__} after a request\n{without_values(error)}")


def _route_of(scope: Scope) -> tuple[str, bool]:
    """Return the template of the route that serves a request, and whether that route uses the models."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if path is None:
        return _UNMATCHED, False
    return path, isinstance(route, KeyedRoute) and scope["method"] == "POST"


def _is_timed(route: str) -> bool:
    return route.rsplit("/", 1)[-1] in _TIMED or route.startswith("/_inference/rerank/")
