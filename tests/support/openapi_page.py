"""Reads the sidecar's OpenAPI document, makes its example requests, and checks answers against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from elasticsearch import AsyncElasticsearch
from jsonschema import Draft202012Validator

from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service

VARY = frozenset(
    {
        *(
            "bytes",
            "bytes_sent",
            "cluster_name",
            "cluster_uuid",
            "connections",
            "created",
            "id",
        ),
        *(
            "max_concurrent_requests",
            "milliseconds",
            "name",
            "number",
            "pit_id",
            "queue",
            "release",
            "requests",
        ),
        *("threads", "tokenization_workers", "took", "uptime_seconds", "url", "version"),
    }
)
"""Keys of answers whose values are others each time."""

_COUNTS = frozenset({"bytes", "bytes_sent", "requests"})
"""Those of these keys that count something: 0 in the answer if, and only if, the example shows 0."""

_OF_A_SCORE = 0.02
"""How far a score, a probability or a number of a vector may be from the example on another CPU."""

_OF_A_LOGIT = 0.25
"""How far a logit may be from the example on another CPU."""


class Sent(NamedTuple):
    """An example of the document as a request: what is sent, and the example of the answer."""

    path: str
    method: str
    operation: dict[str, Any]
    key: str
    body: Any
    media_type: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"

    def request(self, *, index: str = "articles", pit: str | None = None) -> dict[str, Any]:
        """Return the arguments of a request: with the examples of the parameters that it must have.

        ``index`` stands for the index of the examples, ``pit`` for their point in time.
        """
        place, query = self.path, {}
        for parameter in self.operation["parameters"]:
            if not parameter.get("required"):
                continue
            value = index if parameter["name"] == "index" else parameter["example"]
            if parameter["in"] == "path":
                place = place.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
            else:
                query[parameter["name"]] = value
        arguments: dict[str, Any] = {"method": self.method, "url": place, "params": query}
        if self.body is None:
            return arguments
        if isinstance(self.body, str):
            written = self.body.replace('"articles"', f'"{index}"')
            return {**arguments, "content": written, "headers": {"content-type": self.media_type}}
        return {**arguments, "json": _replaced(self.body, index, pit)}


def document() -> dict[str, Any]:
    """Return the OpenAPI document of a sidecar without anything that is optional."""
    app = create_app(Service(AsyncElasticsearch("http://127.0.0.1:9"), lambda: ({}, None)))
    return app.openapi()


def operations(page: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of all that the document describes."""
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def sent(page: dict[str, Any]) -> Iterator[Sent]:
    """Yield each example of a request with status 200. A request without a body is one example."""
    for path, method, operation in operations(page):
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            answers = next(iter(operation["responses"]["200"].get("content", {"": {}}).values()))
            for key in answers.get("examples", {"": None}):
                yield Sent(path, method, operation, key, None, "")
        for media_type, entry in content.items():
            for key, example in entry["examples"].items():
                yield Sent(path, method, operation, key, example["value"], media_type)


def checked(page: dict[str, Any], operation: dict[str, Any], answer: httpx.Response) -> str:
    """Check an answer against what the document says of its status; return the key of that in ``responses``.

    Headers whose names begin with ``x-rerank`` must be in the document too.
    """
    status = str(answer.status_code)
    key = status if status in operation["responses"] else "default"
    assert key in operation["responses"], f"the page knows no {status}: {answer.text[:500]}"
    told = operation["responses"][key]
    known = {name.lower() for name in told.get("headers", ())} | {"x-elastic-product"}
    ours = {name for name in answer.headers if name.startswith(("x-rerank", "x-elastic", "retry-", "www-"))}
    assert ours <= known, ours - known
    if "content" not in told:
        assert answer.content == b""
        return key
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in told["content"], media_type
    value = answer.json() if media_type == "application/json" else answer.text
    check(page, told["content"][media_type]["schema"], value)
    return key


def check(page: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Check a JSON value against a schema of the document."""
    whole = {**schema, "components": page["components"]}
    faults = [error.message for error in Draft202012Validator(whole).iter_errors(value)]
    assert faults == [], faults


def example_of(operation: dict[str, Any], status: str, key: str) -> Any:
    """Return the example of an answer."""
    content = next(iter(operation["responses"][status]["content"].values()))
    return content["examples"][key]["value"]


def alike(shown: Any, got: Any, where: str = "$") -> Iterator[str]:
    """Yield where an answer differs from its example, except in values that are others each time.

    Of a list of numbers, the example may show the first ones only.
    """
    if isinstance(shown, dict) and isinstance(got, dict):
        if set(shown) != set(got):
            yield f"{where} has the keys {sorted(got)}, the page shows {sorted(shown)}"
        for key in set(shown) & set(got):
            unlike = _other_kind if key in VARY else alike
            yield from unlike(shown[key], got[key], f"{where}.{key}")
    elif isinstance(shown, list) and isinstance(got, list):
        numbers = all(isinstance(value, float) for value in shown) and len(shown) > 1
        if len(shown) != len(got) and not (numbers and len(got) > len(shown)):
            yield f"{where} has {len(got)} entries, the page shows {len(shown)}"
        for place, (first, second) in enumerate(zip(shown, got, strict=False)):
            unlike = _far if numbers else alike
            yield from unlike(first, second, f"{where}.{place}")
    elif isinstance(shown, float) and isinstance(got, (int, float)):
        # A probability near 0 changes with its logit by the same part of it.
        relative = min(_OF_A_SCORE, abs(shown) * _OF_A_LOGIT)
        yield from _far(shown, got, where, _OF_A_LOGIT if "logit" in where else relative)
    elif shown != got:
        yield f"{where} is {got!r}, the page shows {shown!r}"


def _far(shown: float, got: float, where: str, most: float = _OF_A_SCORE) -> Iterator[str]:
    """Yield where a number is further from the example than it is on any CPU."""
    if abs(got - shown) > most:
        yield f"{where} is {got}, the page shows {shown}"


def _other_kind(shown: Any, got: Any, where: str) -> Iterator[str]:
    """Yield where a value that is another each time has other keys than the page shows, or counts nothing
    where the page counts something.
    """
    if isinstance(shown, dict) and isinstance(got, dict) and set(shown) != set(got):
        yield f"{where} has the keys {sorted(got)}, the page shows {sorted(shown)}"
    if where.rpartition(".")[2] in _COUNTS and bool(shown) != bool(got):
        yield f"{where} is {got!r}, the page shows {shown!r}"


def _replaced(value: Any, index: str, pit: str | None) -> Any:
    if isinstance(value, list):
        return [_replaced(part, index, pit) for part in value]
    if isinstance(value, dict):
        return {
            key: pit if key == "id" and pit is not None else _replaced(part, index, pit)
            for key, part in value.items()
        }
    return index if value == "articles" else value
