"""Failures of a tree that es-rerank runs: those of its leaves as Elasticsearch reports them, those of a model
that is not served as the tree says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from beside import filled_index
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, NotFoundError
from proxies import PAGE, Outcome, proxied
from retriever_bodies import LEAF, MATCH, knn, linear, pinned, reranker, rescorer, rrf, standard

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

RANGE = standard(query={"range": {"passages.vector": {"gt": 1}}}, filter={"exists": {"field": "title"}})
BAD: dict[str, Any] = standard(query={"range": {"metadata.year": {"gt": "not a number"}}})
WORSE = knn(field="passages.vector", query_vector=[1.0, 2.0], k=1, num_candidates=1)


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-failures-beside") as name:
        yield name


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker("words"))


def failure(searching: Elasticsearch, index: str, tree: dict[str, Any]) -> tuple[int, Any]:
    """Return the status and the error of a search that must fail."""
    with pytest.raises(ApiError) as caught:
        searching.search(index=index, retriever=tree)
    return caught.value.status_code, caught.value.body["error"]


@pytest.mark.parametrize("bad", [BAD, WORSE], ids=["standard", "knn"])
@pytest.mark.parametrize(
    "over",
    [
        lambda bad: rrf(LEAF, bad),
        lambda bad: rrf(bad, rrf(LEAF, standard(query={"match_all": {}}))),
        lambda bad: linear({"retriever": LEAF}, {"retriever": bad}),
        lambda bad: pinned(retriever=bad),
        lambda bad: reranker(retriever=bad),
    ],
    ids=["rrf", "nested", "linear", "pinned", "reranker"],
)
def test_a_failed_leaf_is_reported_as_under_elasticsearchs_own_compound(
    client: RerankClient, es: Elasticsearch, filled: str, over: Any, bad: dict[str, Any]
) -> None:
    tree = over(bad)
    status, error = failure(client, filled, tree)
    expected_status, expected = failure(es, filled, rescorer(retriever=bad))
    kind = next(iter(tree))
    assert error["type"] == expected["type"] == "status_exception"
    assert error["reason"] == expected["reason"].replace("[rescorer]", f"[{kind}]")
    assert [shape(one) for one in error["suppressed"]] == [shape(one) for one in expected["suppressed"]]
    assert status == expected_status


def shape(error: dict[str, Any]) -> Any:
    """Return an error without what differs from one search to the next."""
    reasons = [
        (one["index"], one["reason"]["type"], one["reason"]["reason"]) for one in error["failed_shards"]
    ]
    return sorted(error), error["type"], error["reason"], error["phase"], reasons


def test_several_failed_leaves_of_one_compound_are_named_together(client: RerankClient, filled: str) -> None:
    status, error = failure(client, filled, rrf(WORSE, LEAF, BAD))
    assert (status, len(error["suppressed"])) == (400, 2)
    assert error["reason"].startswith("[rrf] search failed - retrievers '[knn, standard]' returned errors.")


def test_the_compound_right_above_is_named(client: RerankClient, filled: str) -> None:
    _, error = failure(client, filled, rrf(LEAF, linear({"retriever": BAD}, {"retriever": LEAF}), BAD))
    assert error["reason"].startswith("[linear] search failed - retrievers '[standard]' returned errors.")
    assert len(error["suppressed"]) == 1


def test_other_failures_stay_as_they_are(client: RerankClient, es: Elasticsearch, filled: str) -> None:
    for tree in (reranker(), rrf(LEAF, LEAF)):
        status, error = failure(client, "test-absent-index", tree)
        assert (status, error["type"]) == (404, "index_not_found_exception")
        nonsense = json.loads(json.dumps(tree).replace('"match"', '"nonsense"'))
        status, error = failure(client, filled, nonsense)
        assert (status, error["root_cause"][0]["reason"]) == (400, "unknown query [nonsense]")


# --- a model that is not served -----------------------------------------------------------------------------

ALLOWED = {"inference_id": "nonsense", "allow_rerank_failures": True}
SENTENCE = "inference endpoint [nonsense] is not served here; served rerankers: words"


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


@pytest.mark.parametrize("allow", [True, "true"])
def test_a_model_that_is_not_served_leaves_the_first_stage_where_that_is_allowed(
    client: RerankClient, es: Elasticsearch, filled: str, allow: Any
) -> None:
    first = {"standard": {"query": {"match": {"text": "treaty moon cats"}}}}
    tree = reranker(retriever=first, inference_id="nonsense", allow_rerank_failures=allow)
    answer = client.search(index=filled, retriever=tree)
    plain = es.search(index=filled, retriever=first)
    assert ids(answer) == ids(plain)
    assert [hit["_score"] for hit in answer["hits"]["hits"]] == [
        hit["_score"] for hit in plain["hits"]["hits"]
    ]
    assert (answer["rerank"]["status"], answer["rerank"]["reason"]) == ("first_stage", SENTENCE)
    assert "model" not in answer["rerank"]


def test_it_leaves_it_under_a_fusion_and_beside_a_reranker_that_is_served(
    client: RerankClient, filled: str
) -> None:
    tree = rrf(reranker(**ALLOWED), reranker(inference_id="words"))
    answer = client.search(index=filled, retriever=tree)
    assert (answer["rerank"]["status"], answer["rerank"]["reason"]) == ("partial", SENTENCE)
    assert answer["rerank"]["model"] == "words"
    above = client.search(index=filled, retriever=reranker(retriever=tree, inference_id="words"))
    assert above["rerank"]["status"] == "partial"


@pytest.mark.parametrize("allow", [False, "false", ""])
def test_it_is_refused_where_failures_are_not_allowed(client: RerankClient, filled: str, allow: Any) -> None:
    tree = reranker(inference_id="nonsense", allow_rerank_failures=allow)
    for searched in (tree, rrf(LEAF, tree), rrf(reranker(**ALLOWED), tree)):
        with pytest.raises(NotFoundError) as caught:
            client.search(index=filled, retriever=searched)
        assert caught.value.error == "resource_not_found_exception"


async def test_a_gateway_does_the_same(caller: httpx.AsyncClient, filled: str) -> None:
    path = f"/{filled}/_search"
    answer = (await caller.post(path, json={"retriever": reranker(**ALLOWED)})).json()
    assert (answer["rerank"]["status"], "nonsense" in answer["rerank"]["reason"]) == ("first_stage", True)
    refused = await caller.post(path, json={"retriever": reranker(inference_id="nonsense")})
    assert refused.status_code == 404
    lines = [{"index": filled}, {"retriever": reranker(**ALLOWED)}]
    (item,) = (
        await caller.post(
            "/_msearch",
            content="".join(f"{json.dumps(line)}\n" for line in lines),
            headers={"content-type": "application/x-ndjson"},
        )
    ).json()["responses"]
    assert item["rerank"]["status"] == "first_stage"


def test_a_client_without_rerankers_does_the_same(es: Elasticsearch, filled: str) -> None:
    answer = RerankClient(es).search(index=filled, retriever=reranker(allow_rerank_failures=True))
    assert answer["rerank"]["status"] == "first_stage"
    assert answer["rerank"]["reason"].endswith("served rerankers: none")
    assert ids(answer) == ids(es.search(index=filled, query=MATCH))


@pytest.mark.parametrize("outcome", [(429, PAGE), (403, PAGE), "close", "lose"])
async def test_a_point_in_time_that_cannot_be_closed_fails_no_search(
    node: Node, es: Elasticsearch, filled: str, outcome: Outcome
) -> None:
    tree = rrf(LEAF, standard(query={"match_all": {}}))
    wanted = RerankClient(es).search(index=filled, retriever=tree)["hits"]
    with proxied(node.url, lambda method, *_: outcome if method == "DELETE" else None) as proxy:
        with Elasticsearch(proxy.url, max_retries=0) as behind:
            assert RerankClient(behind).search(index=filled, retriever=tree)["hits"] == wanted
        async with AsyncElasticsearch(proxy.url, max_retries=0) as behind_too:
            answer = await AsyncRerankClient(behind_too).search(index=filled, retriever=tree)
            assert answer["hits"] == wanted
        # aiohttp sends a DELETE again when its connection breaks.
        assert proxy.outcomes("_pit").count(outcome) >= 2
