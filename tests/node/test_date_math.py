"""Names with slashes in paths, sent and read: date math in index expressions, ids of models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER, fill
from elasticsearch import AsyncElasticsearch, Elasticsearch

from es_rerank import RerankClient
from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"
MATCH: dict[str, Any] = {"query": {"match": {"text": QUESTION}}}
BUILDER = {"text_embedding": {"model_text": QUESTION}}
KNN = {"field": "passages.vector", "query_vector_builder": BUILDER, "k": 5, "num_candidates": 9}
RERANKED = {
    "text_similarity_reranker": {
        "retriever": {"rrf": {"retrievers": [{"standard": MATCH}, {"knn": KNN}]}},
        "field": "passages.text",
        "inference_text": QUESTION,
    }
}
MODEL = "org/model"


class Organised(WordOverlapReranker):
    """A reranker under a name with a slash, as the names of a model hub are."""

    name = MODEL


@pytest.fixture
def expression(es: Elasticsearch, index: str) -> str:
    """Date math that names an index. It rounds to years and adds none, so that no midnight comes between."""
    fill(es, f"{index}-{datetime.now(UTC).year}")
    return f"<{index}-{{now/y{{yyyy|+00:00}}}}>"


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    service = Service(AsyncElasticsearch(node.url, max_retries=0), lambda: ({MODEL: Organised()}, EMBEDDER))
    async with app_client(service) as client:
        yield client


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


@pytest.mark.parametrize("tree", [RERANKED, {"rrf": {"query": QUESTION}}, {"knn": KNN}])
def test_the_client_searches_an_index_of_date_math(
    es: Elasticsearch, index: str, expression: str, tree: dict[str, Any]
) -> None:
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")
    named = ids(client.search(index=f"{index}-*", retriever=tree))
    assert named
    assert ids(client.search(index=expression, retriever=tree)) == named
    assert ids(client.search(index=[expression, f"{index}-none*"], retriever=tree)) == named
    (there,) = client.msearch(searches=[{"index": expression}, {"retriever": tree}])["responses"]
    assert ids(there) == named
    assert ids(client.rerank(QUESTION, index=expression)) == ids(client.rerank(QUESTION, index=f"{index}-*"))


async def test_the_gateway_serves_every_path_with_a_slash_in_its_index(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str, expression: str
) -> None:
    path = quote(expression, safe="")
    assert "%2F" in path
    plain = await caller.post(f"/{path}/_search", json=MATCH)
    assert ids(plain.json()) == ids(es.search(index=f"{index}-*", **MATCH))
    assert (await caller.head(f"/{path}")).status_code == 200
    assert (await caller.head(f"/{path.replace('%2F', '%2f')}")).status_code == 200
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")
    wanted = ids(client.search(index=f"{index}-*", retriever=RERANKED))
    assert ids((await caller.post(f"/{path}/_search", json={"retriever": RERANKED})).json()) == wanted
    headers = {"content-type": "application/x-ndjson"}
    lines = "{}\n" + httpx.Request("POST", "http://x", json={"retriever": RERANKED}).content.decode() + "\n"
    there = await caller.post(f"/{path}/_msearch", content=lines, headers=headers)
    assert ids(there.json()["responses"][0]) == wanted
    opened = await caller.post(f"/{path}/_pit", params={"keep_alive": "1m"})
    pit = opened.json()["id"]
    paged = await caller.post("/_search", json={"retriever": RERANKED, "pit": {"id": pit}})
    assert ids(paged.json()) == wanted
    assert (await caller.request("DELETE", "/_pit", json={"id": pit})).json()["succeeded"]


async def test_slashes_at_the_end_are_left_out_as_elasticsearch_does(
    caller: httpx.AsyncClient, node: Node, es: Elasticsearch, index: str, expression: str
) -> None:
    path = quote(expression, safe="")
    lines = "{}\n" + httpx.Request("POST", "http://x", json=MATCH).content.decode() + "\n"
    headers = {"content-type": "application/x-ndjson"}
    async with httpx.AsyncClient(base_url=node.url) as direct:
        for end in ("_search", "_search/", "_search//"):
            here, there = [await door.post(f"/{path}/{end}", json=MATCH) for door in (caller, direct)]
            assert ids(here.json()) == ids(there.json())
            tree = await caller.post(f"/{path}/{end}", json={"retriever": RERANKED})
            assert tree.json()["rerank"]["status"] == "reranked"
        for door in (caller, direct):
            several = await door.post(f"/{path}/_msearch/", content=lines, headers=headers)
            assert several.json()["responses"][0]["status"] == 200
            assert (await door.head(f"/{path}/")).status_code == 200
            assert (await door.post(f"/{path}//_search", json=MATCH)).status_code >= 400
    wanted = {"query": QUESTION, "input": ["a", QUESTION]}
    assert (await caller.post("/_inference/rerank/org%2Fmodel/", json=wanted)).status_code == 200


async def test_escapes_of_escapes_stay_what_they_are(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    es.index(index=f"{index}-100%2fa", id="percent", document={"text": QUESTION}, refresh=True)
    child = {"standard": MATCH}
    tree = {"text_similarity_reranker": {"retriever": child, "field": "text", "inference_text": QUESTION}}
    answer = await caller.post(f"/{index}-100%252fa/_search", json={"retriever": tree})
    assert ids(answer.json()) == ["percent"]
    slash = await caller.post(f"/{index}%2Fa/_search", json={"retriever": tree})
    assert (slash.status_code, slash.json()["error"]["type"]) == (404, "index_not_found_exception")
    apart = await caller.post(f"/{index}/a/_search", json={"retriever": tree})
    assert apart.status_code == 501


async def test_a_model_whose_id_has_a_slash_is_served(caller: httpx.AsyncClient) -> None:
    wanted = {"query": QUESTION, "input": ["a", QUESTION]}
    scored = await caller.post("/_inference/rerank/org%2Fmodel", json=wanted)
    assert [row["index"] for row in scored.json()["rerank"]] == [1, 0]
    for path in ("org%2Fmodel", "rerank/org%2Fmodel"):
        listed = await caller.get(f"/_inference/{path}")
        assert [entry["inference_id"] for entry in listed.json()["endpoints"]] == [MODEL]
    missing = await caller.post("/_inference/rerank/org%2Fother", json=wanted)
    assert (missing.status_code, "[org/other] is not served" in missing.text) == (404, True)
