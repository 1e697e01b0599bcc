"""Readers that go away: of an answer, of a log, of a response.
Only a command whose answer nobody reads ends by it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from ingests import an_ingest, everything, read
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.output import OUTPUT_CLOSED
from es_rerank.node import Node


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture(scope="module")
def running(
    node: Node, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a sidecar, and its process."""
    with sidecar(node.url, *models, tmp_path_factory.mktemp("sidecar") / "log") as started:
        yield started


def abandoned(address: str, request: bytes) -> None:
    """Send a request and close the connection before the answer: its first packet meets a closed socket,
    its second a broken pipe.
    """
    parts = urlsplit(address)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection.sendall(request)
    connection.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_rerank/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
        (
            b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 34\r\n\r\n"
            b'{"query":"q","texts":["a","b","c"]}'
        ),
    ],
    ids=["health", "pipelined", "rerank"],
)
def test_callers_that_leave_do_not_end_the_sidecar(
    running: tuple[str, subprocess.Popen[bytes]], request_bytes: bytes
) -> None:
    address, process = running
    for _ in range(25):
        abandoned(address, request_bytes)
    assert httpx.get(f"{address}/healthz").json() == {"status": "alive"}
    assert process.poll() is None


@contextmanager
def server_that_hangs_up() -> Iterator[str]:
    """An address whose server reads a little of each request and resets the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(64)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    "command", [["search", "any", "who signed"], ["ask", "any", "who signed"], ["ingest", "any", "SOURCE"]]
)
def test_a_server_that_hangs_up_is_an_error_of_one_sentence(
    models: tuple[Path, Path], tmp_path: Path, command: list[str]
) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text(json.dumps({"_id": "1", "text": "a text"}) + "\n")
    arguments = [str(source) if word == "SOURCE" else word for word in command]
    with server_that_hangs_up() as url:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "es_rerank",
                *arguments,
                "--elasticsearch-url",
                url,
                "--embedder",
                str(models[1]),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 5, done.stderr
    assert "no Elasticsearch answers" in done.stderr


def test_a_document_over_what_elasticsearch_takes_is_a_reject_and_the_others_are_indexed(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    """Elasticsearch refuses a body over 100 MB
    and closes the connection while the rest of it is being sent.
    """
    documents = [
        {"_id": "before", "text": "the king signed"},
        {"_id": "large", "text": "short", "padding": "x" * 130_000_000},
        {"_id": "after", "text": "the queen signed"},
    ]
    report = an_ingest(es).run(index, documents, rejects=tmp_path / "rejects.jsonl")
    assert (report.documents, report.failed) == (2, 1)
    (refused,) = read(report.rejects)
    assert refused["id"] == "large"
    assert "http.max_content_length" in refused["reason"]
    assert everything(es, index) == {"before", "after"}


@pytest.mark.parametrize("arguments", [["--json"], []], ids=["json", "table"])
def test_output_that_nobody_reads_ends_a_command_quietly(
    es: Elasticsearch, node: Node, index: str, models: tuple[Path, Path], arguments: list[str]
) -> None:
    fill(es, index)
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "search",
        index,
        "who signed",
        "--first-stage",
        "bm25",
        "--elasticsearch-url",
        node.url,
    ]
    reader, writer = os.pipe()
    os.close(reader)
    options = ["--reranker", str(models[0]), "--embedder", str(models[1]), *arguments]
    done = subprocess.run(
        [*command, *options], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, "")


def test_messages_that_nobody_reads_do_not_end_the_work(
    es: Elasticsearch, node: Node, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text(
        "".join(json.dumps({"_id": str(number), "text": "a text"}) + "\n" for number in range(20))
    )
    reader, writer = os.pipe()
    os.close(reader)
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "ingest",
        index,
        str(source),
        "--elasticsearch-url",
        node.url,
        "--embedder",
        str(models[1]),
    ]
    environment = os.environ | {
        "FORCE_COLOR": "1",
        "TTY_COMPATIBLE": "1",
    }  # the progress bar is drawn, as on a terminal
    done = subprocess.run(
        [*command, "--json"],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    os.close(writer)
    assert done.returncode == 0
    assert json.loads(done.stdout)["documents"] == 20
    assert es.count(index=index)["count"] == 20


def test_a_log_that_nobody_reads_does_not_break_a_request(node: Node, models: tuple[Path, Path]) -> None:
    """What reads the log of a container may end before it."""
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "serve",
        "--port",
        "0",
        "--reranker",
        str(models[0]),
        "--embedder",
        str(models[1]),
    ]
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*command, "--elasticsearch-url", node.url], stdout=writer, stderr=writer
    ) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as log:
            address = next(
                word.decode() for word in log.readline().split() if word.startswith(b"http://127.0.0.1")
            )
        with httpx.Client(base_url=address, timeout=30) as caller:
            while caller.get("/readyz").status_code != 200:
                pass
            for _ in range(3):
                # A lone surrogate cannot be written as UTF-8: whether refused or unexpected, it is answered.
                answer = caller.post(
                    "/_inference/rerank/any",
                    content=b'{"query": "\\ud800", "input": ["\\udfff"], "x\\ud800": 1}',
                )
                assert 400 <= answer.status_code <= 500
            assert caller.get("/healthz").status_code == 200
        process.terminate()
        process.wait(timeout=60)
