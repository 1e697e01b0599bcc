"""Answers that miss shards: what fails in any request of a search is shown, or fails the search."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from app_client import app_client
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, Elasticsearch
from tiny_models import model_options
from typer.testing import CliRunner

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.cli.app import app
from es_rerank.node import Node
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

VECTOR = [1.0, 2.0, 3.0]
KNN = {"knn": {"field": "v", "query_vector": VECTOR, "k": 5, "num_candidates": 10}}
WORDS = {"standard": {"query": {"match": {"text": "king"}}}}
BROKEN_SORT = {"standard": {"query": {"match": {"text": "king"}}, "sort": ["number"]}}
"""The field is a text in one index, and Elasticsearch does not sort by texts."""

DIMENSIONS = "The query vector has a different number of dimensions [3] than the document vectors [4]."
FIELDDATA = "Fielddata is disabled on [number]"


def rrf(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"rrf": {"retrievers": list(children), **more}}


def reranked(child: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": "the king",
            "rank_window_size": 50,
            **more,
        }
    }


@pytest.fixture(scope="module")
def where(node: Node) -> Iterator[str]:
    """Two indices of two shards each, with four documents each.

    Vectors of another length fail both shards of the second, a sort by ``number`` both shards of the first.
    """
    names = [f"test-partial-{uuid4().hex[:12]}-{each}" for each in "ab"]
    with Elasticsearch(node.url, request_timeout=60) as es:
        for place, name in enumerate(names):
            es.indices.create(
                index=name,
                settings={"number_of_shards": 2, "number_of_replicas": 0},
                mappings={
                    "properties": {
                        "text": {"type": "text"},
                        "number": {"type": "long" if place else "text"},
                        "group": {"type": "text" if place else "keyword"},
                        "v": {
                            "type": "dense_vector",
                            "dims": 3 + place,
                            "similarity": "cosine",
                            "index_options": {"type": "flat"},
                        },
                    }
                },
            )
            for number in range(4):
                document = {
                    "text": "the king signed " + "x " * number,
                    "number": number,
                    "group": "g",
                    "v": [*VECTOR, 4.0][: 3 + place],
                }
                es.index(index=name, id=f"{name[-1]}{number}", document=document)
            es.indices.refresh(index=name)
        yield ",".join(names)
        es.indices.delete(index=",".join(names))


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker())


def failed(answer: Any) -> int:
    shards = answer["_shards"]
    assert shards["successful"] == shards["total"] - shards["failed"]
    count: int = shards["failed"]
    return count


@pytest.mark.parametrize(
    "tree", [reranked(KNN), rrf(KNN, WORDS), reranked(rrf(KNN, WORDS), rank_window_size=10)], ids=str
)
def test_shards_of_the_first_stage_that_fail_are_those_of_elasticsearch(
    client: RerankClient, es: Elasticsearch, where: str, tree: dict[str, Any]
) -> None:
    plain = es.search(index=where, retriever=KNN)
    answer = client.search(index=where, retriever=tree)
    assert plain["_shards"]["failed"] == 2
    assert answer["_shards"] == plain["_shards"]
    assert answer["rerank"]["status"] == "partial"
    assert answer["rerank"]["reason"] == (
        f"2 of 4 shards failed in the first stage: failed to create query: {DIMENSIONS}"
    )


def test_leaves_that_fail_in_different_shards_are_added(client: RerankClient, where: str) -> None:
    answer = client.search(index=where, retriever=rrf(KNN, BROKEN_SORT, WORDS))
    assert failed(answer) == 4, "two of each index"
    assert {each["index"] for each in answer["_shards"]["failures"]} == set(where.split(","))
    assert answer["rerank"]["reason"].count("2 of 4 shards failed in the first stage") == 2
    assert FIELDDATA in answer["rerank"]["reason"]


def test_a_leaf_that_fails_twice_in_the_same_shards_is_counted_once(client: RerankClient, where: str) -> None:
    answer = client.search(index=where, retriever=rrf(KNN, {"knn": {**KNN["knn"], "k": 3}}, WORDS))
    assert failed(answer) == 2


def test_a_page_that_cannot_be_fetched_whole_is_partial(
    client: RerankClient, es: Elasticsearch, where: str
) -> None:
    page: dict[str, Any] = {"docvalue_fields": ["group"], "size": 10}
    plain = es.search(index=where, retriever=WORDS, **page)
    answer = client.search(index=where, retriever=reranked(WORDS), **page)
    assert failed(plain) > 0
    assert answer["_shards"] == plain["_shards"]
    assert len(answer["hits"]["hits"]) == len(plain["hits"]["hits"])
    assert answer["rerank"]["status"] == "partial"
    assert "shards failed when the page was fetched: Fielddata is disabled" in answer["rerank"]["reason"]


def test_a_rescorer_that_fails_is_partial(client: RerankClient, where: str) -> None:
    window = {"window_size": 8, "query": {"rescore_query": {"knn": KNN["knn"]}}}
    answer = client.search(
        index=where, retriever={"rescorer": {"retriever": rrf(WORDS, WORDS), "rescore": window}}
    )
    assert failed(answer) == 2
    assert "2 of 4 shards failed when the hits were rescored" in answer["rerank"]["reason"]
    assert answer["rerank"]["status"] == "partial"


def test_texts_that_cannot_be_fetched_are_told(client: RerankClient, es: Elasticsearch, where: str) -> None:
    """The field is a nested passage in one index alone, so asking for the nearest fails in the other."""
    name = f"{where.split(',', maxsplit=1)[0]}-nested"
    nested = {"type": "nested", "properties": {"text": {"type": "text"}}}
    es.indices.create(index=name, mappings={"properties": {"passages": nested}})
    try:
        es.index(index=name, id="n", document={"passages": [{"text": "the king"}]}, refresh=True)
        tree = reranked({"knn": {**KNN["knn"], "k": 5}}, field="passages.text", chunk_rescorer={"size": 1})
        answer = client.search(index=f"{where.split(',', maxsplit=1)[0]},{name}", retriever=tree)
    finally:
        es.indices.delete(index=name)
    assert failed(answer) == 2
    assert (
        "2 of 3 shards failed when the texts were fetched: [nested] failed to find"
        in (answer["rerank"]["reason"])
    )


@pytest.mark.parametrize(
    "tree",
    [
        reranked(KNN),
        rrf(KNN, WORDS),
        reranked(rrf(KNN, WORDS), rank_window_size=10),
        {
            "rescorer": {
                "retriever": rrf(WORDS, WORDS),
                "rescore": {"window_size": 8, "query": {"rescore_query": {"knn": KNN["knn"]}}},
            }
        },
    ],
    ids=str,
)
def test_without_partial_results_the_search_fails(
    client: RerankClient, es: Elasticsearch, where: str, tree: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError) as plain:
        es.search(index=where, retriever=KNN, allow_partial_search_results=False)
    with pytest.raises(BadRequestError) as ours:
        client.search(index=where, retriever=tree, allow_partial_search_results=False)
    assert ours.value.status_code == plain.value.status_code
    assert DIMENSIONS in json.dumps(ours.value.body)
    assert client.search(index=where, retriever=tree, allow_partial_search_results=True)["hits"]["hits"]


def test_without_partial_results_in_a_point_in_time_of_the_caller(
    client: RerankClient, es: Elasticsearch, where: str
) -> None:
    pit = {"id": es.open_point_in_time(index=where, keep_alive="1m")["id"]}
    try:
        for tree in (reranked(KNN), rrf(KNN, WORDS)):
            assert failed(client.search(retriever=tree, pit=pit)) == 2
            with pytest.raises(BadRequestError):
                client.search(retriever=tree, pit=pit, allow_partial_search_results=False)
    finally:
        es.close_point_in_time(id=pit["id"])


def test_without_partial_results_a_page_fails_too(client: RerankClient, where: str) -> None:
    with pytest.raises(ApiError, match="Fielddata is disabled"):
        client.search(
            index=where,
            retriever=rrf(WORDS, WORDS),
            docvalue_fields=["group"],
            allow_partial_search_results=False,
        )


def test_each_search_of_an_msearch_says_it_for_itself(client: RerankClient, where: str) -> None:
    first = where.split(",", maxsplit=1)[0]
    searches: list[dict[str, Any]] = [
        {"index": where, "allow_partial_search_results": False},
        {"retriever": rrf(KNN, WORDS)},
        {"index": where},
        {"retriever": rrf(KNN, WORDS)},
        {"index": first, "allow_partial_search_results": False},
        {"retriever": rrf(KNN, WORDS)},
        {"index": where, "allow_partial_search_results": False},
        {"retriever": KNN},
    ]
    refused, partial, whole, plain = client.msearch(searches=searches)["responses"]
    assert (refused["status"], plain["status"]) == (400, 400)
    assert DIMENSIONS in json.dumps(refused["error"])
    assert (failed(partial), partial["rerank"]["status"], partial["status"]) == (2, "partial", 200)
    assert (failed(whole), whole["rerank"]["status"]) == (0, "fused")


async def test_both_clients_and_the_gateway_say_the_same(
    es: Elasticsearch, node: Node, client: RerankClient, where: str
) -> None:
    expected = client.search(index=where, retriever=reranked(KNN))
    model = WordOverlapReranker()
    async with AsyncElasticsearch(node.url) as plain:
        twin = await AsyncRerankClient(plain, reranker=model).search(index=where, retriever=reranked(KNN))
    assert twin["_shards"] == expected["_shards"]
    async with gateway(node) as http:
        body = {"retriever": rrf(KNN, WORDS)}
        answer = await http.post(f"/{where}/_search", json=body)
        refused = await http.post(
            f"/{where}/_search", json=body, params={"allow_partial_search_results": "false"}
        )
        header = {"index": where, "allow_partial_search_results": False}
        lines = "".join(json.dumps(line) + "\n" for line in (header, body, {"index": where}, body))
        several = await http.post(
            "/_msearch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        again = await http.post(
            "/rescore", json={"query": "king", "response": answer.json(), "field": "text"}
        )
    assert answer.json()["_shards"] == expected["_shards"]
    assert answer.json()["rerank"]["status"] == "partial"
    assert refused.status_code == 400
    assert [each["status"] for each in several.json()["responses"]] == [400, 200]
    assert several.json()["responses"][1]["rerank"]["status"] == "partial"
    assert again.json()["rerank"]["status"] == "partial"
    assert again.json()["_shards"] == expected["_shards"]
    assert again.json()["rerank"]["reason"].startswith("2 of 4 shards failed in the search: failed to create")


@asynccontextmanager
async def gateway(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of a sidecar whose Elasticsearch is the node."""
    model = WordOverlapReranker()
    service = Service(AsyncElasticsearch(node.url), lambda: ({model.name: model}, None), plugin="never")
    async with app_client(service) as http:
        yield http


def test_the_short_form_says_that_it_is_partial(client: RerankClient, where: str) -> None:
    answer = client.rerank(
        "the king", index=where, first_stage="hybrid", field="text", vector_field="v", query_vector=VECTOR
    )
    assert failed(answer) == 2
    assert answer["rerank"]["status"] == "partial"
    with pytest.raises(BadRequestError):
        client.rerank(
            "the king",
            index=where,
            first_stage="hybrid",
            field="text",
            vector_field="v",
            query_vector=VECTOR,
            allow_partial_search_results=False,
        )


def test_a_shard_that_was_searched_is_not_skipped(
    client: RerankClient, es: Elasticsearch, where: str
) -> None:
    body: dict[str, Any] = {"retriever": WORDS, "pre_filter_shard_size": 1}
    plain = es.search(index=where, **body)
    answer = client.search(index=where, retriever=reranked(WORDS), size=1, pre_filter_shard_size=1)
    assert answer["_shards"] == plain["_shards"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", ["search", "ask"])
def test_a_person_sees_that_an_answer_is_partial(
    node: Node, where: str, tmp_path_factory: pytest.TempPathFactory, command: str, *, as_json: bool
) -> None:
    models = model_options(tmp_path_factory.mktemp("models"))
    options = [*("--first-stage", "hybrid", "--field", "text", "--vector-field", "v"), "--query-vector"]
    options += [json.dumps(VECTOR), "--elasticsearch-url", node.url, *models]
    done = CliRunner().invoke(app, [command, where, "the king", *options, *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.stderr
    assert "warning: the answer is partial: 2 of 4 shards failed in the first stage: " in done.stderr
    if as_json:
        found = json.loads(done.stdout)
        assert (found if command == "ask" else found["rerank"])["status"] == "partial"
