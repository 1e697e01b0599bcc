"""Formats and bodies of a search that es-rerank runs are taken and refused as Elasticsearch does, or in one
sentence where es-rerank reads less.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from beside import HERE, JSON, THERE, filled_index, said
from elasticsearch import Elasticsearch


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    with filled_index(es, "test-search-formats") as name:
        yield name


# --- formats ------------------------------------------------------------------------------------------------

YAML = "retriever:\n  rrf:\n    retrievers: []\n"


@pytest.mark.parametrize(
    ("headers", "parameters", "content"),
    [
        ({"content-type": "application/yaml"}, {}, YAML.encode()),
        ({"content-type": "application/vnd.elasticsearch+yaml; compatible-with=9"}, {}, YAML.encode()),
        ({"content-type": "application/cbor"}, {}, b"\xa1iretriever\xa1crrf\xa0"),
        ({"content-type": "application/smile"}, {}, b":)\n\x01\xfa\x88retriever\xfa\x82rrf\xfa\xfb\xfb\xfb"),
        ({**JSON, "accept": "application/yaml"}, {}, None),
        ({**JSON, "accept": "application/cbor"}, {}, None),
        (JSON, {"format": "yaml"}, None),
        (JSON, {"format": "cbor"}, None),
        (JSON, {"format": "SMILE"}, None),
        ({**JSON, "accept": "application/json"}, {"format": "yaml"}, None),
        ({}, {"source": YAML, "source_content_type": "application/yaml"}, b""),
    ],
)
@pytest.mark.parametrize("lines", [False, True])
async def test_what_is_not_json_is_refused_in_one_sentence(
    caller: httpx.AsyncClient,
    filled: str,
    headers: dict[str, str],
    parameters: dict[str, str],
    content: bytes | None,
    lines: bool,
) -> None:
    if lines and "source" in parameters:
        pytest.skip("an _msearch has no body in its URL")
    body = json.dumps(HERE).encode() if content is None else content
    data = b"{}\n" + body + b"\n" if lines else body
    path = f"/{filled}/{'_msearch' if lines else '_search'}"
    answer = await caller.post(path, params=parameters, content=data, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (415, "media_type_header_exception")
    assert re.fullmatch(
        r"es-rerank .*(YAML|CBOR|SMILE); send it as application/json and [^.]*", error["reason"]
    )


async def test_a_search_that_elasticsearch_runs_may_be_in_any_format(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    content = b"query:\n  match:\n    text: retriever treaty\nsize: 1\n"
    path = f"/{filled}/_search"
    for parameters in ({"filter_path": "hits.hits"}, {"filter_path": "hits.hits", "format": "json"}):
        arguments: dict[str, Any] = {
            "params": parameters,
            "content": content,
            "headers": {"content-type": "application/yaml"},
        }
        here = await caller.post(path, **arguments)
        there = await direct.post(path, **arguments)
        assert (here.status_code, here.content) == (there.status_code, there.content)


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "json", "APPLICATION/JSON", "application/*"],
)
async def test_a_content_type_is_taken_and_refused_as_elasticsearch_does(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str, kind: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    path = f"/{filled}/_search"
    here = await caller.post(path, content=json.dumps(HERE), headers=headers)
    there = await direct.post(path, content=json.dumps(THERE), headers=headers)
    assert said(here) == said(there)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/yaml, application/json", "text/html"]
)
async def test_every_other_accept_header_means_json(
    caller: httpx.AsyncClient, filled: str, accept: str
) -> None:
    answer = await caller.post(f"/{filled}/_search", json=HERE, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    forced = {"format": "json"}
    answer = await caller.post(
        f"/{filled}/_search", json=HERE, params=forced, headers={"accept": "application/yaml"}
    )
    assert answer.status_code == 200


async def test_a_body_in_the_url_has_its_type_there(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str
) -> None:
    for kind in ("application/json", "text/plain", None):
        outcomes = []
        for asked, body in ((caller, HERE), (direct, THERE)):
            more = f"&source_content_type={kind}" if kind else ""
            address = f"/{filled}/_search?source={quote(json.dumps(body))}{more}"
            outcomes.append(said(await asked.get(address)))
        assert outcomes[0] == outcomes[1], kind


# --- bodies -------------------------------------------------------------------------------------------------

TREE = json.dumps(HERE["retriever"])
PLAIN = json.dumps(THERE["retriever"])


@pytest.mark.parametrize(
    "beside",
    [
        '"size": 1, "size": 2',
        '"size": null',
        '"size": "10"',
        '"size": 2.0',
        '"size": 2.5',
        '"from": "1", "size": "2"',
        '"min_score": NaN',
        '"min_score": "NaN"',
        '"aggs": {"a": {"max": {"field": "n"}}, "a": {"max": {"field": "n"}}}',
        '"explain": "true"',
        '"version": "false"',
        '"track_total_hits": "true"',
        '"post_filter": {"range": {"n": {"lt": Infinity}}}',
        '"query": null',
    ],
)
async def test_a_body_is_taken_and_refused_as_elasticsearch_does(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str, beside: str
) -> None:
    path = f"/{filled}/_search"
    here = await caller.post(path, content=f'{{"retriever": {TREE}, {beside}}}', headers=JSON)
    there = await direct.post(path, content=f'{{"retriever": {PLAIN}, {beside}}}', headers=JSON)
    assert said(here) == said(there)
    if here.status_code == 200:
        lengths = [len(answer.json()["hits"]["hits"]) for answer in (here, there)]
        assert lengths[0] == lengths[1] or '"min_score"' not in beside


@pytest.mark.parametrize("tail", ["", "x", "{}", "\n", " /* */"])
async def test_what_follows_the_body_is_refused_as_elasticsearch_does(
    caller: httpx.AsyncClient, direct: httpx.AsyncClient, filled: str, tail: str
) -> None:
    path = f"/{filled}/_search"
    here = await caller.post(path, content=json.dumps(HERE) + tail, headers=JSON)
    there = await direct.post(path, content=json.dumps(THERE) + tail, headers=JSON)
    assert here.status_code == there.status_code or "/*" in tail


@pytest.mark.parametrize(
    "fault", ['"query": "a", "query": "b"', '"query": NaN', '"query": "a", "x": Infinity']
)
@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/rescore", '"response": {"hits": {"hits": []}}, "field": "text"'),
        ("/_inference/rerank/word-overlap", '"input": ["a"]'),
        ("/rerank", '"texts": ["a"]'),
    ],
)
async def test_no_path_takes_what_json_cannot_hold(
    caller: httpx.AsyncClient, path: str, rest: str, fault: str
) -> None:
    answer = await caller.post(path, content=f"{{{fault}, {rest}}}", headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    assert "the request body is not JSON: " in answer.text


@pytest.mark.parametrize("key", ["min_score", "min_probability"])
async def test_a_minimum_of_a_rescore_is_a_number(caller: httpx.AsyncClient, key: str) -> None:
    body = {"query": "q", "response": {"hits": {"hits": []}}, "field": "text", "blend": False, key: "NaN"}
    answer = await caller.post("/rescore", json=body)
    assert (answer.status_code, f"[{key}]" in answer.text) == (400, True)
