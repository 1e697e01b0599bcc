"""A sidecar as a process, spoken to in bytes: lengths that lie, and requests that cost more than they weigh.

Each expensive body is sent while another connection asks ``/healthz``; the limit in time is a guard,
and no measurement.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.node import Node

GUARD_S = 120.0
TREE: dict[str, Any] = {"rrf": {"retrievers": [{"standard": {"query": {"match_all": {}}}}, {"standard": {}}]}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture(scope="module")
def address(node: Node, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sidecar(node.url, *models, tmp_path_factory.mktemp("sidecar") / "log") as (url, _):
        yield url


@pytest.fixture(scope="module")
def passing_through(
    node: Node, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a sidecar that sends all other paths on to Elasticsearch."""
    log = tmp_path_factory.mktemp("passing-through") / "log"
    with sidecar(node.url, *models, log, extra=["--pass-through"]) as (url, _):
        yield url


def exchange(address: str, *requests: bytes) -> list[bytes]:
    """Send each request on a connection of its own, one after the other;
    return what came back before the server's silence.
    """
    parts = urlsplit(address)
    answers = []
    for request in requests:
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(request)
            answers.append(connection.recv(65536))
    return answers


def head_of(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    "first",
    [
        "HEAD /INDEX?pretty=zz HTTP/1.1|Content-Length: LENGTH|",
        "HEAD /INDEX?error_trace=zz HTTP/1.1|Content-Length: LENGTH|",
        "GET / HTTP/1.1|Content-Length: LENGTH|",
        (
            "POST /INDEX/_search?pretty=zz HTTP/1.1|Content-Type: application/json|Content-Length: LENGTH|"
            "Transfer-Encoding: chunked|2\r\n{}\r\n0\r\n\r\n"
        ),
        (
            "POST /INDEX/_msearch?pretty=zz HTTP/1.1|Content-Type: application/json|Content-Length: LENGTH|"
            "Transfer-Encoding: chunked|1\r\n\n\r\n0\r\n\r\n"
        ),
        "POST /INDEX/_pit?keep_alive=zz HTTP/1.1|Content-Length: LENGTH|Transfer-Encoding: chunked|0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("asked", ["address", "passing_through"])
def test_no_length_of_a_caller_hides_a_request_to_elasticsearch(
    request: pytest.FixtureRequest, es: Elasticsearch, index: str, node: Node, first: str, asked: str
) -> None:
    """Were the caller's length sent on without its body,
    Elasticsearch would read the next caller's body as requests.
    """
    address: str = request.getfixturevalue(asked)
    fill(es, index)
    victim = f"{index}-victim"
    es.indices.create(index=victim)
    hidden = f"DELETE /{victim} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    outer = (
        f"POST /{index}/_search HTTP/1.1\r\nHost: {urlsplit(node.url).netloc}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(hidden)}\r\n\r\n"
    )
    line, *headers, body = first.replace("INDEX", index).replace("LENGTH", str(len(outer))).split("|")
    second = (
        head_of(
            f"POST /{index}/_search HTTP/1.1",
            "Content-Type: application/json",
            f"Content-Length: {len(hidden)}",
        )
        + hidden
    )
    for _ in range(3):
        exchange(address, head_of(line, *headers) + body.encode(), second)
    assert es.indices.exists(index=victim)
    assert httpx.get(f"{address}/healthz", timeout=30).status_code == 200


def test_a_length_without_a_body_holds_no_other_caller(address: str, node: Node) -> None:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as waiting:
        waiting.sendall(head_of("GET / HTTP/1.1", "Content-Length: 60"))
        assert httpx.get(address, timeout=30).status_code == httpx.get(node.url).status_code


def test_a_length_and_chunks_together_are_refused(address: str) -> None:
    for path in ("/rerank", "/_search", "/any/_msearch", "/rescore"):
        (answer,) = exchange(
            address,
            head_of(f"POST {path} HTTP/1.1", "Content-Length: 2", "Transfer-Encoding: chunked")
            + b"2\r\n{}\r\n0\r\n\r\n",
        )
        assert answer.split(b" ", 2)[1] in (b"400", b"422"), answer


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def reranker(**more: Any) -> dict[str, Any]:
    content = {"retriever": {"standard": {}}, "field": "text", "inference_text": "q", **more}
    return {"retriever": {"text_similarity_reranker": content}}


def tree_of(child: dict[str, Any]) -> bytes:
    return json.dumps({"retriever": {"rrf": {"retrievers": [child]}}}).encode()


HITS = [{"_id": str(number), "_source": {"text": "a"}} for number in range(500)]
SEPARATORS = [r"\pL" * 66] * 32
EXPENSIVE: dict[str, tuple[str, bytes]] = {
    "a million numbers as texts": ("/rerank", json.dumps({"query": "q", "texts": [1] * 1_000_000}).encode()),
    "a million keys": ("/rerank", json.dumps({f"key{number}": 1 for number in range(500_000)}).encode()),
    "numbers to embed": ("/_inference/text_embedding/any", json.dumps({"input": [1] * 500_000}).encode()),
    "numbers to rank": (
        "/_inference/rerank/any",
        json.dumps({"query": "q", "input": [1] * 500_000}).encode(),
    ),
    "many fields of many hits": (
        "/rescore",
        json.dumps({"query": "q", "field": ["a"] * 900, "response": {"hits": {"hits": HITS}}}).encode(),
    ),
    "a deep field": (
        "/rescore",
        json.dumps(
            {"query": "q", "field": "a" + ".a" * 1_000_000, "response": {"hits": {"hits": HITS}}}
        ).encode(),
    ),
    "many hits": (
        "/rescore",
        json.dumps({"query": "q", "field": "text", "response": {"hits": {"hits": HITS * 300}}}).encode(),
    ),
    "wrong filters": ("/any/_search", json.dumps(reranker(filter=[1] * 500_000)).encode()),
    "empty filters": ("/any/_search", json.dumps(reranker(filter=[{}] * 500_000)).encode()),
    "many fields": ("/any/_search", json.dumps(reranker(field=["text"] * 500_000)).encode()),
    "a long vector": (
        "/any/_search",
        json.dumps(
            {
                "retriever": {
                    "rrf": {"retrievers": [{"knn": {"field": "v", "k": 1, "query_vector": ["1"] * 500_000}}]}
                }
            }
        ).encode(),
    ),
    "a long sort": (
        "/any/_search",
        json.dumps(
            {
                "retriever": {
                    "pinned": {"ids": ["1"], "retriever": {"standard": {"sort": ["_score"] * 500_000}}}
                }
            }
        ).encode(),
    ),
    "many ids": (
        "/any/_search",
        json.dumps(
            {"retriever": {"pinned": {"ids": ["1"] * 500_000, "retriever": {"standard": {}}}}}
        ).encode(),
    ),
    "many rescorers": (
        "/any/_search",
        json.dumps(
            {
                "retriever": {
                    "rrf": {
                        "retrievers": [
                            {"rescorer": {"retriever": {"standard": {}}, "rescore": [{}] * 300_000}}
                        ]
                    }
                }
            }
        ).encode(),
    ),
    "empty lines": ("/_msearch", b'{}\n{"retriever":1}\n' + b"\n" * 4_000_000),
    "many searches": ("/_msearch", lines(*[{}, {"retriever": {"rrf": {}}}] * 5_000)),
    "many costly patterns": (
        "/_msearch",
        lines(
            *[
                {},
                reranker(
                    chunk_rescorer={
                        "chunking_settings": {
                            "strategy": "recursive",
                            "max_chunk_size": 10,
                            "separators": SEPARATORS,
                        }
                    }
                ),
            ]
            * 100
        ),
    ),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_what_is_too_much_is_refused_while_others_are_served(address: str, name: str) -> None:
    """A refusal, not an answer that took a minute; the healthy connection is served before it,
    in between, and after it.
    """
    path, body = EXPENSIVE[name]
    answers: list[httpx.Response] = []
    sending = threading.Thread(
        target=lambda: answers.append(
            httpx.post(
                address + path, content=body, headers={"content-type": "application/json"}, timeout=GUARD_S
            )
        )
    )
    sending.start()
    with httpx.Client(base_url=address, timeout=GUARD_S / 4) as healthy:
        while sending.is_alive():
            assert healthy.get("/healthz").status_code == 200
    (answer,) = answers
    inside = answer.json()["responses"][0]["status"] if name == "many costly patterns" else answer.status_code
    assert inside in (400, 413, 422), answer.text[:300]
    assert len(answer.content) < 200_000


HALF = "\\ud800"
ODD = {
    "an unknown key": '{"retriever": TREE, "HALF": 1}',
    "a key of a retriever": '{"retriever": {"rrf": {"retrievers": [], "HALF": 1}}}',
    "an inference id": json.dumps(reranker(inference_id="HALF")),
    "a field": json.dumps(reranker(field="HALF")),
    "a size": '{"retriever": TREE, "size": "HALF"}',
    "a weight": '{"retriever": {"linear": {"retrievers": [{"retriever": {"standard": {}}, "weight": "'
    + "1" * 400
    + '"}]}}}',
}


@pytest.mark.parametrize("name", ODD)
def test_half_a_character_and_an_endless_weight_are_the_callers_fault(address: str, name: str) -> None:
    body = ODD[name].replace("TREE", json.dumps(TREE)).replace("HALF", HALF)
    answer = httpx.post(
        f"{address}/any/_search", content=body, headers={"content-type": "application/json"}, timeout=60
    )
    assert answer.status_code == 400, answer.text[:300]


@pytest.mark.parametrize(
    "header",
    ['{"routing": [1, 2]}', '{"expand_wildcards": [true]}', '{"index": "\\ud800"}', '{"routing": "\\ud800"}'],
)
def test_odd_headers_of_msearch_are_the_callers_fault(address: str, header: str) -> None:
    answer = httpx.post(
        f"{address}/_msearch",
        content=f"{header}\n{json.dumps({'retriever': TREE})}\n",
        headers={"content-type": "application/x-ndjson"},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text[:300]


def test_a_header_that_cannot_be_sent_on_is_the_callers_fault(address: str) -> None:
    (answer,) = exchange(address, head_of("GET /any/_search HTTP/1.1", "X-Odd: a\x01b"))
    assert answer.split(b" ", 2)[1] == b"400", answer


def test_health_answers_head_and_no_redirect_names_a_foreign_host(address: str) -> None:
    assert httpx.head(f"{address}/healthz").status_code == 200
    assert httpx.head(f"{address}/readyz").status_code == 200
    for path in ("/info", "/rerank"):  # whether an index of that name exists is for Elasticsearch to say
        asked = httpx.head(address + path)
        assert (asked.status_code, asked.headers.get("x-elastic-product")) == (404, "Elasticsearch")
    answer = httpx.get(f"{address}/{uuid4().hex}/_search/", headers={"host": "evil.example"})
    assert (answer.status_code, "location" in answer.headers) == (404, False)
