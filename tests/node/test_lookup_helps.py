"""What is known about an index helps a search; it does not decide whether Elasticsearch may run it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from corpus import EMBEDDER, fill
from elasticsearch import BadRequestError, Elasticsearch, NotFoundError
from own_nodes import own_node

from es_rerank import RerankClient
from es_rerank.errors import IndexMismatchError, RequestError
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

WORDS = "who signed the treaty"
MATCH: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
BUILDER = {"text_embedding": {"model_text": WORDS}}


def client_of(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return client_of(es)


def reranker(field: Any = "text", child: Any = MATCH, **changes: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {"retriever": child, "field": field, "inference_text": WORDS, **changes}
    }


def knn(field: str = "passages.vector") -> dict[str, Any]:
    return {"knn": {"field": field, "query_vector_builder": BUILDER, "k": 5, "num_candidates": 9}}


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


# --- fields that a mapping does not list --------------------------------------------------------------------


@pytest.mark.parametrize("field", ["flat.deep.a", "late", "other_name", "title.short", "resource_name"])
def test_every_field_that_elasticsearch_can_read_is_read(
    es: Elasticsearch, client: RerankClient, index: str, field: str
) -> None:
    es.indices.create(
        index=index,
        mappings={
            "runtime": {"late": {"type": "keyword"}},
            "properties": {
                "flat": {"type": "flattened"},
                "title": {"type": "text", "fields": {"short": {"type": "keyword"}}},
                "other_name": {"type": "alias", "path": "title"},
                "resource": {
                    "type": "passthrough",
                    "priority": 1,
                    "dynamic": True,
                    "properties": {"resource_name": {"type": "keyword"}},
                },
            },
        },
    )
    text = {
        "flat": {"deep": {"a": WORDS}},
        "late": WORDS,
        "title": WORDS,
        "resource": {"resource_name": WORDS},
    }
    es.index(index=index, id="good", document=text, refresh=True)
    answer = client.search(index=index, retriever=reranker(field))
    assert answer["hits"]["hits"][0]["_score"] > 0.5
    assert answer["rerank"]["status"] == "reranked"


def test_a_runtime_field_of_the_request_is_read(es: Elasticsearch, client: RerankClient, index: str) -> None:
    es.index(index=index, id="good", document={"title": "x", "said": WORDS}, refresh=True)
    for runtime in ({"said": {"type": "keyword"}}, {"fresh": {"type": "keyword"}}):
        name = next(iter(runtime))
        answer = client.search(index=index, retriever=reranker(name), runtime_mappings=runtime)
        assert ids(answer) == ["good"]


# --- expressions that name no index, or more than there are -------------------------------------------------


def test_a_pattern_that_matches_nothing_finds_nothing(client: RerankClient, index: str) -> None:
    pattern = f"{index}-none-*"
    for tree in (reranker("text"), reranker("text", knn()), knn("vector"), {"rrf": {"query": "x"}}):
        answer = client.search(index=pattern, retriever=tree)
        assert (ids(answer), answer["hits"]["total"]["value"]) == ([], 0)
    for first_stage in ("knn", "bm25", "hybrid"):
        answer = client.rerank(WORDS, index=pattern, first_stage=first_stage, window=50, size=50)
        assert (ids(answer), answer["hits"]["total"]["value"]) == ([], 0)


def test_an_index_without_documents_has_no_fields_yet(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    es.indices.create(index=index)
    for tree in (reranker("text"), reranker("text", knn()), knn("vector")):
        assert ids(client.search(index=index, retriever=tree)) == []
    es.index(index=index, document={"title": "a document"}, refresh=True)
    for tree, name in ((reranker("text"), "text"), (knn("vector"), "vector")):
        with pytest.raises(IndexMismatchError, match=rf"has no field \[{name}\]"):
            client.search(index=index, retriever=tree)


def test_missing_indices_are_elasticsearchs_affair(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    fill(es, index)
    absent = f"{index}-absent"
    tree = reranker("passages.text", knn())
    for expression in (absent, f"{index},{absent}"):
        with pytest.raises(NotFoundError, match="index_not_found_exception"):
            client.search(index=expression, retriever=tree)
        with pytest.raises(NotFoundError, match="index_not_found_exception"):
            client.rerank(WORDS, index=expression)
    both = client.search(index=f"{index},{absent}", retriever=tree, ignore_unavailable=True)
    assert ids(both) == ids(client.search(index=index, retriever=tree))
    assert ids(client.rerank(WORDS, index=[index, absent], ignore_unavailable=True))
    assert ids(client.search(index=absent, retriever=tree, ignore_unavailable=True)) == []
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        client.search(index=f"{absent}*", retriever=tree, allow_no_indices=False)


def test_wildcards_expand_as_the_caller_says(es: Elasticsearch, client: RerankClient, index: str) -> None:
    fill(es, f"{index}-open")
    fill(es, f"{index}-hidden")
    es.indices.put_settings(index=f"{index}-hidden", settings={"index.hidden": True})
    tree = reranker("passages.text", knn())
    indices = {
        expand: {
            hit["_index"]
            for hit in client.search(index=f"{index}-*", retriever=tree, expand_wildcards=expand)["hits"][
                "hits"
            ]
        }
        for expand in ("open", "open,hidden")
    }
    assert indices == {"open": {f"{index}-open"}, "open,hidden": {f"{index}-open", f"{index}-hidden"}}
    with pytest.raises(BadRequestError, match="nonsense"):
        client.search(index=f"{index}-*", retriever=tree, expand_wildcards="nonsense")


def test_a_point_in_time_may_hold_more_names_than_a_path(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    names = [f"{index}-{number:02}-{'long' * 45}" for number in range(24)]
    for name in names:
        es.indices.create(
            index=name,
            settings={"number_of_replicas": 0},
            mappings={"properties": {"text": {"type": "text"}, "parts": {"type": "nested"}}},
        )
        es.index(index=name, id=name, document={"text": WORDS, "parts": [{"text": WORDS}]})
    es.indices.refresh(index=f"{index}-*")
    pit = es.open_point_in_time(index=f"{index}-*", keep_alive="1m")["id"]
    for tree in (
        reranker("text", rank_window_size=50),
        reranker("parts.text", rank_window_size=50),
        {"rrf": {"query": "signed", "rank_window_size": 50}},
    ):
        answer = client.search(body={"retriever": tree, "pit": {"id": pit}, "size": 50})
        assert sorted(ids(answer)) == names
    es.close_point_in_time(id=pit)


# --- another cluster ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def near(node: Node, es: Elasticsearch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """A cluster whose remote cluster ``far`` is the node of the session."""
    seed = next(iter(es.nodes.info()["nodes"].values()))["transport_address"]
    with own_node(
        tmp_path_factory.mktemp("near") / "state", {"cluster.remote.far.seeds": [seed]}, plugin=False
    ) as own:
        own.start(400)
        with Elasticsearch(own.url, request_timeout=60) as client:
            yield client


@pytest.mark.long
def test_an_index_of_another_cluster_is_searched(
    near: Elasticsearch, es: Elasticsearch, client: RerankClient, index: str
) -> None:
    fill(es, index)
    fill(near, index)
    both = client_of(near)
    here = client.search(index=index, retriever=reranker("passages.text", knn()))
    there = both.search(index=f"far:{index}", retriever=reranker("passages.text", knn()))
    assert [hit["_index"] for hit in there["hits"]["hits"]] == [f"far:{index}"] * len(ids(here))
    assert [(hit["_id"], hit["_score"], hit["fields"]) for hit in there["hits"]["hits"]] == [
        (hit["_id"], hit["_score"], hit["fields"]) for hit in here["hits"]["hits"]
    ]
    for expression in (f"far:{index}", f"f*:{index}", f"{index},far:{index}"):
        for tree in (
            reranker(["title", "text"]),
            reranker("passages.text", chunk_rescorer={"size": 1}),
            {"rrf": {"retrievers": [knn(), {"standard": {"query": {"match": {"text": WORDS}}}}]}},
        ):
            answer = both.search(index=expression, retriever=tree, size=10)
            assert answer["hits"]["total"]["value"] == 5 * (1 + ("," in expression))
    short = both.rerank(WORDS, index=f"far:{index}")
    assert ids(short) == ids(client.rerank(WORDS, index=index))
    pit = near.open_point_in_time(index=f"far:{index}", keep_alive="1m")["id"]
    paged = both.search(body={"retriever": reranker("passages.text", knn()), "pit": {"id": pit}})
    assert ids(paged) == ids(here)
    near.close_point_in_time(id=pit)
    near.indices.delete(index=index)


@pytest.mark.long
def test_another_cluster_is_checked_as_far_as_it_can_be(
    near: Elasticsearch, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    both = client_of(near)
    with pytest.raises(IndexMismatchError, match=r"no field \[absent\]; its text fields are: "):
        both.search(index=f"far:{index}", retriever=reranker("absent"))
    assert ids(both.search(index="far:none-*", retriever=reranker("absent"))) == []
    with pytest.raises(NotFoundError, match="no such remote cluster"):
        both.search(index=f"gone:{index}", retriever=reranker("text"))
    with pytest.raises(NotFoundError, match="no such remote cluster"):
        both.rerank(WORDS, index=f"gone:{index}")
    with pytest.raises(RequestError, match="simplified query format when querying remote indices"):
        both.search(index=f"far:{index}", retriever={"rrf": {"query": WORDS}})
