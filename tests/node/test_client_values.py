"""Values that the elasticsearch client takes in a body work in searches that are run here,
blocking and asynchronous.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from corpus import EMBEDDER, fill
from elastic_transport import JsonSerializer
from elasticsearch import AsyncElasticsearch, Elasticsearch, SerializationError
from elasticsearch.serializer import DEFAULT_SERIALIZERS
from hypothesis import given
from hypothesis import strategies as st

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.node import Node
from es_rerank.retrievers.grammar.json_values import as_json
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"
VECTOR = EMBEDDER.embed([QUESTION])[0]
UNKNOWN = uuid.UUID("12345678123456781234567812345678")

FILTERS: list[tuple[Any, Any]] = [
    (
        {"range": {"metadata.year": {"gte": decimal.Decimal(2005)}}},
        {"range": {"metadata.year": {"gte": 2005}}},
    ),
    (
        {"range": {"metadata.year": {"gte": np.int64(2005), "lt": np.float32(2023)}}},
        {"range": {"metadata.year": {"gte": 2005, "lt": 2023}}},
    ),
    ({"terms": {"metadata.year": np.array([1999, 2021])}}, {"terms": {"metadata.year": [1999, 2021]}}),
    ({"terms": {"metadata.year": (1999, 2021)}}, {"terms": {"metadata.year": [1999, 2021]}}),
    ({"bool": {"must_not": {"term": {"title": UNKNOWN}}}}, {"match_all": {}}),
    (
        {"bool": {"must_not": {"range": {"at": {"gte": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}}}}},
        {"match_all": {}},
    ),
    ({"bool": {"must_not": {"range": {"at": {"gte": dt.date(2020, 1, 1)}}}}}, {"match_all": {}}),
    ({"bool": {"must_not": {"range": {"at": {"gte": np.datetime64("2020-01-01")}}}}}, {"match_all": {}}),
]


def tree(filters: Any, vector: Any = VECTOR, **more: Any) -> dict[str, Any]:
    leaves = [
        {"standard": {"query": {"match": {"text": QUESTION}}, "filter": filters}},
        {
            "knn": {
                "field": "passages.vector",
                "query_vector": vector,
                "k": 5,
                "num_candidates": 5,
                "filter": filters,
            }
        },
    ]
    return {
        "text_similarity_reranker": {
            "retriever": {"rrf": {"retrievers": leaves}},
            "field": "text",
            "inference_text": QUESTION,
            **more,
        }
    }


Search = Callable[..., dict[str, Any]]


@pytest.fixture(params=["blocking", "asynchronous"])
def search(request: pytest.FixtureRequest, es: Elasticsearch, node: Node) -> Search:
    """``search``, ``msearch`` or ``rerank`` by its name, of either client."""
    import asyncio  # noqa: PLC0415 a loop of its own

    def blocking(method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        client = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)
        answer: dict[str, Any] = getattr(client, method)(*arguments, **options).body
        return answer

    def asynchronous(method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        async def run() -> dict[str, Any]:
            async with AsyncElasticsearch(node.url) as inner:
                client = AsyncRerankClient(inner, reranker=WordOverlapReranker(), embedder=EMBEDDER)
                answer: dict[str, Any] = (await getattr(client, method)(*arguments, **options)).body
                return answer

        return asyncio.run(run())

    return blocking if request.param == "blocking" else asynchronous


def hits(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


@pytest.mark.parametrize(("written", "plain"), FILTERS, ids=range(len(FILTERS)))
def test_filters_hold_what_the_client_takes(
    search: Search, es: Elasticsearch, index: str, written: Any, plain: Any
) -> None:
    fill(es, index)
    es.indices.put_mapping(index=index, properties={"at": {"type": "date"}})
    expected = hits(search("search", index=index, retriever=tree(plain, VECTOR.tolist())))
    assert expected
    assert hits(search("search", index=index, retriever=tree(written))) == expected
    assert hits(search("search", index=index, body={"retriever": tree(written)})) == expected
    (item,) = search("msearch", searches=[{"index": index}, {"retriever": tree(written)}])["responses"]
    assert hits(item) == expected
    short = search("rerank", QUESTION, index=index, filter=plain, query_vector=VECTOR.tolist())
    assert hits(search("rerank", QUESTION, index=index, filter=written, query_vector=VECTOR)) == hits(short)


@pytest.mark.parametrize(
    "vector",
    [VECTOR, VECTOR.astype(np.float64), tuple(VECTOR.tolist()), list(VECTOR)],
    ids=["float32", "float64", "tuple", "list"],
)
def test_a_query_vector_is_an_array(search: Search, es: Elasticsearch, index: str, vector: Any) -> None:
    fill(es, index)
    expected = hits(search("search", index=index, retriever=tree([], VECTOR.tolist())))
    assert hits(search("search", index=index, retriever=tree([], vector))) == expected
    short = search("rerank", QUESTION, index=index, query_vector=VECTOR.tolist())
    assert hits(search("rerank", QUESTION, index=index, query_vector=vector)) == hits(short)


def test_sizes_scores_and_lists_of_retrievers_too(search: Search, es: Elasticsearch, index: str) -> None:
    fill(es, index)
    leaves: tuple[Any, ...] = (
        {"standard": {"query": {"match": {"text": "treaty"}}}},
        {"standard": {"query": {"match_all": {}}}},
    )
    written = {
        "rrf": {
            "retrievers": leaves,
            "rank_window_size": np.int32(4),
            "rank_constant": np.int64(7),
            "min_score": np.float64(0.01),
        }
    }
    plain = {
        "rrf": {"retrievers": list(leaves), "rank_window_size": 4, "rank_constant": 7, "min_score": 0.01}
    }
    options = {
        "size": np.int64(3),
        "aggs": {"y": {"filter": {"range": {"metadata.year": {"gte": decimal.Decimal(2005)}}}}},
    }
    found, expected = (
        search("search", index=index, retriever=written, **options),
        search("search", index=index, retriever=plain, **options),
    )
    assert hits(found) == hits(expected)
    assert len(hits(found)) == 3
    assert found["aggregations"] == expected["aggregations"]


def test_what_the_client_does_not_take_is_its_own_error(
    search: Search, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    for value in (object(), {1, 2}, b"bytes", 1j):
        with pytest.raises(SerializationError):
            search("search", index=index, retriever=tree({"term": {"title": value}}))


def test_a_serializer_of_the_users_own_counts(es: Elasticsearch, node: Node, index: str) -> None:
    class Sets(JsonSerializer):
        def default(self, data: Any) -> Any:
            return sorted(data) if isinstance(data, set) else super().default(data)

    fill(es, index)
    with Elasticsearch(node.url, serializers=DEFAULT_SERIALIZERS | {"application/json": Sets()}) as inner:
        answer = RerankClient(inner, reranker=WordOverlapReranker()).search(
            index=index, retriever=tree({"terms": {"metadata.year": {1999, 2021}}}, VECTOR.tolist())
        )
    assert {name for name, _ in hits(answer.body)} == {"a0", "a2"}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_plain_json_is_returned_as_it_is(value: Any) -> None:
    with Elasticsearch("http://localhost:9") as client:
        assert as_json(value, client) is value
        wrapped = {"a": (value, np.float32(0.5))}
        assert as_json(wrapped, client) == {"a": [json.loads(json.dumps(value)), 0.5]}
