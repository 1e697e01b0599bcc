"""OpenTelemetry's spans of a request: the only module that imports OpenTelemetry when it is imported.

A span of the request (HTTP semantic conventions, https://opentelemetry.io/docs/specs/semconv/http/http-spans/),
joined to the caller's trace. Below it a span for each stage of a search; the stage ``rerank`` is a reranker
span of OpenInference (https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md).
Requests to Elasticsearch have the spans that elasticsearch-py makes, below those of the stages.

No span holds a query or a text, unless ``texts`` asks for them, and none the address of a caller.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from starlette.types import Scope

from ...scores import as_logits, ranked
from ...types import Scores
from ..record import Record
from .log import RELEASE

SCOPE = "es-rerank"
"""The name of the instrumentation scope of the sidecar's spans."""

_MOST_DOCUMENTS = 20
"""Most documents whose texts are in a span. A span has at most 128 attributes by default, and drops others
when it has more."""


for _name in ("attributes", "baggage", "propagators", "trace", "util"):
    # Their warnings quote the headers of callers.
    logging.getLogger(f"opentelemetry.{_name}").setLevel(logging.ERROR)


class Spans:
    """Makes the spans of requests.

    ``provider``: where they go; None for the provider of this process. ``texts``: whether the spans of
    rerankers hold queries and texts.
    """

    def __init__(self, provider: TracerProvider | None = None, *, texts: bool = False) -> None:
        self._tracer = trace.get_tracer(SCOPE, RELEASE, tracer_provider=provider)
        self._texts = texts

    def request(self, scope: Scope, method: str) -> RequestSpan:
        """Return the span of a request, which continues the trace that its headers name."""
        return RequestSpan(self._tracer, scope, method, texts=self._texts)


class _Current:
    """A span that is the current one as long as the block runs. Errors are named, not quoted: their messages
    may hold data of the caller.
    """

    def __init__(self, span: Span, parent: context.Context | None = None) -> None:
        self.span = span
        self._parent = parent
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self.span, self._parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if kind is not None:
            self.span.set_attribute("error.type", kind.__qualname__)
            self.span.set_status(Status(StatusCode.ERROR))
        self._end()

    def _end(self) -> None:
        self.span.end()


class RequestSpan(_Current):
    """The span of a request. It ends when its record is complete (``end``)."""

    def __init__(self, tracer: Tracer, scope: Scope, method: str, *, texts: bool) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = propagate.extract(headers)
        known = {
            "http.request.method": "_OTHER" if method == "other" else method,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", ""),
        }
        server = scope.get("server")
        known |= {"server.address": server[0], "server.port": server[1]} if server else {}
        super().__init__(
            tracer.start_span(method, context=parent, kind=SpanKind.SERVER, attributes=known), parent
        )
        self._tracer, self._texts = tracer, texts

    def _end(self) -> None:
        return

    @property
    def trace_id(self) -> str:
        """The id of the trace, as ``traceparent`` writes it."""
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """The id of this span."""
        return trace.format_span_id(self.span.get_span_context().span_id)

    def child(self, name: str) -> _Current:
        """Return the span of a stage. ``elasticsearch``: a search that goes to Elasticsearch as a whole."""
        if name == "elasticsearch":
            known = {"db.system.name": "elasticsearch"}
            return _Current(self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known))
        return _Current(self._tracer.start_span(name))

    def reranker(self, model: str, query: str, texts: Sequence[str]) -> _Reranker:
        """Return the span of a reranker."""
        return _Reranker(self._tracer.start_span("rerank"), model, query, texts, texts_too=self._texts)

    def onward(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers of a request to Elasticsearch, with the current span instead of the caller's."""
        ours = propagate.get_global_textmap().fields
        here: dict[str, str] = {}
        propagate.inject(here)
        return [pair for pair in headers if pair[0].lower() not in ours] + list(here.items())

    def end(self, record: Record) -> None:
        """End the span with what the record says."""
        span = self.span
        if span.is_recording():
            method = "HTTP" if record.method == "other" else record.method
            if record.route != "unmatched":
                span.update_name(f"{method} {record.route}")
                span.set_attribute("http.route", record.route)
            span.set_attribute("http.response.status_code", record.status)
            span.set_attribute("http.request.body.size", record.bytes_in)
            span.set_attribute("http.response.body.size", record.bytes_out)
            span.set_attribute("es_rerank.outcome", record.outcome)
            span.set_attribute("es_rerank.documents", record.documents)
            span.set_attribute("es_rerank.tokens", record.tokens)
            if record.status >= 500:  # of a server span, statuses 4xx are no errors
                kind = str(record.status) if record.error is None else type(record.error).__qualname__
                span.set_attribute("error.type", kind)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class _Reranker(_Current):
    """The span of a reranker, in OpenInference's words."""

    def __init__(self, span: Span, model: str, query: str, texts: Sequence[str], *, texts_too: bool) -> None:
        super().__init__(span)
        self._texts: Sequence[str] = ()
        if not span.is_recording():
            return
        span.set_attribute("openinference.span.kind", "RERANKER")
        span.set_attribute("reranker.model_name", model)
        span.set_attribute("reranker.top_k", len(texts))
        if texts_too:
            self._texts = texts
            span.set_attribute("reranker.query", _utf8(query))
            for place, text in enumerate(texts[:_MOST_DOCUMENTS]):
                span.set_attribute(f"reranker.input_documents.{place}.document.content", _utf8(text))

    def scored(self, scores: Scores) -> None:
        """Record the best texts and their scores, if texts are asked for."""
        if not self._texts:
            return
        logits = np.where(scores.done, as_logits(scores), -np.inf)
        for place, position in enumerate(list(ranked(logits))[:_MOST_DOCUMENTS]):
            if not scores.done[position]:
                return
            name = f"reranker.output_documents.{place}.document"
            self.span.set_attribute(f"{name}.content", _utf8(self._texts[position]))
            self.span.set_attribute(f"{name}.score", float(scores.values[position]))


def _utf8(text: str) -> str:
    """Return a text that can be exported. Half a surrogate pair cannot, and would keep other spans back."""
    return text.encode("utf-8", "replace").decode()
