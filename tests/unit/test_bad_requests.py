"""Requests that no client sends on purpose: each is the caller's fault, in the format of its route."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from scripted_elasticsearch import Reply, Script

from es_rerank import RequestError
from es_rerank.errors import RetrieverParsingError
from es_rerank.retrievers.grammar.json_values import read_json
from es_rerank.retrievers.grammar.parameters import (
    FORMATTING,
    OF_INDICES,
    OF_MSEARCH,
    SEARCH_PARAMETERS,
    as_arguments,
    check_parameters,
)
from es_rerank.retrievers.grammar.unparsed_tree import text_embedding_leaves
from es_rerank.retrievers.planning.documents import candidates_of
from es_rerank.retrievers.ranking.ranked_node import json_score
from es_rerank.scores import standardise
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker

HIT: dict[str, Any] = {"_index": "i", "_id": "1", "_score": 1.0, "_source": {"t": "a"}}
JSON = {"content-type": "application/json"}
HUGE = 10**400


@pytest.fixture
async def caller() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a sidecar whose models are loaded. No Elasticsearch is there, and none is needed."""
    reranker = WordOverlapReranker()
    service = Service(
        AsyncElasticsearch("http://127.0.0.1:9"), lambda: ({reranker.name: reranker}, HashEmbedder())
    )
    async with app_client(service) as client:
        yield client


def rescore(**changes: Any) -> dict[str, Any]:
    return {"query": "q", "field": "t", "response": {"hits": {"hits": [{**HIT, **changes}]}}}


WRONG: dict[str, tuple[Any, ...]] = {
    "_id": (None, 1, ["1"], {"a": 1}),
    "_index": (None, ["i"], {}),
    "_routing": (["i"], {"a": 1}, 1),
    "_score": ("1", [1], {}, True, HUGE, -HUGE, 1e300),
    "_source": ("a", [1], 1),
    "fields": ("a", [1], 1),
    "ignored_field_values": ("a", [1]),
}


async def test_a_hit_that_elasticsearch_does_not_write_is_refused(caller: httpx.AsyncClient) -> None:
    for key, values in WRONG.items():
        for value in values:
            answer = await caller.post("/rescore", json=rescore(**{key: value}))
            assert answer.status_code == 400, (key, value)
            assert f"[{key}]" in answer.json()["error"]["reason"]


async def test_a_hit_may_lack_what_elasticsearch_leaves_out(caller: httpx.AsyncClient) -> None:
    answer = await caller.post("/rescore", json=rescore(_score=None, fields=None, _routing=None))
    assert answer.status_code == 200
    assert answer.json()["hits"]["hits"][0]["_id"] == "1"


async def test_task_settings_are_checked_as_the_keys_beside_them(caller: httpx.AsyncClient) -> None:
    wrong: tuple[Any, ...] = ("x", [1], {}, 0, -1, 1.5)
    for key, value in (*(("top_n", value) for value in wrong), ("return_documents", "x")):
        for body in ({"task_settings": {key: value}}, {key: value}):
            answer = await caller.post(
                "/_inference/rerank/word-overlap", json={"query": "q", "input": ["a"], **body}
            )
            assert answer.status_code == 400, answer.text


async def test_task_settings_are_read_and_those_of_other_services_are_not(caller: httpx.AsyncClient) -> None:
    body = {
        "query": "a",
        "input": ["a", "b"],
        "task_settings": {"top_n": 1, "return_documents": True, "truncate": "END"},
    }
    answer = await caller.post("/_inference/rerank/word-overlap", json=body)
    assert [row["text"] for row in answer.json()["rerank"]] == ["a"]


HALF = "HALF"
TEXTS: dict[str, dict[str, Any]] = {
    "/rerank": {"query": "q", "texts": [HALF]},
    "/_inference/rerank/word-overlap": {"query": HALF, "input": ["a"]},
    "/_inference/text_embedding/hash": {"input": [HALF]},
    "/rescore": rescore(_source={"t": HALF}),
    "/_rerank/v1/score": {"query": "q", "documents": [{"passages": [{"text": HALF}]}]},
    "/_rerank/v1/embed": {"texts": [HALF], "purpose": "query"},
    "/_rerank/v1/passages": {"documents": [{"text": HALF}]},
}


async def test_half_a_character_is_refused_before_a_model_reads_it(caller: httpx.AsyncClient) -> None:
    for path, value in TEXTS.items():
        for half in (b"\\ud800", b"a\\uDFFF", b"\xed\xa0\x80"):
            body = json.dumps(value).encode().replace(HALF.encode(), half)
            answer = await caller.post(path, content=body, headers=JSON)
            assert answer.status_code == (422 if path == "/rerank" else 400), answer.text


async def test_all_that_is_wrong_with_a_rerank_request_is_told_in_teis_format(
    caller: httpx.AsyncClient,
) -> None:
    for method, path, body, status in (
        ("GET", "/rerank", b"", 405),
        ("PUT", "/rerank", b"{}", 405),
        ("DELETE", "/rerank/", b"", 405),
        ("POST", "/rerank", b"", 422),
        ("POST", "/rerank", b"[]", 422),
        ("POST", "/rerank", b"{", 422),
        ("POST", "/rerank", b"\xff", 422),
        ("POST", "/rerank", b"NaN", 422),
        ("POST", "/rerank", b'{"query": "q", "texts": [' + b"9" * 5000 + b"]}", 422),
        ("POST", "/rerank/", b'{"query": 1}', 422),
        ("POST", "/rerank?model=none", b'{"query": "q", "texts": ["a"]}', 422),
    ):
        answer = await caller.request(method, path, content=body, headers=JSON)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error", "error_type"}


async def test_an_error_repeats_a_part_of_a_long_text(caller: httpx.AsyncClient) -> None:
    long = "k" * 300_000
    reranker = {"retriever": {"standard": {}}, "field": "a", "inference_text": "b"}
    bodies: dict[str, list[dict[str, Any]]] = {
        "/_search": [
            {"retriever": {"rrf": {long: 1}}},
            {"retriever": {"rrf": {"retrievers": [{long: {}}]}}},
            {"retriever": {"rrf": {"fields": ["a^" + long], "query": "a"}}},
            {"retriever": {"rrf": {}}, long: 1},
            {"retriever": {"rrf": {}}, "size": long},
            {"retriever": {"text_similarity_reranker": {**reranker, "aggregation": long}}},
            {"retriever": {"text_similarity_reranker": {**reranker, "inference_id": long}}},
        ],
        "/rerank": [{"query": "q", "texts": ["a"], "top_n": long}, {"query": "q", long: 1}],
        "/v1/rerank": [{"query": "q", "documents": ["a"], "raw_scores": long}],
        "/score": [{"text_1": "q", "text_2": [{}], long: long}],
        "/_rerank/v1/score": [{"query": "q", "documents": [], "model": long}],
    }
    for path, requests in bodies.items():
        for body in requests:
            answer = await caller.post(path, json=body)
            assert 400 <= answer.status_code < 500, answer.text[:500]
            assert len(answer.content) < 20_000


async def test_a_host_that_is_none_is_not_read(caller: httpx.AsyncClient) -> None:
    for host in ("[", "[::1", "a:99999", "]", "a b"):
        for path in ("/rerank", "/nowhere", "/a/_async_search", "/rescore"):
            answer = await caller.get(path, headers={"host": host})
            assert answer.status_code in {405, 501}


async def test_an_id_with_a_control_character_does_not_come_back(caller: httpx.AsyncClient) -> None:
    for sent, returned in (("a-1", "a-1"), ("a\x0bb", None), ("a\x7f", None)):
        answer = await caller.get("/info", headers={"x-opaque-id": sent})
        assert answer.headers.get("x-opaque-id") == returned


def test_an_infinite_score_is_a_text_as_in_elasticsearch() -> None:
    (candidate,) = candidates_of([{**HIT, "_score": "Infinity"}])
    assert json_score(candidate.score) == "Infinity"
    assert json_score(1e300) == "Infinity"
    assert json_score(float("nan")) is None
    assert np.array_equal(standardise([1.0, float("inf")]), [0.0, 0.0])


def test_only_a_knn_has_a_vector_that_is_computed() -> None:
    builder = {"query_vector_builder": {"text_embedding": {"model_text": "a"}}}
    assert list(text_embedding_leaves({"knn": builder})) == [builder]
    assert not list(text_embedding_leaves({"standard": builder}))


@pytest.mark.parametrize(
    "leaf",
    [
        {"field": "v"},
        {"k": 1},
        {"field": ["v"], "k": 1},
        {"field": "v", "k": "x"},
        {"field": "v", "k": HUGE},
        {"field": "v", "k": 1, "filter": 7},
        {"field": "v", "k": 1, "query_vector_builder": {"text_embedding": {}}},
        {"field": "v", "k": 1, "query_vector_builder": {"text_embedding": None}},
        {"field": "v", "k": 1, "query_vector_builder": {"text_embedding": {"model_text": 1, "x": 2}}},
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_a_knn_whose_vector_is_computed_is_checked_alone_as_in_a_tree(
    leaf: dict[str, Any], below: bool
) -> None:
    knn = {"knn": {"query_vector_builder": {"text_embedding": {"model_text": "a"}}, **leaf}}
    script = Script(lambda path, body: Reply(body={"v": {"mappings": {}}}))
    with pytest.raises(RetrieverParsingError):
        script.search(False, {"rrf": {"retrievers": [knn]}} if below else knn, embedder=HashEmbedder())


def test_every_parameter_of_a_search_has_an_argument_of_the_client() -> None:
    for call, names in (
        (AsyncElasticsearch.search, SEARCH_PARAMETERS | FORMATTING),
        (AsyncElasticsearch.msearch, {*OF_INDICES, *OF_MSEARCH, "_slice", "routing", "search_type"}),
    ):
        assert as_arguments(dict.fromkeys(names)).keys() <= inspect.signature(call).parameters.keys()


def test_a_value_in_the_body_is_checked_though_a_parameter_replaces_it() -> None:
    script = Script(lambda path, body: Reply(body={}))
    knn = {"field": "v", "k": 1, "query_vector_builder": {"text_embedding": {"model_text": "a"}}}
    trees: list[dict[str, Any]] = [
        {"rrf": {"retrievers": [{"standard": {}}, {"standard": {}}]}},
        {"knn": knn},
    ]
    for tree in trees:
        body = {"retriever": tree, "explain": 10_000}
        with pytest.raises(RetrieverParsingError, match="explain"):
            script.client(embedder=HashEmbedder()).search(index="i", body=body, explain=True)


def test_an_index_without_a_name_is_refused_where_another_search_runs_here() -> None:
    tree: dict[str, Any] = {"retriever": {"rrf": {"retrievers": [{"standard": {}}, {"standard": {}}]}}}
    script = Script(lambda path, body: Reply(body={}))
    with pytest.raises(RequestError, match="found null"):
        script.client().msearch(searches=[{}, tree, {"index": [None]}, {"size": 1}], index="i")
    assert not script.paths()


@pytest.mark.parametrize("number", ["9" * 1001, "-" + "9" * 1001, "0." + "9" * 1000, "1e" + "0" * 1000])
def test_a_number_has_at_most_a_thousand_digits_as_in_elasticsearch(number: str) -> None:
    with pytest.raises(RetrieverParsingError, match=r"Number value length \(1001\) exceeds"):
        read_json(f'{{"a": {number}}}')
    assert read_json("-" + "9" * 1000) == -int("9" * 1000)


async def test_a_body_with_two_types_goes_to_elasticsearch_which_refuses_it(
    caller: httpx.AsyncClient,
) -> None:
    types = [("content-type", "application/json"), ("content-type", "application/json")]
    answer = await caller.post("/a/_search", content=b'{"retriever": {"rrf": {}}}', headers=types)
    assert answer.status_code == 503  # no Elasticsearch is there


def test_a_suggestion_without_a_text_is_refused() -> None:
    check_parameters({"suggest_field": "t", "suggest_text": "a"})
    with pytest.raises(RequestError, match="suggest_text"):
        check_parameters({"suggest_field": "t"})
