"""The OpenAPI page describes each path: in words, with schemas, with examples that fit them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from openapi_page import check, document, operations, sent

from es_rerank.dialects.options import OPTIONS
from es_rerank.dialects.pairs import NAMES
from es_rerank.dialects.vectors import BY_PATH
from es_rerank.retrievers.grammar.parameters import OF_QUERY_STRING, SEARCH_PARAMETERS
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.page import document as document_room
from es_rerank.sidecar.page.answers import ANSWERS
from es_rerank.sidecar.page.document import OPERATIONS
from es_rerank.sidecar.page.keys import KEYS
from es_rerank.sidecar.page.searches import PIT_ID
from es_rerank.sidecar.routes import search
from es_rerank.sidecar.service import Service

PAGE = document()
ALL = [pytest.param(path, operation, id=f"{method} {path}") for path, method, operation in operations(PAGE)]
SCHEMAS = sorted(PAGE["components"]["schemas"])

NOT_SHOWN = {
    # A request to GET has no body in OpenAPI; the description of POST names it.
    *(("GET", path) for path in ("/_search", "/{index}/_search", "/_msearch", "/{index}/_msearch")),
    ("HEAD", "/healthz"),
    ("HEAD", "/readyz"),
    *(("HEAD", path) for path in ("/v1/models", "/v1/models/{model}")),
    *(("HEAD", f"/weaviate/{page}") for page in (".well-known/ready", "meta")),
    *(("HEAD", f"/_rerank/{page}") for page in ("status", "metrics")),
    ("GET", "/_rerank/metrics"),
    ("GET", "/_inference/_all"),
    *(("GET", f"/_rerank/{page}") for page in ("docs", "docs/oauth2-redirect", "redoc")),
}
"""What a description of another path names."""


def routes_of(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is not None:
            yield from routes_of(router.routes)
        elif isinstance(route, APIRoute):
            yield route


async def test_every_path_that_is_served_is_on_the_page() -> None:
    service = Service(AsyncElasticsearch("http://127.0.0.1:9"), lambda: ({}, None))
    app = create_app(service)
    await service.close()
    served = {
        (method, route.path.replace(":path}", "}"))
        for route in routes_of(app.routes)
        for method in route.methods or ()
        if route.endpoint.__module__ != "es_rerank.sidecar.routes.other_searches"
    }
    shown = {(method.upper(), path) for path, method, _ in operations(PAGE)}
    assert served - NOT_SHOWN == shown
    assert served >= NOT_SHOWN
    told = {(method.upper(), path) for path, method in OPERATIONS}
    assert told == shown, "what the page says is of paths that are served"


def test_no_path_and_no_schema_is_described_twice() -> None:
    for rooms, kind in ((document_room.ROOMS, "OPERATIONS"), (document_room.OF_SCHEMAS, "SCHEMAS")):
        told = [name for room in rooms for name in getattr(room, kind)]
        assert len(told) == len(set(told))


def test_other_search_paths_are_named() -> None:
    for name in ("_async_search", "_search/template", "_msearch/template", "_query", "_rank_eval"):
        assert f"`{name}`" in PAGE["info"]["description"]
    assert "--pass-through" in PAGE["info"]["description"]


@pytest.mark.parametrize(("path", "operation"), ALL)
def test_a_path_is_described_in_words(path: str, operation: dict[str, Any]) -> None:
    summary, description = operation["summary"], operation["description"]
    assert len(summary.split()) >= 4
    assert summary.lower().replace(" ", "") not in operation["operationId"].lower()
    assert len(description.split()) >= 8
    assert description.rstrip().endswith(".")
    assert "``" not in description
    assert not re.search(r"Raises|Return ", description), "docstrings are for those who change the code"
    assert [tag for tag in operation["tags"] if tag in {each["name"] for each in PAGE["tags"]}]
    named = set(re.findall(r"\{(\w+)\}", path))
    assert {each["name"] for each in operation["parameters"] if each["in"] == "path"} == named
    for parameter in operation["parameters"]:
        assert parameter["description"].endswith(".")
        assert "example" in parameter or not parameter.get("required")
        # The page sends a default value with every request that is tried out there.
        assert parameter["schema"].get("default", False) is False


@pytest.mark.parametrize(("path", "operation"), ALL)
def test_a_path_has_schemas_and_examples_that_fit(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    empty = operation["operationId"] in {"pingElasticsearch", "indexExists", "health"}
    assert empty == ("content" not in responses["200"])
    if not empty:
        shown = {key for entry in responses["200"]["content"].values() for key in entry["examples"]}
        asked = {
            key
            for entry in operation.get("requestBody", {}).get("content", {}).values()
            for key in entry["examples"]
        }
        assert asked in (set(), shown), "each request has its answer"
        assert shown
    if path not in {"/healthz", "/weaviate/meta"}:
        assert {status for status in responses if status not in {"200", "default"}}
    for status, response in responses.items():
        assert response["description"].endswith(".")
        for entry in response.get("content", {}).values():
            assert status == "default" or entry["examples"]
            for example in entry.get("examples", {}).values():
                check(PAGE, entry["schema"], example["value"])
    for entry in operation.get("requestBody", {}).get("content", {}).values():
        for example in entry["examples"].values():
            check(PAGE, entry["schema"], example["value"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_says_what_its_keys_mean(name: str) -> None:
    schema = PAGE["components"]["schemas"][name]
    Draft202012Validator.check_schema(schema)
    for key, value in schema.get("properties", {}).items():
        assert {"description", "$ref", "enum"} & set(value) or value.get("type") == "null", f"{name}.{key}"


def test_words_are_of_keys_that_bodies_have() -> None:
    for name, told in KEYS.items():
        assert set(told.keys) == set(PAGE["components"]["schemas"][name]["properties"]), name


def test_the_document_has_the_structure_of_openapi() -> None:
    assert PAGE["openapi"].startswith("3.1.")
    assert set(PAGE["info"]) >= {"title", "version", "description", "license"}
    assert PAGE["info"]["license"]["identifier"] == "Apache-2.0"
    assert PAGE["servers"] == [{"url": "/", "description": "This sidecar"}]
    names = [operation["operationId"] for _, _, operation in operations(PAGE)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]{2,31}", name) for name in names)
    for reference in set(re.findall(r"#/components/[^'\"]+", repr(PAGE))):
        _, _, kind, name = reference.split("/")
        assert name in PAGE["components"][kind], reference
    schemes = set(PAGE["components"]["securitySchemes"])
    for _, _, operation in operations(PAGE):
        assert {name for way in operation.get("security", ()) for name in way} <= schemes
        assert len({(each["in"], each["name"]) for each in operation["parameters"]}) == len(
            operation["parameters"]
        )
    assert {tag for _, _, each in operations(PAGE) for tag in each["tags"]} == {
        tag["name"] for tag in PAGE["tags"]
    }


def test_the_parameters_of_searches_are_those_that_are_taken() -> None:
    """Those that only change how the answer is written have a place of their own, or are Elasticsearch's."""
    shown = {
        each["name"] for each in PAGE["paths"]["/_search"]["post"]["parameters"] if each["in"] == "query"
    }
    in_body = {*search._FLAGS, *search._LISTS, *search._NUMBERS, *search._WORDS, *search._MIXED}  # noqa: SLF001
    taken = SEARCH_PARAMETERS | in_body | {"filter_path", "index", *OF_QUERY_STRING}
    assert shown - {"pretty"} == taken
    shown = {
        each["name"] for each in PAGE["paths"]["/_msearch"]["post"]["parameters"] if each["in"] == "query"
    }
    assert shown - {"pretty"} == {*search._MSEARCH, "typed_keys", "rest_total_hits_as_int", "filter_path"}  # noqa: SLF001


def test_each_key_that_has_an_effect_is_described() -> None:
    schemas = PAGE["components"]["schemas"]
    told = {key for name in ("TeiRerankBody", "RerankBody") for key in schemas[name]["properties"]}
    assert set(OPTIONS) - {"activation"} == told - {"query", "texts", "documents"}
    assert "`activation`" in schemas["RerankBody"]["properties"]["use_activation"]["description"]


@pytest.mark.parametrize("names", NAMES)
def test_pairs_have_any_of_their_names(names: tuple[str, str]) -> None:
    first, second = names
    body = {first: "q", second: ["a"]}
    check(PAGE, {"$ref": "#/components/schemas/ScoreBody"}, body)
    with pytest.raises(AssertionError, match="not valid"):
        check(PAGE, {"$ref": "#/components/schemas/ScoreBody"}, {first: "q"})


def test_cohere_takes_texts_or_inputs() -> None:
    schema = {"$ref": "#/components/schemas/CohereEmbedBody"}
    for body in ({"texts": ["a"]}, {"inputs": [{"content": [{"type": "text", "text": "a"}]}]}):
        check(PAGE, schema, {"model": "m", **body})
        assert BY_PATH["/v2/embed"].read(body).texts == ("a",)
    with pytest.raises(AssertionError, match="not valid"):
        check(PAGE, schema, {"model": "m"})


def test_an_example_that_needs_another_says_so() -> None:
    for _, _, operation in operations(PAGE):
        asked = operation.get("requestBody", {}).get("content", {}).values()
        if any(PIT_ID in json.dumps(entry["examples"]) for entry in asked):
            assert "`POST /{index}/_pit`" in operation["description"]
    assert "`POST /{index}/_pit`" in PAGE["info"]["description"]


def test_no_example_is_left_without_a_request() -> None:
    keys = {(each.path, each.method, each.key) for each in sent(PAGE)}
    for path, method, operation in operations(PAGE):
        for entry in operation["responses"]["200"].get("content", {}).values():
            assert all((path, method, key) in keys for key in entry["examples"])


def test_the_answer_of_each_path_has_a_sentence_of_its_own() -> None:
    """Only paths that do the same share one."""
    said: dict[str, set[str]] = {}
    for _, _, operation in operations(PAGE):
        said.setdefault(operation["responses"]["200"]["description"], set()).add(operation["tags"][0])
    assert all(len(tags) == 1 for tags in said.values()), said
    assert "The answer." not in said
    assert set(ANSWERS) == {operation["operationId"] for _, _, operation in operations(PAGE)}


def _described(schema: Any) -> Iterator[str]:
    parts = schema if isinstance(schema, list) else list(schema.values()) if isinstance(schema, dict) else []
    if isinstance(schema, dict) and isinstance(schema.get("description"), str):
        yield schema["description"]
    for part in parts:
        yield from _described(part)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_speaks_of_parameters_and_fields_and_names_its_own(name: str) -> None:
    """A key is an API key. A description names no parameter that the same body does not have."""
    schema = PAGE["components"]["schemas"][name]
    for description in _described(schema):
        assert not re.search(r"\bkeys?\b", description, re.IGNORECASE), description
    own = schema.get("properties", {})
    for parameter, value in own.items():
        named = set(re.findall(r"`(\w+)`", value.get("description", ""))) & set(OPTIONS)
        assert named <= set(own) | _OTHER_NAMES, parameter
        assert parameter not in named or named & _OTHER_NAMES, f"{parameter} explains itself"


_OTHER_NAMES = {"activation", "input_type", "task", "task_type", "prompt_name"}
