"""Writes one line for each request to the log: what it took and how it ended.

The names of indices are not among it. A caller writes them, so that they may be anything, and they may tell
of whom a document is; the template of the route stands in their place. A wrong address of a rerank or
embedding client is shown with its known words only. Elasticsearch's own audit and slow logs have all names,
under the same trace id and ``X-Opaque-Id``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...caller import Caller
from ...defaults import LogFormat
from ...dialects.paths import shape_of_wrong
from ..access.admission import caller_of
from ..record import Record
from .log import ecs, moment
from .log_stream import LogStream

_QUIET = frozenset({"/health", "/healthz", "/readyz", "/metrics", "/_rerank/metrics"})
"""Routes that machines ask every few seconds. They are logged when they fail."""

_ANY_PATH = frozenset({"unmatched", "/{path:path}"})
"""The routes of paths that are not served, without and with ``--pass-through``."""

_MOST_OPAQUE = 64
"""Most characters of an ``X-Opaque-Id`` in the log."""

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header. Ids of zeros and version ``ff`` are invalid."""

_HASH_SECRET = os.urandom(32)
"""Makes the hashes of callers those of this process. A plain hash of a password would let readers of the log
try passwords."""


class RequestLog:
    """Gets the record of each request and writes it to the log, in the thread of the log."""

    def __init__(self, stream: LogStream, form: LogFormat) -> None:
        self._stream, self._form = stream, form

    def write(self, record: Record) -> None:
        """Write a request that has ended."""
        if record.route in _QUIET and record.status < 400:
            return
        at = datetime.now(UTC)
        as_line = _as_json if self._form == "json" else _as_text
        self._stream.write(lambda: as_line(record, at))


def _as_text(record: Record, at: datetime) -> str:
    headers = _headers(record)
    fields = {
        "method": record.method,
        "route": record.route,
        "asked": _asked(record),
        "status": record.status,
        "outcome": record.outcome,
        "milliseconds": round(record.seconds * 1000, 1),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "caller": caller_shown(record),
        "trace": _trace_id(record, headers),
        "opaque_id": opaque_id(headers),
        "documents": record.documents or None,
        "passages": record.passages or None,
        "tokens": record.tokens or None,
        **{f"{stage}_ms": milliseconds for stage, milliseconds in _milliseconds(record.stages).items()},
        "error": None if record.error is None else type(record.error).__qualname__,
    }
    said = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return f"{moment(at)} [{_level(record):<8}] request {said}\n"


def _as_json(record: Record, at: datetime) -> str:
    headers = _headers(record)
    ids = {} if record.span is None else {"span.id": record.span.span_id}
    fields: dict[str, Any] = {
        "event.dataset": "es_rerank.request",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.duration": int(record.seconds * 1e9),
        "event.outcome": "success" if record.status < 400 else "failure",
        "http.request.method": record.method,
        "http.request.body.bytes": record.bytes_in,
        "http.response.status_code": record.status,
        "http.response.body.bytes": record.bytes_out,
        "http.version": record.scope.get("http_version"),
        "user.name": record.key,
        "user.hash": None if record.key else caller_shown(record),
        "trace.id": _trace_id(record, headers),
        **ids,
        "error.type": None if record.error is None else type(record.error).__qualname__,
        "process.pid": os.getpid(),
        "es_rerank.route": record.route,
        "es_rerank.asked": _asked(record),
        "es_rerank.outcome": record.outcome,
        "es_rerank.opaque_id": opaque_id(headers),
        "es_rerank.documents": record.documents,
        "es_rerank.passages": record.passages,
        "es_rerank.tokens": record.tokens,
        "es_rerank.searches": record.searches or None,
        "es_rerank.fallbacks": sorted(set(record.fallbacks)) or None,
        "es_rerank.stages": _milliseconds(record.stages) or None,
        "es_rerank.parts": _milliseconds(record.parts) or None,
    }
    message = f"{record.method} {record.route} {record.status}"
    known = {name: value for name, value in fields.items() if value is not None}
    return ecs(_level(record), message, known, at)


def _asked(record: Record) -> str | None:
    """Return the shape of the path where no route serves it and the caller meant another one, else None.

    The path itself may hold the name of an index.
    """
    if record.route not in _ANY_PATH:
        return None
    return shape_of_wrong(record.scope.get("path", ""), record.method)


def caller_shown(record: Record) -> str:
    """Return the name of the caller's key, or digits of a hash that tell callers of this process apart."""
    if record.key is not None:
        return record.key
    caller: Caller = caller_of(record.scope)
    return hashlib.blake2b(caller.name.encode(), key=_HASH_SECRET, digest_size=6).hexdigest()


def opaque_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the caller's ``X-Opaque-Id``, shortened, without what could look like another line or field."""
    value = headers.get(b"x-opaque-id")
    if value is None:
        return None
    return _UNPRINTABLE.sub("_", value[:_MOST_OPAQUE].decode("latin-1"))


def _headers(record: Record) -> dict[bytes, bytes]:
    return dict(record.scope.get("headers", ()))


def _trace_id(record: Record, headers: Mapping[bytes, bytes]) -> str | None:
    if record.span is not None:
        return str(record.span.trace_id)
    found = _TRACEPARENT.match(headers.get(b"traceparent", b"").decode("latin-1"))
    return None if found is None else found[1]


def _milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value * 1000, 1) for name, value in seconds.items()}


def _level(record: Record) -> str:
    return "error" if record.outcome == "failed" else "info"
