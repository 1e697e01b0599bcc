"""Makes the OpenAPI document: what FastAPI knows of the paths, and what this room says of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fastapi import FastAPI

from ...errors import RetrieverParsingError
from . import about, embeddings, models, operators, plugin, rerank, rerank_schemas, searches, words
from .answers import ANSWERS
from .errors import ERROR_SCHEMAS, ERRORS, FORMATS
from .headers import EVERYWHERE, HEADERS, OF_ERRORS, PARAMETERS, SECURITY
from .keys import with_words
from .parts import JSON, Operation, Schema, either, ref

ROOMS = (rerank, embeddings, models, searches, about, operators, plugin)
OF_SCHEMAS = (rerank_schemas, embeddings, models, searches, about, operators, plugin)

OPERATIONS: dict[tuple[str, str], Operation] = {
    place: operation for room in ROOMS for place, operation in room.OPERATIONS.items()
}
"""What the page says, by path and method."""

_SCHEMAS: dict[str, Schema] = {
    **ERROR_SCHEMAS,
    **{name: schema for room in OF_SCHEMAS for name, schema in room.SCHEMAS.items()},
}
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's own answers to mistakes, which the sidecar does not give."""


def describe(app: FastAPI) -> None:
    """Let the OpenAPI document of an application hold what this room says. It is made when it is asked for
    first.
    """
    generated = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(generated())
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI documents this way


def _described(document: dict[str, Any]) -> dict[str, Any]:
    parts = document.setdefault("components", {})
    made = {
        name: with_words(name, _untitled(schema))
        for name, schema in parts.get("schemas", {}).items()
        if name not in _OF_FASTAPI
    }
    parts["schemas"] = dict(sorted({**made, **_SCHEMAS}.items()))
    parts["headers"] = HEADERS
    parts["securitySchemes"] = SECURITY
    paths = document["paths"]
    for (path, method), operation in OPERATIONS.items():
        if method in paths.get(path, {}):
            paths[path][method] = _operation(method, paths[path][method], operation)
    order = {tag: place for place, tag in enumerate(words.TAGS)}
    document["paths"] = dict(sorted(paths.items(), key=lambda entry: _place(entry[1], order)))
    document["info"] |= words.INFO
    document["servers"] = [{"url": "/", "description": "This sidecar"}]
    document["tags"] = [{"name": name, "description": said} for name, said in words.TAGS.items()]
    return document


def _place(methods: dict[str, Any], order: dict[str, int]) -> int:
    """Return the place of a path: that of its first tag."""
    tags = next(iter(methods.values())).get("tags", ())
    return order.get(tags[0], len(order)) if tags else len(order)


def _untitled(schema: Any) -> Any:  # noqa: ANN401 JSON
    """Return a schema that pydantic made without the titles, which repeat names of keys."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _operation(method: str, made: dict[str, Any], told: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "tags": [told.tag],
        "summary": told.summary,
        "description": told.description,
        "operationId": told.name,
        "parameters": [parameter for name in told.parameters for parameter in PARAMETERS[name]],
        "responses": {"200": _answer(told), **_errors(told), **_others(told)},
    }
    if method == "head":
        for response in said["responses"].values():
            response.pop("content", None)
    if told.security:
        said["security"] = [*({name: []} for name in told.security), {}]
    schema = told.body or _schema_of(made)
    if schema is not None:
        shown = [(each.summary, each.body) for each in told.examples if each.body is not None]
        said["requestBody"] = {"required": True, "content": _content(told.body_type, schema, shown)}
    return said


def _schema_of(made: dict[str, Any]) -> Schema | None:
    """Return the schema of the body that FastAPI knows."""
    content = made.get("requestBody", {}).get("content", {})
    return next((entry["schema"] for entry in content.values()), None)


def _answer(told: Operation) -> dict[str, Any]:
    everywhere = () if told.answer_type == "text/plain" else EVERYWHERE
    said = {"description": ANSWERS[told.name], "headers": _headers(*everywhere, *told.headers)}
    if told.answer is None:
        return said
    shown = [(each.summary, each.answer) for each in told.examples]
    return {**said, "content": _content(told.answer_type, told.answer, shown)}


def _errors(told: Operation) -> dict[str, Any]:
    """Return the answers with an error, by status. Each format of the operation has its own example."""
    formats = list(dict.fromkeys(each.error_format for each in told.examples)) or ["Elasticsearch"]
    reasons = {
        each.error_format: RetrieverParsingError(each.reason, kind=each.kind) for each in told.mistakes
    }
    found: dict[int, list[_Told]] = {}
    for place, spoken in enumerate(formats):
        for name in told.errors:
            case = ERRORS[name]
            if case.early and place:
                continue
            error = reasons.get(spoken, case.error) if name == "mistake" else case.error
            status, body = FORMATS[spoken].written(error)
            label = name if len(formats) == 1 or case.early else f"{name} ({spoken})"
            found.setdefault(status, []).append(_Told(case.when, FORMATS[spoken].schema, label, body))
    return {str(status): _error(status, cases) for status, cases in sorted(found.items())}


class _Told(NamedTuple):
    """One error in one format."""

    when: str
    schema: str
    label: str
    body: Any


def _error(status: int, cases: list[_Told]) -> dict[str, Any]:
    said = {
        "description": " ".join(dict.fromkeys(case.when for case in cases)),
        "headers": _headers(*OF_ERRORS.get(status, ())),
    }
    schemas = [ref(name) for name in dict.fromkeys(case.schema for case in cases)]
    schema = schemas[0] if len(schemas) == 1 else either(*schemas)
    return {**said, "content": _content(JSON, schema, [(case.label, case.body) for case in cases])}


def _others(told: Operation) -> dict[str, Any]:
    others = {
        str(status): {
            "description": said,
            "content": _content(JSON, schema, [(said, example)]),
        }
        for status, (said, schema, example) in told.others.items()
    }
    if told.forwarded:
        said = "Elasticsearch's own answer, with its own status."
        others["default"] = {
            "description": said,
            "content": {JSON: {"schema": ref("ElasticsearchError")}},
        }
    return others


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _content(media_type: str, schema: Schema, examples: list[tuple[str, Any]]) -> dict[str, Any]:
    named = {_slug(said): {"summary": said, "value": value} for said, value in examples}
    return {media_type: {"schema": schema, **({"examples": named} if named else {})}}


def _slug(said: str) -> str:
    """Return a text as the key of an example."""
    return re.sub(r"[^a-z0-9]+", "-", said.lower()).strip("-")
