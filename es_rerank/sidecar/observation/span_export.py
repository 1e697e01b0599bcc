"""Leaves out of spans what callers wrote: queries, messages of errors, names of indices, and their addresses.

The spans of the sidecar hold nothing of it. Those of libraries do: elasticsearch-py names the index, records
the whole address that it asks, and quotes the message of an error, which quotes the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from .spans import SCOPE

_TYPE = "exception.type"

_KEPT = frozenset(
    {
        "db.namespace",
        "db.operation.name",
        "db.response.status_code",
        "db.system.name",
        "elasticsearch.node.name",
        "error.type",
        "http.flavor",
        "http.method",
        "http.request.body.size",
        "http.request.method",
        "http.request.resend_count",
        "http.response.body.size",
        "http.response.status_code",
        "http.route",
        "http.scheme",
        "http.status_code",
        "network.protocol.name",
        "network.protocol.version",
        "network.transport",
        "server.address",
        "server.port",
        "url.scheme",
    }
)
"""The attributes of libraries' spans that are kept, by their names in OpenTelemetry's semantic conventions
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/). No caller writes their values. A list of
those to leave out would miss those of the next release of a library."""


class CleaningExporter(SpanExporter):
    """Exports spans as ``cleaned`` returns them."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans."""
        return self._inner.export([cleaned(span) for span in spans])

    def shutdown(self) -> None:
        """Export what is left, and end."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is left."""
        return self._inner.force_flush(timeout_millis)


def clean(provider: TracerProvider) -> None:
    """Let all exporters of a provider that somebody else made get spans as ``cleaned`` returns them."""
    # OpenTelemetry has no other way to change a span for exporters that are there already. Tracers that exist
    # share this processor, and so do exporters that are added later.
    processor = provider._active_span_processor  # noqa: SLF001 see above
    if isinstance(getattr(processor.on_end, "__self__", None), _Cleaning):
        return
    processor.on_end = _Cleaning(processor.on_end).on_end  # type: ignore[method-assign]


class _Cleaning:
    def __init__(self, inner: Callable[[ReadableSpan], None]) -> None:
        self._inner = inner

    def on_end(self, span: ReadableSpan) -> None:
        """Give on a span that has ended."""
        self._inner(cleaned(span))


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """Return a span without what callers wrote.

    Spans of the sidecar keep their attributes, those of libraries the ones of a fixed list. Of an event, its
    name and the type of an exception are kept; of a name that holds a path (``GET /articles/_search``), what
    stands before it.
    """
    scope = span.instrumentation_scope
    ours = scope is not None and scope.name == SCOPE
    attributes = span.attributes or {}
    return ReadableSpan(
        span.name if ours else span.name.partition("/")[0].strip() or "request",
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes={name: value for name, value in attributes.items() if ours or name in _KEPT},
        events=[_event(event) for event in span.events],
        links=[Link(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=scope,
    )


def _event(event: Event) -> Event:
    attributes = event.attributes or {}
    kept = {_TYPE: attributes[_TYPE]} if _TYPE in attributes else {}
    return Event(event.name, attributes=kept, timestamp=event.timestamp)
