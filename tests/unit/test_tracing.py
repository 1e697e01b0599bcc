"""OpenTelemetry spans of requests: joined to the caller's trace, one for each stage, without texts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from observed_apps import LENIENT, SEARCH, TEXTS, answering, observed
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanContext, SpanKind, StatusCode
from scripted_elasticsearch import Reply

from es_rerank.errors import MissingExtraError, SettingsError
from es_rerank.sidecar.observation.span_export import CleaningExporter
from es_rerank.sidecar.observation.spans import Spans as RequestSpans
from es_rerank.sidecar.observation.tracing import configure_tracing
from es_rerank.sidecar.service import Observing
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Scores

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=7"}


class Spans:
    """Where spans go, and those that came, without those of health checks."""

    def __init__(self, *, cleaned: bool = False) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider()
        exporter = CleaningExporter(self.memory) if cleaned else self.memory
        self.provider.add_span_processor(SimpleSpanProcessor(exporter))

    def observing(self, **options: Any) -> Observing:
        return Observing(tracer_provider=self.provider, **options)

    def of(self, name: str) -> ReadableSpan:
        (found,) = (span for span in self.memory.get_finished_spans() if span.name == name)
        return found

    def text(self) -> str:
        return "".join(span.to_json() for span in self.memory.get_finished_spans())


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


async def test_a_request_is_a_span_in_the_callers_trace_with_a_span_for_each_stage() -> None:
    spans = Spans()
    async with observed(spans.observing()) as (caller, _):
        answer = await caller.post("/articles/_search", json=SEARCH, headers=CALLER)
    request = spans.of("POST /{index}/_search")
    assert request.kind is SpanKind.SERVER
    assert request.parent is not None
    assert (f"{request.parent.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    said = attributes(request)
    assert said["http.request.method"] == "POST"
    assert said["http.route"] == "/{index}/_search"
    assert said["http.response.status_code"] == 200
    assert said["http.response.body.size"] == len(answer.content)
    assert said["es_rerank.outcome"] == "reranked"
    below = [
        span
        for span in spans.memory.get_finished_spans()
        if span.parent is not None and span.parent.span_id == context(request).span_id
    ]
    assert {span.name for span in below} == set(answer.json()["rerank"]["milliseconds"]) - {"total"}
    assert {context(span).trace_id for span in below} == {int(TRACE, 16)}


async def test_texts_are_in_spans_only_if_they_are_asked_for() -> None:
    spans = Spans()
    async with observed(spans.observing()) as (caller, _):
        await caller.post("/articles/_search", json=SEARCH, headers=CALLER)
    said = attributes(spans.of("rerank"))
    assert said == {
        "openinference.span.kind": "RERANKER",
        "reranker.model_name": "word-overlap",
        "reranker.top_k": len(TEXTS),
    }
    assert "fox" not in spans.text()
    spans = Spans()
    async with observed(spans.observing(trace_texts=True)) as (caller, _):
        await caller.post("/articles/_search", json=SEARCH)
    said = attributes(spans.of("rerank"))
    assert said["reranker.query"] == "red fox"
    assert [said[f"reranker.input_documents.{i}.document.content"] for i in range(3)] == list(TEXTS)
    assert [said[f"reranker.output_documents.{i}.document.content"] for i in range(3)] == list(TEXTS)
    scores = [said[f"reranker.output_documents.{i}.document.score"] for i in range(3)]
    assert scores == sorted(scores, reverse=True)


def test_many_texts_and_half_characters_can_be_exported() -> None:
    spans = Spans()
    request = RequestSpans(spans.provider, texts=True).request({"type": "http", "headers": []}, "POST")
    texts = ["\ud800"] + ["t"] * 500
    with request, request.reranker("model", "\ud800", texts) as span:
        span.scored(WordOverlapReranker().score("t", texts))
    said = attributes(spans.of("rerank"))
    assert said["openinference.span.kind"] == "RERANKER", "it is not dropped for lack of room"
    assert len(said) < 128
    spans.text().encode()


async def test_requests_to_elasticsearch_carry_the_trace_on() -> None:
    spans = Spans()
    async with observed(spans.observing()) as (caller, script):
        await caller.post("/articles/_search", json=SEARCH, headers={**CALLER, "x-opaque-id": "7"})
    request = spans.of("POST /{index}/_search")
    searches = [sent for sent in script.headers if sent.get("x-opaque-id") == "7"]
    assert searches
    for sent in searches:
        _, trace, parent, flags = sent["traceparent"].split("-")
        assert (trace, flags) == (TRACE, "01")
        assert parent == f"{context(request).span_id:016x}"
        assert sent["tracestate"] == "vendor=7"
    async with observed() as (caller, script):  # nothing is traced here
        await caller.post("/articles/_search", json=SEARCH, headers=CALLER)
    assert {sent["traceparent"] for sent in script.headers if "traceparent" in sent} == {
        CALLER["traceparent"]
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baggage", "attorney-client-privileged" * 400),
        ("baggage", "attorney client privileged"),
        ("baggage", 'k=attorney"client privileged'),
        ("tracestate", "ATTORNEY=client privileged"),
        ("tracestate", "a=privileged,a=privileged"),
        ("traceparent", "00-privileged"),
    ],
)
async def test_trace_headers_that_are_wrong_are_not_logged(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    spans = Spans()
    async with observed(spans.observing()) as (caller, _):
        answer = await caller.post("/articles/_search", json=SEARCH, headers={**CALLER, name: value})
    assert answer.status_code == 200
    assert "privileged" not in caplog.text


async def test_errors_are_named_and_not_quoted() -> None:
    secret = "attorney-client-privileged"

    class Failing(WordOverlapReranker):
        """Fails with the query in its message."""

        async def ascore(
            self, query: str, passages: Sequence[str], *, deadline: float | None = None
        ) -> Scores:
            if query != "ready":
                raise RuntimeError(secret)
            return await super().ascore(query, passages)

    spans = Spans()
    async with observed(spans.observing(), reranker=Failing()) as (caller, _):
        assert (await caller.post("/articles/_search", json=SEARCH)).status_code == 500
        assert (await caller.post("/articles/_search", json={"retriever": LENIENT})).status_code == 200
    failed = [span for span in spans.memory.get_finished_spans() if span.name == "rerank"]
    assert [attributes(span)["error.type"] for span in failed] == ["RuntimeError"] * 2
    requests = [span for span in spans.memory.get_finished_spans() if span.kind is SpanKind.SERVER]
    searches = [span for span in requests if span.name.endswith("_search")]
    assert [span.status.status_code for span in searches] == [StatusCode.ERROR, StatusCode.UNSET]
    assert secret not in spans.text()


async def test_the_spans_of_an_msearch_are_those_of_its_searches() -> None:
    spans = Spans()
    lines = f"{{}}\n{json.dumps(SEARCH)}\n" * 2 + '{}\n{"query": {"match_all": {}}}\n'
    async with observed(spans.observing()) as (caller, _):
        await caller.post(
            "/articles/_msearch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
    request = context(spans.of("POST /{index}/_msearch")).span_id
    names = [span.name for span in spans.memory.get_finished_spans() if span.parent]
    assert names.count("rerank") == 2
    assert names.count("elasticsearch") == 1
    assert {span.parent.span_id for span in spans.memory.get_finished_spans() if span.parent} == {request}


SECRET = "attorney-client-privileged"


def quote(provider: TracerProvider) -> None:
    """Make a span as libraries make them, with all that a caller wrote."""
    tracer = provider.get_tracer("library")
    with tracer.start_as_current_span(f"GET /{SECRET}/_search") as span:
        for name in (
            "client.address",
            "db.collection.name",
            "db.operation.parameter.index",
            "db.query.text",
            "http.target",
            "url.full",
            "url.query",
            "of.the.next.release",
        ):
            span.set_attribute(name, f"http://es:9200/{SECRET}/_search?q={SECRET}")
        span.set_attribute("http.request.method", "GET")
        span.record_exception(ValueError(SECRET))
        span.set_status(StatusCode.ERROR, f"ValueError: {SECRET}")
        span.add_link(context(tracer.start_span("other")), {"asked": SECRET})  # type: ignore[arg-type]


def is_clean(spans: Spans) -> None:
    assert SECRET not in spans.text()
    kept = spans.of("GET")
    assert attributes(kept) == {"http.request.method": "GET"}
    assert kept.status.status_code is StatusCode.ERROR
    assert [dict(event.attributes or {}) for event in kept.events] == [{"exception.type": "ValueError"}]
    assert len(kept.links) == 1


def test_an_exporter_leaves_out_what_libraries_quote() -> None:
    spans = Spans(cleaned=True)
    quote(spans.provider)
    is_clean(spans)


@pytest.mark.parametrize("texts", [False, True])
def test_a_provider_that_another_program_has_set_leaves_it_out_too(
    texts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Spans()
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: spans.provider)
    before = spans.provider.get_tracer("library")
    for _ in range(2):
        configure_tracing(texts=texts)
    before.start_span("made", attributes={"db.query.text": SECRET}).end()
    assert attributes(spans.of("made")) == ({"db.query.text": SECRET} if texts else {})
    quote(spans.provider)
    if texts:
        assert SECRET in spans.text()
    else:
        is_clean(spans)


def test_a_provider_whose_spans_cannot_be_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        """A provider of another maker."""

    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", Foreign)
    with pytest.raises(SettingsError, match=r"Foreign.*ES_RERANK_TRACE_TEXTS=true"):
        configure_tracing(texts=False)
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", NoOpTracerProvider)
    configure_tracing(texts=False)


async def test_no_span_has_the_address_of_a_caller() -> None:
    spans = Spans(cleaned=True)
    async with observed(spans.observing()) as (caller, _):
        await caller.post("/articles/_search", json=SEARCH)
    assert "client.address" not in spans.text()
    assert "articles" not in spans.text()


async def test_a_status_of_elasticsearch_is_no_error_of_the_sidecar() -> None:
    def answer(asked: str, body: Any) -> Reply:
        missing = Reply(status=404, body={"error": {"type": "index_not_found_exception"}, "status": 404})
        return missing if asked == "POST /articles/_search" else answering(asked, body)

    spans = Spans()
    async with observed(spans.observing(), answer=answer) as (caller, _):
        assert (await caller.post("/articles/_search", json=SEARCH)).status_code == 404
    request = spans.of("POST /{index}/_search")
    assert request.status.status_code is StatusCode.UNSET
    assert attributes(spans.of("first_stage"))["error.type"] == "NotFoundError"


def test_nothing_is_traced_unless_a_variable_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    configure_tracing(texts=False)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    configure_tracing(texts=False)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER: no exporter"):
        configure_tracing(texts=False)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    configure_tracing(texts=False)
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setattr("es_rerank.sidecar.observation.tracing.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[otel\]"):
        configure_tracing(texts=False)


def test_the_sidecar_runs_without_the_extra() -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from elasticsearch import AsyncElasticsearch
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service
create_app(Service(AsyncElasticsearch("http://x:1"), dict))
print("made")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "made\n"
