"""The parts of the OpenAPI document: operations with their examples, and schemas.

The format is OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12: https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Schema = dict[str, Any]

JSON = "application/json"
NDJSON = "application/x-ndjson"


class Example(NamedTuple):
    """A request that works as it stands, and the answer to it.

    ``summary``: a few words. ``answer``: the body of the answer, None for an answer without one. ``body``:
    the body of the request, None for a request without one. ``error_format``: the name of the format in which
    errors of such a request are answered.
    """

    summary: str
    answer: Any
    body: Any = None
    error_format: str = "Elasticsearch"


class Mistake(NamedTuple):
    """A request that is refused, and the reason in the answer. ``kind``: Elasticsearch's name of the error,
    if it is another one than that of most mistakes.
    """

    body: Any
    reason: str
    error_format: str = "Elasticsearch"
    kind: str = "illegal_argument_exception"


@dataclass(frozen=True, slots=True)
class Operation:
    """What the page says of one method of one path.

    ``name``: the ``operationId``, by which programs that write clients name the method. ``summary``: what it
    does, in words. ``answer``: the schema of the answer with status 200, None for one without a body.
    ``body``: the schema of the request's body, None where FastAPI knows it or there is none. ``parameters``:
    names in ``PARAMETERS``. ``headers``: names of ``HEADERS`` that an answer may have. ``errors``: names in
    ``ERRORS``. ``security``: names of ``SECURITY``, of which a caller needs one; no key is needed where the
    sidecar or Elasticsearch asks for none. ``forwarded``: whether Elasticsearch may answer, with any status.
    ``others``: further answers by status, each with what it means, its schema and an example.
    """

    name: str
    tag: str
    summary: str
    description: str
    answer: Schema | None
    examples: tuple[Example, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    body: Schema | None = None
    body_type: str = JSON
    answer_type: str = JSON
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    forwarded: bool = False
    others: Mapping[int, tuple[str, Schema, Any]] = field(default_factory=dict)


def ref(name: str) -> Schema:
    """Return a reference to the schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def either(*schemas: Schema, description: str = "") -> Schema:
    """Return the schema of what one of several schemas allows."""
    return {"anyOf": list(schemas), **_said(description)}


def text(description: str = "", **more: Any) -> Schema:  # noqa: ANN401 keywords of JSON Schema
    """Return the schema of a string."""
    return {"type": "string", **_said(description), **more}


def number(description: str = "", **more: Any) -> Schema:  # noqa: ANN401
    """Return the schema of a number."""
    return {"type": "number", **_said(description), **more}


def whole(description: str = "", **more: Any) -> Schema:  # noqa: ANN401
    """Return the schema of an integer."""
    return {"type": "integer", **_said(description), **more}


def flag(description: str = "", **more: Any) -> Schema:  # noqa: ANN401
    """Return the schema of true or false."""
    return {"type": "boolean", **_said(description), **more}


def listed(items: Schema, description: str = "", **more: Any) -> Schema:  # noqa: ANN401
    """Return the schema of a list."""
    return {"type": "array", "items": items, **_said(description), **more}


def closed(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, description: str = ""
) -> Schema:
    """Return the schema of an object that has these keys and no others."""
    return {**opened(required, optional, description), "additionalProperties": False}


def opened(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, description: str = ""
) -> Schema:
    """Return the schema of an object that has these keys, and may have others."""
    return {
        "type": "object",
        **_said(description),
        "properties": {**required, **(optional or {})},
        **({"required": list(required)} if required else {}),
    }


def with_one_of(
    groups: Sequence[Sequence[str]],
    keys: Mapping[str, Schema],
    optional: Mapping[str, Schema] | None = None,
    description: str = "",
) -> Schema:
    """Return the schema of an object that has the keys of one of these groups, and may have others.

    ``keys`` describes the keys of all groups.
    """
    return {
        **opened({}, {**keys, **(optional or {})}, description),
        "oneOf": [{"required": list(group)} for group in groups],
    }


def nullable(schema: Schema) -> Schema:
    """Return the schema that allows null too."""
    return {**schema, "type": [schema["type"], "null"]}


def _said(description: str) -> Schema:
    return {"description": description} if description else {}
