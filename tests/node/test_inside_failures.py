"""Searches inside Elasticsearch whose sidecar does not answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from app_client import app_client
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch

from es_rerank import DeadlineError, RerankClient
from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

INDEX = "test-inside-failures"
LEAF = {"standard": {"query": {"match": {"text": "treaty king"}}}}
TEXTS = ("the king signed the treaty", "a king", "a treaty of stones and rivers and moons")

# The client of Elasticsearch repeats the header that says what failed as a warning.
pytestmark = pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")


def reranked(**more: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {"retriever": LEAF, "field": "text", "inference_text": "the king", **more}
    }


@pytest.fixture(scope="module")
def filled(plugin_es: Elasticsearch) -> Iterator[Elasticsearch]:
    plugin_es.options(ignore_status=404).indices.delete(index=INDEX)
    for place, text in enumerate(TEXTS):
        plugin_es.index(index=INDEX, id=str(place), document={"text": text}, refresh=True)
    yield plugin_es
    plugin_es.indices.delete(index=INDEX)


@pytest.fixture
def silent(sidecar_port: int) -> Iterator[None]:
    """A sidecar that says how it is, and gives no scores until the test ends."""
    info = json.dumps({"version": 1, "release": "1", "models": ["word-overlap"], "embedder": None}).encode()
    waiting: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", sidecar_port)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                head = connection.recv(65536)
                if b"/_rerank/v1/info" not in head:
                    waiting.append(connection)
                    continue
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                    b"content-length: " + str(len(info)).encode() + b"\r\n\r\n" + info
                )
                connection.close()

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        for connection in waiting:
            connection.close()
    thread.join()


def test_the_deadline_of_the_caller_ends_the_search(filled: Elasticsearch, silent: None) -> None:
    client = RerankClient(filled, reranker=WordOverlapReranker(), plugin="always")
    with pytest.raises(DeadlineError, match="the deadline came before") as caught:
        client.search(index=INDEX, retriever=reranked(), timeout_s=1.0)
    assert caught.value.status_code == 504  # type: ignore[attr-defined]


def test_a_late_sidecar_leaves_time_for_the_first_stage(filled: Elasticsearch, silent: None) -> None:
    client = RerankClient(filled, reranker=WordOverlapReranker(), plugin="always")
    answer = client.search(index=INDEX, retriever=reranked(allow_rerank_failures=True), timeout_s=5.0)
    assert answer["rerank"]["status"] == "first_stage"
    assert answer["hits"]["hits"]


# The plugin asks no sidecar for five seconds after five failures: what follows here fails in either way.


def test_the_first_stage_stays_where_failures_are_allowed(filled: Elasticsearch) -> None:
    client = RerankClient(filled, plugin="always")
    answer = client.search(index=INDEX, retriever=reranked(allow_rerank_failures=True))
    assert answer["rerank"]["status"] == "first_stage"
    assert answer["rerank"]["reason"].startswith("the reranker ")
    plain = filled.search(index=INDEX, retriever=LEAF)
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == [hit["_id"] for hit in plain["hits"]["hits"]]


def test_the_error_of_the_plugin_passes_through(filled: Elasticsearch) -> None:
    client = RerankClient(filled.options(max_retries=0), plugin="always")
    with pytest.raises(ApiError, match=r"50[23]"):
        client.search(index=INDEX, retriever=reranked())


def test_auto_runs_outside_with_its_own_models(filled: Elasticsearch) -> None:
    client = RerankClient(filled, reranker=WordOverlapReranker())
    answer = client.search(index=INDEX, retriever=reranked())
    assert "inside" not in answer["rerank"]
    assert answer["rerank"]["status"] == "reranked"


async def test_the_gateway_says_so_too(filled: Elasticsearch, plugin_node: Node) -> None:
    model = WordOverlapReranker()
    service = Service(
        AsyncElasticsearch(plugin_node.url), lambda: ({model.name: model}, None), plugin="always"
    )
    async with app_client(service) as client:
        body = {"retriever": reranked(allow_rerank_failures=True)}
        answer = await client.post(f"/{INDEX}/_search", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rerank"]["status"] == "first_stage"
