"""LangChain4j's Elasticsearch store, in a process of Java, whose only change is the address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from built_clients import answers_of, java
from client_table import client
from store_bodies import QUESTION, assert_refused, store_documents
from tried_stores import Got, Place, Ranked, alike, assert_ranked, placed, tried

pytestmark = [pytest.mark.long, pytest.mark.node, pytest.mark.timeout(900)]

TEXTS = {key: text for key, text, _ in store_documents()}
GREEN = {"bool": {"filter": [{"term": {"metadata.group.keyword": {"value": "green"}}}]}}


@pytest.fixture(scope="module", params=["outside", "inside"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    inside = request.param == "inside"
    node = request.getfixturevalue("plugin_node" if inside else "node")
    port = request.getfixturevalue("sidecar_port") if inside else None
    with placed(node, tmp_path_factory.mktemp("stores"), port) as found:
        yield found


@pytest.fixture(scope="module")
def store(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Got]:
    told_in = tmp_path_factory.mktemp("told") / "request.json"

    def run(url: str, told: dict[str, Any]) -> dict[str, Any]:
        # Elasticsearch takes an array of at least 128 numbers for a vector without being told.
        vector = {"type": "dense_vector", "dims": len(told["vectors"][QUESTION])}
        mappings = {"mappings": {"properties": {"vector": vector}}}
        for index in (told["index"], f"{told['index']}-less"):
            httpx.put(f"{url}/{index}", json=mappings, timeout=60).raise_for_status()
        told_in.write_text(json.dumps(told), encoding="utf-8")
        found: dict[str, Any] = answers_of(java("langchain4j_store"), url, "-", told_in)
        return found

    with tried(place, run) as got:
        yield got


def hybrid(store: Got, k: int, filters: Any = ()) -> Ranked:
    words = {"standard": {"query": {"match": {"text": {"query": QUESTION}}}}}
    near = {"field": "vector", "query_vector": store.vector(), "k": k, "num_candidates": 50}
    near_too = {"knn": {**near, "filter": list(filters)}}
    return store.ranked({"rrf": {"retrievers": [words, near_too]}}, k)


@client(
    "LangChain4j, ElasticsearchEmbeddingStore and ElasticsearchContentRetriever",
    "Elasticsearch's search and index APIs",
    "langchain4j-elasticsearch",
    "tests/clients/langchain4j_store/pom.xml",
)
def test_langchain4js_store_fuses_through_the_gateway_only(store: Got) -> None:
    wanted = {
        "hybrid": hybrid(store, 4),
        "hybrid_eight": hybrid(store, 8),
        "hybrid_filtered": hybrid(store, 4, [GREEN]),
    }
    for case in (*wanted, "retriever"):
        assert_refused(400, store.direct[case]["said"])
    for case, ranked in wanted.items():
        assert_ranked(store.through[case], ranked)
    assert store.through["retriever"] == [TEXTS[key] for key, _ in wanted["hybrid"]]


def test_all_else_of_langchain4js_store_is_as_on_elasticsearch(store: Got) -> None:
    assert store.through["index"] == len(TEXTS)
    for case in ("index", "knn", "words", "deletions"):
        assert "said" not in str(store.through[case])
        assert alike(store.through[case], store.direct[case]), case
    assert (
        store.through["deletions"] == len(TEXTS) - 21
    )  # all that are green, one of those that are named, and the other
