"""An exporter that leaves out of spans what callers wrote: messages of errors, and queries in addresses."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

_TYPE = "exception.type"


class WithoutMessages(SpanExporter):
    """Exports spans without messages and tracebacks of exceptions, and addresses without their queries.

    Spans of libraries hold them: elasticsearch-py records the message of an error of Elasticsearch, which
    quotes the search.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans."""
        return self._inner.export([_cleaned(span) for span in spans])

    def shutdown(self) -> None:
        """Export what is left, and end."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is left."""
        return self._inner.force_flush(timeout_millis)


def _cleaned(span: ReadableSpan) -> ReadableSpan:
    attributes = dict(span.attributes or {})
    if "url.full" in attributes:
        attributes["url.full"] = str(attributes["url.full"]).partition("?")[0]
    return ReadableSpan(
        span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[_event(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _event(event: Event) -> Event:
    attributes = event.attributes or {}
    kept = {_TYPE: attributes[_TYPE]} if _TYPE in attributes else {}
    return Event(event.name, attributes=kept, timestamp=event.timestamp)
