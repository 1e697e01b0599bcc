"""A search reads what its indices are now: after an alias, a mapping, an index or a setting has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from corpus import EMBEDDER
from elasticsearch import Elasticsearch

from es_rerank import RerankClient
from es_rerank.errors import IndexMismatchError
from es_rerank.testing import HashEmbedder, WordOverlapReranker

WORDS = "moon dog"
TEXT = {"type": "text"}
NESTED = {"type": "nested", "properties": {"text": TEXT}}
VECTOR = {"type": "dense_vector", "dims": 64}


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")


@pytest.fixture
def pit(es: Elasticsearch, index: str) -> Iterator[str]:
    """A caller's point in time over ``index``, which the test has made."""
    es.indices.create(
        index=index,
        mappings={
            "properties": {"title": TEXT, "text": TEXT, "vector": VECTOR},
            "_meta": {"embedder": "other"},
        },
        settings={"index": {"query": {"default_field": ["title"]}}},
    )
    es.index(index=index, id="title", document={"title": WORDS, "text": "x"})
    es.index(index=index, id="text", document={"title": "x", "text": WORDS}, refresh=True)
    opened: str = es.open_point_in_time(index=index, keep_alive="1m")["id"]
    yield opened
    es.close_point_in_time(id=opened)


def made(
    es: Elasticsearch, name: str, properties: Mapping[str, Any], document: Mapping[str, Any], **options: Any
) -> str:
    """Make an index of one document, whose id is the name of the index."""
    es.indices.create(index=name, mappings={"properties": properties, **options})
    es.index(index=name, id=name, document=document, refresh=True)
    return name


def reranker(field: str = "text", **changes: Any) -> dict[str, Any]:
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    return {
        "text_similarity_reranker": {"retriever": child, "field": field, "inference_text": WORDS, **changes}
    }


def knn(**changes: Any) -> dict[str, Any]:
    builder = {"text_embedding": {"model_text": WORDS}}
    return {
        "rrf": {
            "retrievers": [
                {
                    "knn": {
                        "field": "vector",
                        "query_vector_builder": builder,
                        "k": 3,
                        "num_candidates": 9,
                        **changes,
                    }
                }
            ]
        }
    }


def passages(answer: Any) -> list[str]:
    return [hit["fields"]["rerank.passage"][0]["text"] for hit in answer["hits"]["hits"]]


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def test_an_alias_that_was_swapped_is_read_as_it_is(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    alias, flat, nested = f"{index}-alias", f"{index}-1", f"{index}-2"
    made(es, flat, {"parts": {"properties": {"text": TEXT}}}, {"parts": {"text": WORDS}})
    made(es, nested, {"parts": NESTED}, {"parts": [{"text": "river"}, {"text": WORDS}]})
    es.indices.put_alias(index=flat, name=alias)
    assert ids(client.search(index=alias, retriever=reranker("parts.text"))) == [flat]
    es.indices.update_aliases(
        actions=[{"remove": {"index": flat, "alias": alias}}, {"add": {"index": nested, "alias": alias}}]
    )
    answer = client.search(index=alias, retriever=reranker("parts.text", chunk_rescorer={"size": 1}))
    assert (ids(answer), passages(answer)) == ([nested], [WORDS])


def test_a_new_field_is_read_at_once(es: Elasticsearch, client: RerankClient, index: str) -> None:
    made(es, index, {"text": TEXT}, {"text": "river"})
    with pytest.raises(IndexMismatchError, match=r"no field \[late\]"):
        client.search(index=index, retriever=reranker("late"))
    es.index(index=index, id="second", document={"text": "river", "late": WORDS}, refresh=True)
    assert ids(client.search(index=index, retriever=reranker("late")))[0] == "second"


def test_an_index_that_was_made_anew_is_read_as_it_is(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    made(es, index, {"parts": NESTED}, {"parts": [{"text": WORDS}]})
    assert passages(client.search(index=index, retriever=reranker("parts.text"))) == [WORDS]
    es.indices.delete(index=index)
    made(es, index, {"parts": {"properties": {"text": TEXT}}}, {"parts": {"text": WORDS}})
    answer = client.search(index=index, retriever=reranker("parts.text", chunk_rescorer={"size": 1}))
    assert answer["hits"]["hits"][0]["_score"] > 0.5
    assert "reason" not in answer["rerank"]


def test_other_default_fields_are_searched_at_once(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    made(es, index, {"title": TEXT, "text": TEXT}, {"title": "moon", "text": "river"})
    question = {"rrf": {"query": "river"}}
    assert ids(client.search(index=index, retriever=question)) == [index]
    es.indices.put_settings(index=index, settings={"index.query.default_field": ["title"]})
    assert ids(client.search(index=index, retriever=question)) == []
    assert ids(client.search(index=index, retriever={"rrf": {"query": "moon"}})) == [index]


def test_vectors_of_a_new_model_behind_the_alias_are_not_searched_with_the_old(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    alias, old, new = f"{index}-alias", f"{index}-1", f"{index}-2"
    document = {"vector": EMBEDDER.embed([WORDS], purpose="passage")[0].tolist()}
    made(es, old, {"vector": VECTOR}, document, _meta={"embedder": EMBEDDER.name})
    made(es, new, {"vector": VECTOR}, document, _meta={"embedder": "another-model"})
    es.indices.put_alias(index=old, name=alias)
    assert ids(client.search(index=alias, retriever=knn())) == [old]
    es.indices.update_aliases(
        actions=[{"remove": {"index": old, "alias": alias}}, {"add": {"index": new, "alias": alias}}]
    )
    with pytest.raises(IndexMismatchError, match=r"holds vectors of \[another-model\]"):
        client.search(index=alias, retriever=knn())


def test_the_short_form_searches_the_vector_field_of_the_new_index(
    es: Elasticsearch, client: RerankClient, index: str
) -> None:
    alias = f"{index}-alias"
    for number, field in enumerate(("before", "after")):
        vector = EMBEDDER.embed([WORDS], purpose="passage")[0].tolist()
        made(es, f"{index}-{number}", {field: VECTOR, "text": TEXT}, {field: vector, "text": WORDS})
    es.indices.put_alias(index=f"{index}-0", name=alias)
    assert ids(client.rerank(WORDS, index=alias)) == [f"{index}-0"]
    es.indices.delete_alias(index=f"{index}-0", name=alias)
    es.indices.put_alias(index=f"{index}-1", name=alias)
    assert ids(client.rerank(WORDS, index=alias)) == [f"{index}-1"]


# --- a caller's point in time: its indices are looked at too ------------------------------------------------


def test_a_point_in_time_is_searched_in_its_default_fields(client: RerankClient, pit: str) -> None:
    answer = client.search(body={"retriever": {"rrf": {"query": WORDS}}, "pit": {"id": pit}})
    assert ids(answer) == ["title"]


def test_a_point_in_time_over_vectors_of_another_model_is_refused(client: RerankClient, pit: str) -> None:
    with pytest.raises(IndexMismatchError, match=r"holds vectors of \[other\]"):
        client.search(body={"retriever": knn(), "pit": {"id": pit}})


def test_a_point_in_time_that_elasticsearch_runs_is_checked_too(es: Elasticsearch, pit: str) -> None:
    licensed = RerankClient(es, embedder=HashEmbedder(64), elasticsearch_runs=["rrf"], plugin="never")
    with pytest.raises(IndexMismatchError, match=r"holds vectors of \[other\]"):
        licensed.search(body={"retriever": knn()["rrf"]["retrievers"][0], "pit": {"id": pit}})
