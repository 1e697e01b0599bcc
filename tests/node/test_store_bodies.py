"""What frameworks' Elasticsearch stores send runs through the gateway, on a real Elasticsearch.

The packages themselves run in ``tests/clients/test_stores.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from beside import JSON
from corpus import EMBEDDER
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.dsl import Search
from rankings import close
from store_bodies import (
    FUSED,
    GREEN,
    PLAIN,
    QUESTION,
    assert_refused,
    expected,
    filled_store,
    hybrid,
    knn,
    query,
    ranked,
)

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.errors import RequestError
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

HEADERS_OF_8 = {
    "content-type": "application/vnd.elasticsearch+json; compatible-with=8",
    "accept": "application/vnd.elasticsearch+json; compatible-with=8",
}
"""The headers of the client that the packages hold on to."""


@pytest.fixture(scope="module")
def store(es: Elasticsearch) -> Iterator[str]:
    with filled_store(es, "test-store-bodies") as name:
        yield name


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)


def found(answer: Any) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


def assert_ranked(answer: Any, wanted: list[tuple[str, float]]) -> None:
    assert [key for key, _ in found(answer)] == [key for key, _ in wanted]
    assert all(close(one, other) for (_, one), (_, other) in zip(found(answer), wanted, strict=True))


def wanted_of(node: Node, store: str, retriever: Any, size: int = 10) -> list[tuple[str, float]]:
    with httpx.Client(base_url=node.url) as plain:
        return expected(plain, store, retriever, size)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("headers", [JSON, HEADERS_OF_8], ids=["9", "8"])
async def test_a_fused_search_of_a_store_runs_through_the_gateway_only(
    node: Node,
    caller: httpx.AsyncClient,
    direct: httpx.AsyncClient,
    store: str,
    name: str,
    headers: dict[str, str],
) -> None:
    body, retriever = FUSED[name]
    path = f"/{store}/_search?_source_includes=metadata,text"
    refused = await direct.post(path, content=json.dumps(body), headers=headers)
    assert_refused(refused.status_code, refused.text)
    answer = await caller.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    wanted = wanted_of(node, store, retriever, body.get("size", 10))
    assert len(wanted) >= min(4, body.get("size", 4))
    assert_ranked(answer.json(), wanted)
    hits = answer.json()["hits"]["hits"]
    assert all(sorted(hit["_source"]) == ["metadata", "text"] for hit in hits)
    if str(GREEN) in str(body):
        assert {hit["_source"]["metadata"]["group"] for hit in hits} == {"green"}


@pytest.mark.parametrize("name", PLAIN)
async def test_every_other_search_of_a_store_is_elasticsearchs_own(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, store: str, name: str
) -> None:
    answers = [
        await each.post(f"/{store}/_search", json=PLAIN[name], headers=HEADERS_OF_8)
        for each in (caller, direct)
    ]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert found(answers[0].json()) == found(answers[1].json()) != []


async def test_rank_runs_in_every_place_of_a_search(
    node: Node, caller: httpx.AsyncClient, store: str
) -> None:
    body, retriever = FUSED["langchain community"]
    wanted = wanted_of(node, store, retriever, 4)
    lines = [{}, body, {"index": store}, {"query": query(), "size": 1}, {}, hybrid(4, 50)]
    many = await caller.post(
        f"/{store}/_msearch", content="".join(f"{json.dumps(line)}\n" for line in lines), headers=JSON
    )
    first, plain, last = many.json()["responses"]
    assert_ranked(first, wanted)
    assert_ranked(last, wanted)
    assert len(plain["hits"]["hits"]) == 1
    in_url = urlencode({"source": json.dumps(body), "source_content_type": "application/json"})
    assert_ranked((await caller.get(f"/{store}/_search?{in_url}")).json(), wanted)


async def test_a_search_that_is_no_fusion_goes_on_byte_for_byte(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, store: str
) -> None:
    for body in (
        {"query": {"bool": {"should": [{"term": {"rank": "rrf"}}, query()]}}, "sort": [{"rank": "asc"}]},
        {"rank": {}, "query": query()},
        {"rank": {"other": {"rrf": 1}}, "query": query()},
        {"rank": "rrf"},
    ):
        one, other = [
            await each.post(f"/{store}/_search", json=body, headers=JSON) for each in (caller, direct)
        ]
        assert one.status_code == other.status_code, body
        assert one.json().get("error") == other.json().get("error")


async def test_a_fault_in_rank_has_elasticsearchs_form(caller: httpx.AsyncClient, store: str) -> None:
    old = {"knn": knn(4, 50), "query": query(), "rank": {"rrf": {"window_size": 50}}, "size": 4}
    answer = await caller.post(f"/{store}/_search", json=old)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "x_content_parse_exception")
    assert error["reason"].endswith("unknown field [window_size] did you mean [rank_window_size]?")
    both = {**hybrid(4, 50), **ranked(4, 50)}
    answer = await caller.post(f"/{store}/_search", json=both)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "illegal_argument_exception"
    assert "Cannot specify both [rank] and [retriever]." in answer.text
    answer = await caller.post(f"/{store}/_search?q=moon", json=ranked(4, 50))
    assert answer.status_code == 400
    assert "cannot specify [retriever] and [query]" in answer.text


@pytest.mark.parametrize("path", ["/_async_search", "/INDEX/_fleet/_fleet_search", "/INDEX/_search/template"])
async def test_rank_is_refused_where_es_rerank_runs_no_search(
    caller: httpx.AsyncClient, store: str, path: str
) -> None:
    body = ranked(4, 50)
    for sent in [body] if "template" not in path else [{"source": body}, {"source": json.dumps(body)}]:
        answer = await caller.post(path.replace("INDEX", store), json=sent)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["reason"].startswith("es-rerank runs [rrf] in _search and _msearch")


async def test_rank_in_yaml_is_refused_in_one_sentence(caller: httpx.AsyncClient, store: str) -> None:
    headers = {"content-type": "application/yaml"}
    content = "rank:\n  rrf: {}\nsub_searches: []\n"
    answer = await caller.post(f"/{store}/_search", content=content, headers=headers)
    assert answer.status_code == 415, answer.text
    assert answer.json()["error"]["reason"].startswith("es-rerank runs [rrf] and does not read YAML")


async def test_a_cluster_that_fuses_gets_rank_unchanged(node: Node, store: str) -> None:
    async with AsyncElasticsearch(node.url) as inner:
        licensed = AsyncRerankClient(inner, elasticsearch_runs={"rrf"})
        with pytest.raises(ApiError) as caught:
            await licensed.search(index=store, **ranked(4, 50))
        assert_refused(caught.value.status_code, json.dumps(caught.value.body))


def test_the_wrapper_runs_rank_from_arguments_and_from_a_body(
    node: Node, client: RerankClient, store: str
) -> None:
    wanted = wanted_of(node, store, FUSED["langchain community"][1], 4)
    assert_ranked(client.search(index=store, **ranked(4, 50)), wanted)
    assert_ranked(client.search(index=store, body=ranked(4, 50)), wanted)
    parts = ranked(4, 50)
    fusion = parts.pop("rank")
    assert_ranked(client.search(index=store, body=parts, rank=fusion), wanted)
    many = client.msearch(searches=[{}, ranked(4, 50)], index=store)
    assert_ranked(many["responses"][0], wanted)
    dsl = Search[Any](using=client, index=store).query("match", text=QUESTION).extra(size=4)
    answer = dsl.knn("vector", 4, 50, query_vector=knn(4, 50)["query_vector"]).rank(rrf=True).execute()
    assert [hit.meta.id for hit in answer] == [key for key, _ in wanted]
    with pytest.raises(RequestError, match="at least 2 sub-queries"):
        client.search(index=store, query=query(), rank={"rrf": {}})


async def test_a_query_vector_is_made_for_the_knn_beside_rank(
    node: Node, caller: httpx.AsyncClient, store: str
) -> None:
    body, retriever = FUSED["langchain community"]
    near = {key: value for key, value in body["knn"].items() if key != "query_vector"}
    built = {**near, "query_vector_builder": {"text_embedding": {"model_text": QUESTION}}}
    answer = await caller.post(f"/{store}/_search", json={**body, "knn": built})
    assert_ranked(answer.json(), wanted_of(node, store, retriever, 4))


async def test_what_stands_beside_rank_is_used(caller: httpx.AsyncClient, store: str) -> None:
    more = {
        "aggs": {"groups": {"terms": {"field": "metadata.group.keyword"}}},
        "highlight": {"fields": {"text": {}}},
        "explain": True,
        "min_score": 0.0,
        "track_total_hits": True,
    }
    one = (await caller.post(f"/{store}/_search", json={**ranked(4, 50), **more})).json()
    other = (await caller.post(f"/{store}/_search", json={**hybrid(4, 50), **more})).json()
    for answer in (one, other):
        for key in ("took", "rerank"):
            answer.pop(key)
    assert one == other
    assert one["aggregations"]["groups"]["buckets"]
    assert "_explanation" in one["hits"]["hits"][0]
