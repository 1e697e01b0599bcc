"""Refuses es-rerank's retrievers in the search APIs that it does not serve: asynchronous search, templates,
ES|QL, and those that run a search as a part of something else.

All other requests to these APIs go to Elasticsearch with ``--pass-through`` and are not served without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from ...errors import InvalidSearchError, RequestError
from ...retrievers.grammar.json_values import read_json
from ...retrievers.grammar.plugin_names import NAMES
from ...retrievers.grammar.tree import RETRIEVERS_RUN_HERE
from ...retrievers.grammar.unparsed_tree import retrievers_in, tree_of
from ..messages.body import Counted, read_body
from ..messages.wire import parsed
from ..service import Service
from .existence import ExactRoute
from .search import Running, forwarded_search

router = APIRouter(route_class=ExactRoute, include_in_schema=False)

_WRITTEN = re.compile(r'"retrievers?"\s*:\s*(?:\[\s*)?\{\s*(?:"retriever"\s*:\s*\{\s*)?"(\w+)"')
_RANKED = re.compile(r'"rank"\s*:\s*\{\s*"(\w+)"')
"""These find retrievers, and the older way to write one of them, in a template that is no JSON before its
parameters are put in.
"""

_MOST_VALUES = 100_000
_MOST_BYTES = 1 << 20
"""A body with more values or bytes is sent on without a look: templates are short, and Elasticsearch itself
refuses what its licence does not cover."""

_POST = (
    "/_async_search",
    "/{index}/_async_search",
    "/_query",
    "/_query/async",
    "/_fleet/_fleet_search",
    "/{index}/_fleet/_fleet_search",
    "/_rank_eval",
    "/{index}/_rank_eval",
)
_GET_OR_POST = (
    "/_search/template",
    "/{index}/_search/template",
    "/_msearch/template",
    "/{index}/_msearch/template",
)


async def other_search(request: Request, service: Running) -> Response:
    """Return Elasticsearch's own answer, if requests are passed through.

    Raises InvalidSearchError when the request holds a retriever that es-rerank runs, HTTPException when
    requests are not passed through.
    """
    counted = Counted(values=_MOST_VALUES)
    body = await read_body(request, service.limits.body_bytes, counted, lambda _: False)
    kind = None
    named = b"retriever" in body.plain or (b"rank" in body.plain and b"rrf" in body.plain)
    if named and body.fault is None and len(body.plain) <= _MOST_BYTES:
        kind = await parsed(request, body.plain, lambda data: next(_run_here(data, service), None))
    if kind is not None:
        inside = f"; or install the plugin es-rerank and name [{NAMES[kind]}]" if kind in NAMES else ""
        raise InvalidSearchError(
            f"es-rerank runs [{kind}] in _search and _msearch only, not in [{request.scope['path']}]; send "
            f"the search there{inside}"
        )
    if not service.pass_through:
        raise HTTPException(404)
    return await forwarded_search(request, service, body.data)


for _path in _POST:
    router.add_api_route(_path, other_search, methods=["POST"])
for _path in _GET_OR_POST:
    router.add_api_route(_path, other_search, methods=["GET", "POST"])


def _run_here(data: bytes, service: Service) -> Iterator[str]:
    """Yield the kinds of retriever in a body, one JSON value or one for each line, that es-rerank runs."""
    names = RETRIEVERS_RUN_HERE.difference(service.elasticsearch_runs)
    for value in _values(data):
        yield from _in_value(value, names)


def _values(data: bytes) -> list[Any]:
    try:
        return [read_json(data)]
    except RequestError:
        pass
    try:
        return [read_json(line) for line in data.splitlines() if line.strip()]
    except RequestError:
        return []  # Elasticsearch says what is wrong


def _in_value(value: Any, names: Collection[str]) -> Iterator[str]:  # noqa: ANN401 any JSON value
    if not isinstance(value, dict):
        return
    source = value.get("source")
    if isinstance(source, str):
        found = _WRITTEN.findall(source) + _RANKED.findall(source)
        yield from (kind for kind in found if kind in names)
    rated = value.get("requests")
    parts = [value, source, *(entry.get("request") for entry in _objects(rated))]
    for part in _objects(parts):
        yield from (kind for kind, _ in retrievers_in(tree_of(part)) if kind in names)


def _objects(values: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
