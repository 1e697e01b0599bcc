"""What the metrics, the status page and the log of a sidecar process tell of real models and connections."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from observed_apps import read_samples
from server import is_ready, reserved_port, sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.node import Node

TEXTS = ["a red fox runs", "the fox", "hens sleep in the barn all night"]


@pytest.fixture(scope="module")
def served(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    told = {"ES_RERANK_LOG_FORMAT": "json"}
    with sidecar(node.url, *models, folder / "log", environment=told) as (address, _):
        yield address, folder / "log"


def total(address: str, name: str) -> float:
    """Return the sum of a metric over its labels."""
    found = read_samples(httpx.get(f"{address}/metrics").text)
    return sum(value for (named, _), value in found.items() if named == name)


def lines(log: Path, route: str) -> list[dict[str, Any]]:
    """Return the requests to a route in the log."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry.get("es_rerank.route") == route]


def awaited(log: Path, route: str, count: int) -> list[dict[str, Any]]:
    """Return the requests to a route in the log when there are ``count``. A thread writes the log."""
    until(lambda: len(lines(log, route)) >= count)
    return lines(log, route)


def test_the_parts_of_a_models_work_are_told(served: tuple[str, Path]) -> None:
    address, log = served
    parts = ("tokenization", "queue", "inference")
    names = [
        "te_request_success",
        "te_batch_next_size_sum",
        "es_rerank_tokens_total",
        "es_rerank_score_cache_misses_total",
        *(f"te_request_{part}_duration_count" for part in parts),
    ]
    before = {name: total(address, name) for name in names}
    assert httpx.post(f"{address}/rerank", json={"query": "red fox", "texts": TEXTS}).status_code == 200
    more = {name: total(address, name) - before[name] for name in names}
    tokens = more.pop("es_rerank_tokens_total")
    assert more == {
        "te_request_success": 1,
        "te_batch_next_size_sum": 3,
        "es_rerank_score_cache_misses_total": 3,
        **{f"te_request_{part}_duration_count": 1 for part in parts},
    }
    (line,) = awaited(log, "/rerank", 1)
    assert line["es_rerank.tokens"] == tokens > 3 * 4
    assert set(line["es_rerank.parts"]) == set(parts)
    embedded = {"input": TEXTS}
    name = httpx.get(f"{address}/_rerank/status").json()["embedder"]["name"]
    answer = httpx.post(f"{address}/_inference/text_embedding/{name}", json=embedded)
    assert answer.status_code == 200
    (line,) = awaited(log, "/_inference/text_embedding/{inference_id}", 1)
    assert (line["es_rerank.documents"], line["es_rerank.outcome"]) == (3, "answered")
    assert line["es_rerank.tokens"] > 3


def test_a_search_with_a_query_vector_has_its_stages(
    served: tuple[str, Path], es: Elasticsearch, index: str
) -> None:
    address, log = served
    fill(es, index, [("Title", text, 2000) for text in TEXTS])
    tree = {
        "text_similarity_reranker": {
            "retriever": {"standard": {}},
            "field": "text",
            "inference_text": "red fox",
        }
    }
    answer = httpx.post(f"{address}/{index}/_search", json={"retriever": tree})
    assert answer.json()["rerank"]["status"] == "reranked"
    (line,) = awaited(log, "/{index}/_search", 1)
    assert line["es_rerank.outcome"] == "reranked"
    assert line["es_rerank.documents"] == 3
    assert set(line["es_rerank.stages"]) == set(answer.json()["rerank"]["milliseconds"]) - {"total"}
    assert index not in log.read_text().partition("{")[2]


def test_a_caller_who_closes_the_connection_is_a_499(served: tuple[str, Path]) -> None:
    address, log = served
    body = json.dumps(
        {"query": "q", "texts": ["long " * 400 + str(number) for number in range(1000)]}
    ).encode()
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        head = (
            "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"X-Opaque-Id: leaves\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        until(lambda: total(address, "es_rerank_running") > 0, "its work has begun")

    def left() -> list[dict[str, Any]]:
        return [line for line in lines(log, "/rerank") if line.get("es_rerank.opaque_id") == "leaves"]

    until(left)
    (line,) = left()
    assert line["http.response.status_code"] == 499
    assert line["es_rerank.outcome"] == "left"
    assert set(line["es_rerank.stages"]) == {"rerank"}
    assert total(address, "es_rerank_calls_dropped_total") >= 1


def test_connections_and_this_process_are_told(served: tuple[str, Path]) -> None:
    address, _ = served
    with httpx.Client() as client:
        client.get(f"{address}/healthz")
        assert total(address, "es_rerank_connections") >= 2
        said = client.get(f"{address}/_rerank/status").json()
    assert said["connections"]["busy"] >= 1
    assert said["models"][0]["kind"] == "cross-encoder"
    assert said["models"][0]["max_length"] > 0
    assert said["queue"]["threads"] > 0
    assert set(said["score_cache"]) == {"entries", "hits", "misses"}
    for name in ("process_resident_memory_bytes", "process_open_fds", "es_rerank_rerankers"):
        assert total(address, name) > 0


@pytest.mark.long
def test_neither_a_log_that_nobody_reads_nor_a_lost_collector_holds_up_a_request(
    node: Node, tmp_path: Path
) -> None:
    models = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")
    with reserved_port() as port, reserved_port() as nobody:
        address = f"http://127.0.0.1:{port}"
        options = [
            *("--port", str(port), "--elasticsearch-url", node.url),
            *("--reranker", str(models[0]), "--embedder", str(models[1])),
        ]
        variables = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody}"}
        command = [sys.executable, "-m", "es_rerank", "serve", *options]
        with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE) as process:
            with httpx.Client(timeout=60) as caller:
                until(lambda: is_ready(address, process))
                for _ in range(1_000):  # lines of 200 bytes, and a pipe holds 65,536
                    answer = caller.post(f"{address}/rerank", json={"query": "q", "texts": ["a"]})
                    assert answer.status_code == 200
            process.terminate()
            assert process.wait(60) == 0
