"""Query parameters of a search that es-rerank runs are taken and refused as Elasticsearch does.

Elasticsearch is asked beside it, with a retriever that it runs on any licence.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from beside import HERE, THERE, filled_index, said
from corpus import EMBEDDER
from elasticsearch import ApiError, Elasticsearch

from es_rerank import RerankClient
from es_rerank.errors import RequestError
from es_rerank.testing import WordOverlapReranker

pytestmark = pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-search-parameters") as name:
        yield name


SWITCH = ("true", "false", "", "x")
VALUES: dict[str, tuple[str, ...]] = {
    # Elasticsearch 9.5 answers an empty value with a null_pointer_exception.
    "allow_partial_search_results": ("true", "false", "x"),
    "_slice": ("a",),
    "_source_excludes": ("text",),
    "_source_includes": ("title",),
    "analyzer": ("standard",),
    "batched_reduce_size": ("2", "1", "x"),
    "default_operator": ("AND",),
    "df": ("text",),
    "expand_wildcards": ("open", "open,closed", "", "x"),
    "filter_path": ("hits", "-hits"),
    "max_concurrent_shard_requests": ("2", "0", "x"),
    "pre_filter_shard_size": ("1", "0", "x"),
    "preference": ("_local", "mine", "_x"),
    "q": ("treaty",),
    "routing": ("a", "a,b"),
    "scroll": ("1m",),
    "search_type": ("query_then_fetch", "dfs_query_then_fetch", "x"),
    "sort": ("_score:desc",),
    "suggest_field": (),
    "suggest_mode": ("missing",),
    "suggest_size": ("3",),
    "suggest_text": ("treety",),
}
ALSO_READ = ("size", "from", "track_total_hits", "version", "explain", "timeout", "stored_fields", "index")
MORE = {
    "size": ("2", "+2", "0", "2.0", "x", "-1", "", "99999999999"),
    "from": ("1", "x", "-1"),
    "track_total_hits": ("3", "true", "", "-1", "-5", "x"),
    "timeout": ("5s", "5"),
    "stored_fields": ("_none_",),
    "index": ("absent",),
    "format": ("json", "xxx"),
    "profile": ("true", ""),
    "nonsense": ("1",),
    "source": ("{}",),
    "source_content_type": ("application/json",),
}


def query_parameters(method: Any) -> list[str]:
    """Return the query parameters that a method of the official client sends."""
    return sorted(set(re.findall(r'__query\["(\w+)"\]', inspect.getsource(inspect.unwrap(method)))))


def single() -> list[dict[str, str]]:
    """Return each parameter of the client's ``search`` alone, with values of each kind."""
    cases = [
        {name: value} for name in query_parameters(Elasticsearch.search) for value in VALUES.get(name, SWITCH)
    ]
    cases += [{name: value} for name in ALSO_READ for value in MORE.get(name, SWITCH)]
    cases += [{name: value} for name, values in MORE.items() if name not in ALSO_READ for value in values]
    suggest = {"suggest_field": "text", "suggest_text": "treety", "suggest_mode": "missing"}
    return [
        *cases,
        {"q": "treaty", "df": "text", "lenient": "true"},
        suggest,
        {**suggest, "suggest_size": "x"},
        {**suggest, "suggest_mode": "x"},
        {"rest_total_hits_as_int": "true", "track_total_hits": "5"},
    ]


async def test_every_parameter_of_the_official_client_is_taken_and_refused_as_elasticsearch_does(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    differing = []
    for parameters in single():
        path = f"/{filled}/_search"
        here = said(await caller.post(path, params=parameters, json=HERE))
        there = said(await direct.post(path, params=parameters, json=THERE))
        # To an invalid ``error_trace`` Elasticsearch answers an error without a type.
        if here != there and not (here[0] == there[0] and " " in there[1]):
            differing.append((parameters, here, there))
    assert differing == [], "\n".join(map(str, differing))


@pytest.mark.parametrize("key", ["_explanation", "_version"])
async def test_a_switch_without_a_value_shows_what_elasticsearch_shows(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str, key: str
) -> None:
    asked = {"_explanation": "explain", "_version": "version"}[key]
    for value in ("", "true"):
        answers = [
            await door.post(f"/{filled}/_search", params={asked: value}, json=body)
            for door, body in ((caller, HERE), (direct, THERE))
        ]
        here, there = ({key in hit for hit in answer.json()["hits"]["hits"]} for answer in answers)
        assert here == there == {value == "true"}


async def test_every_parameter_of_msearch_too(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    differing = []
    of_the_search = {"allow_partial_search_results", "preference", "request_cache", "size"}
    for name in (*query_parameters(Elasticsearch.msearch), *of_the_search):
        if name == "_slice":  # Elasticsearch 9.5 refuses it, here for each search
            continue
        for value in VALUES.get(name, ("1", "x") if name.startswith("max_") else ("true", "false")):
            answers = []
            for asked, body in ((caller, HERE), (direct, THERE)):
                lines = "".join(f"{json.dumps(line)}\n" for line in ({"index": filled}, body))
                answer = await asked.post(
                    "/_msearch",
                    params={name: value},
                    content=lines,
                    headers={"content-type": "application/x-ndjson"},
                )
                status, kind = said(answer)
                items = answer.json()["responses"] if status == 200 and name != "filter_path" else []
                answers.append((status, kind, *(item["status"] for item in items)))
            if answers[0] != answers[1]:
                differing.append((name, value, *answers))
    assert differing == [], "\n".join(map(str, differing))


async def test_a_search_of_msearch_without_a_body_is_refused_as_elasticsearch_does(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    headers = {"content-type": "application/x-ndjson"}
    for end in ("{}\n\n", "{}\n \n", "{}\n\n\n", "\n"):
        answers = [
            await door.post(
                f"/{filled}/_msearch", content=f"{{}}\n{json.dumps(body)}\n{end}", headers=headers
            )
            for door, body in ((caller, HERE), (direct, THERE))
        ]
        assert (
            said(answers[0]) == said(answers[1]) == ((200, "") if end == "\n" else (400, "parsing_exception"))
        )


async def test_a_parameter_of_msearch_is_that_of_each_search(
    es: Elasticsearch, caller: httpx.AsyncClient, filled: str
) -> None:
    lines: list[dict[str, Any]] = [{"index": [filled, "absent"]}, HERE]
    client = RerankClient(es)
    (refused,) = client.msearch(searches=lines)["responses"]
    assert refused["status"] == 404
    (found,) = client.msearch(searches=lines, ignore_unavailable=True)["responses"]
    assert found["status"] == 200
    written = "".join(f"{json.dumps(line)}\n" for line in lines)
    headers = {"content-type": "application/x-ndjson"}
    answer = await caller.post("/_msearch?ignore_unavailable=true", content=written, headers=headers)
    assert answer.json()["responses"][0]["status"] == 200


def test_the_client_takes_every_parameter_under_its_own_name(es: Elasticsearch, filled: str) -> None:
    client = RerankClient(es)
    for name in inspect.signature(inspect.unwrap(Elasticsearch.search)).parameters:
        if name in query_parameters(Elasticsearch.search):
            value: Any = next(iter(VALUES.get(name, (True,))), "text")
            outcomes = []
            for body in (HERE, THERE):
                try:
                    (client if body is HERE else es).search(**{"index": filled, **body, name: value})
                    outcomes.append("taken")
                except ApiError as error:
                    outcomes.append(error.error)
            if name == "suggest_field":  # without a text: status 400 here, 500 in Elasticsearch 9.5
                assert outcomes == ["illegal_argument_exception", "null_pointer_exception"]
                continue
            assert outcomes[0] == outcomes[1], name
    sliced = []
    for searching in (client, es):
        with pytest.raises(ApiError) as caught:
            searching.search(
                **{"index": filled, "route_slice": "a", **(HERE if searching is client else THERE)}  # type: ignore[arg-type]
            )
        sliced.append((caught.value.status_code, caught.value.error))
    assert sliced[0] == sliced[1]


async def test_the_index_may_be_a_parameter(caller: httpx.AsyncClient, filled: str) -> None:
    named = await caller.post("/_search", params={"index": filled}, json=HERE)
    assert {hit["_index"] for hit in named.json()["hits"]["hits"]} == {filled}
    assert (await caller.post("/_search", params={"index": "absent"}, json=HERE)).status_code == 404
    both = await caller.post(f"/{filled}/_search", params={"index": "absent"}, json=HERE)
    assert both.status_code == 200


async def test_a_suggestion_asked_for_in_the_url_is_answered(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    asked = {"suggest_field": "text", "suggest_text": "treety", "suggest_mode": "missing"}
    path = f"/{filled}/_search"
    here = (await caller.post(path, params=asked, json=HERE)).json()
    there = (await direct.post(path, params=asked, json=THERE)).json()
    assert here["suggest"] == there["suggest"]
    assert here["suggest"]["text"][0]["options"]


MADE_HERE = {
    "retriever": {
        "knn": {
            "field": "passages.vector",
            "k": 5,
            "num_candidates": 5,
            "query_vector_builder": {"text_embedding": {"model_text": "who signed"}},
        }
    }
}


async def test_they_go_on_where_only_a_query_vector_is_made_here(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    differing = []
    for parameters in single():
        here = said(await caller.post(f"/{filled}/_search", params=parameters, json=MADE_HERE))
        there = said(
            await direct.post(f"/{filled}/_search", params=parameters, json={"retriever": {"standard": {}}})
        )
        if here != there and not (here[0] == there[0] and " " in there[1]):
            differing.append((parameters, here, there))
    assert differing == [], "\n".join(map(str, differing))


def test_the_numbers_of_the_short_form_may_be_strings(es: Elasticsearch, filled: str) -> None:
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)
    asked = "who signed the treaty"
    plain = client.rerank(asked, index=filled, size=2, from_=1, window=4)
    written: dict[str, Any] = {"size": "2", "from_": "1.0", "window": 4.0}
    answer = client.rerank(asked, index=filled, **written)
    assert answer["hits"]["hits"] == plain["hits"]["hits"]
    for wrong in ({"size": "x"}, {"window": True}, {"from_": -1}, {"size": None}):
        with pytest.raises(RequestError):
            client.rerank(asked, index=filled, **wrong)
