"""A sidecar process that exports its spans to a receiver of OTLP over HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from http_servers import Quiet, serving_in_thread
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.node import Node

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "privileged"


@contextmanager
def receiver() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Receive spans; yields the address and what came."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            data = self.rfile.read(int(self.headers["content-length"]))
            plain = gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data
            received.append(ExportTraceServiceRequest.FromString(plain))
            self.send_response(200)
            self.end_headers()

    with serving_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, received


def spans_of(received: list[ExportTraceServiceRequest]) -> list[Span]:
    return [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def said(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


def test_a_real_sidecar_exports_one_trace_over_http(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    fill(es, index, [("Title", f"{SECRET} text", 2000), ("Other", "words", 2001)])
    tree = {
        "text_similarity_reranker": {"retriever": {"standard": {}}, "field": "text", "inference_text": SECRET}
    }
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with receiver() as (address, received):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_SERVICE_NAME": "tested"}
        with sidecar(node.url, *models, tmp_path / "log", environment=variables) as (url, _):
            answer = httpx.post(f"{url}/{index}/_search", json={"retriever": tree}, headers=headers)
            assert answer.json()["rerank"]["status"] == "reranked"
            broken = {"query": {SECRET: {}}, "retriever": tree}
            httpx.post(f"{url}/{index}/_search?q={SECRET}", json=broken, headers=headers)
            httpx.post(f"{url}/{index}/_search?q={SECRET}", json={}, headers=headers)
        # The process has ended, so that its spans are sent.
    spans = [span for span in spans_of(received) if span.trace_id.hex() == TRACE]
    requests = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.parent_span_id.hex() for span in requests] == [PARENT] * 3, "one span for each request"
    first = requests[0]
    stages = {span.span_id: span for span in spans if span.parent_span_id == first.span_id}
    assert {span.name for span in stages.values()} >= {"first_stage", "rerank", "page"}
    databases = [span for span in spans if said(span).get("db.system.name") == "elasticsearch"]
    below = {stages[span.parent_span_id].name for span in databases if span.parent_span_id in stages}
    assert {"first_stage", "page"} <= below, "the client's own spans are below those of the stages"
    (reranker,) = (span for span in spans if said(span).get("openinference.span.kind") == "RERANKER")
    assert said(reranker)["reranker.model_name"]
    services = {
        each.value.string_value
        for request in received
        for resource in request.resource_spans
        for each in resource.resource.attributes
        if each.key == "service.name"
    }
    assert services == {"tested"}
    sent = b"".join(request.SerializeToString() for request in received)
    assert SECRET.encode() not in sent
    assert index.encode() not in sent
