"""Elasticsearch's search endpoints.

``AsyncRerankClient`` answers the searches that need es-rerank. All other searches go to Elasticsearch, and
their answers come back, byte for byte.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from elastic_transport import ApiResponseMeta
from fastapi import APIRouter, Depends, Request, Response

from ...errors import RequestError, RetrieverParsingError
from ...retrievers.grammar.faults import ILLEGAL, NOT_A_NUMBER
from ...retrievers.grammar.json_values import read_json
from ...retrievers.grammar.parameters import (
    OF_INDICES,
    OF_MSEARCH,
    OF_QUERY_STRING,
    SEARCH_PARAMETERS,
    whole_number,
)
from ...retrievers.grammar.suggestions import close_to
from ...retrievers.grammar.unparsed_tree import needs_es_rerank, size_of, tree_of
from ..messages.body import Counted, read_body
from ..messages.formats import check_answerable, check_readable, is_json
from ..messages.paths import Index
from ..messages.wire import (
    answer,
    cancel_on_disconnect,
    check_utf8,
    json_object,
    parsed,
    timeout_s,
)
from ..service import Service
from .turned_away import check_backlog

router = APIRouter(tags=["Elasticsearch"])

_RETRIEVER = b'"retriever"'
_RANK, _RRF = b'"rank"', b'"rrf"'
"""A body without these bytes has no retriever and no fusion by rank, so Elasticsearch can answer it."""

# Body keys of _search that a URL may also hold, by the type of their values (observed on Elasticsearch 9.5).
_OFF_IF_EMPTY = frozenset({"explain", "version", "seq_no_primary_term"})
_FLAGS = _OFF_IF_EMPTY | {"track_scores"}
_LISTS = frozenset({"docvalue_fields", "stored_fields", "stats", "sort"})
_NUMBERS = frozenset({"from", "size", "terminate_after"})
_WORDS = frozenset({"timeout", "q"})
_MIXED = frozenset({"_source", "track_total_hits"})
_TRUTHS = frozenset({"true", "false"})
_MOST_SEARCHES = 10_000
"""Most searches of an ``_msearch`` that es-rerank reads."""

_INT = range(-(2**31), 2**31)
_MOST_NAMED = 10
"""Most unknown parameters that an error message names. A URL may hold ten thousand of them."""

_SWITCHES = frozenset({"error_trace", "human", "pretty"})
_WRITING = _SWITCHES | {"format"}
_MSEARCH = (
    *OF_INDICES,
    *OF_MSEARCH,
    "_slice",
    "ccs_minimize_roundtrips",
    "include_named_queries_score",
    "index",
    "max_concurrent_searches",
    "routing",
    "search_type",
)
_SHOWN = 100
"""Most characters of a value that an error message repeats."""


async def service_of(request: Request) -> Service:
    """Return the running service, after a look for a local Elasticsearch that has moved."""
    service: Service = request.app.state.service
    await service.follow()
    return service


Running = Annotated[Service, Depends(service_of)]

_BODY = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "Elasticsearch's _search body. es-rerank runs the retriever in it.",
                }
            }
        }
    }
}
_LINES = {
    "requestBody": {
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "Elasticsearch's _msearch body."}
            }
        }
    }
}


async def forwarded_search(
    request: Request, service: Service, data: bytes, *, again: bool = False
) -> Response:
    """Return Elasticsearch's own answer to a request that has a deadline: that of the caller's header, else
    the longest that the service allows.

    ``again`` allows a second try if the connection was closed. Raises what ``Upstream.send`` raises.
    """
    within_s = service.longest_s(timeout_s(request))
    return await cancel_on_disconnect(
        request, service.upstream.send(request, data, again=again, within_s=within_s)
    )


@router.get("/_search", include_in_schema=False)
@router.post("/_search", openapi_extra=_BODY)
async def search_all(request: Request, service: Running) -> Response:
    """Search all indices, or the indices of a point in time. The path names no index."""
    return await _search(request, service, None)


@router.get("/{index}/_search", include_in_schema=False)
@router.post("/{index}/_search", openapi_extra=_BODY)
async def search_index(request: Request, index: Index, service: Running) -> Response:
    """Search one or several indices. A search that Elasticsearch can run goes to Elasticsearch unchanged.

    ``Authorization`` goes to Elasticsearch unchanged. ``X-Rerank-Timeout-Ms`` is the timeout of the search in
    milliseconds.
    """
    return await _search(request, service, index)


async def _search(request: Request, service: Service, index: str | None) -> Response:
    counted = Counted() if is_json(request) else None
    sent = await read_body(request, service.limits.body_bytes, counted, _may_run_here)
    plain, body = sent.plain or request.query_params.get("source", "").encode("utf-8", "replace"), None
    if counted is None:
        check_readable(request, plain, service.elasticsearch_runs)
    elif _may_run_here(plain):
        sent.check()
        if not sent.plain:
            counted.check(plain)
        body = await parsed(request, plain, lambda data: _run_here(data, service.elasticsearch_runs))
    if body is None:
        return await forwarded_search(request, service, sent.data, again=True)
    check_answerable(request)
    given = _parameters(request, in_body=bool(sent.data))
    named = given.pop("index", None)
    where = index or named
    wanted_s = timeout_s(request)
    check_backlog(service, tree_of(body), wanted_s)
    client = service.client(request.headers)
    response = await cancel_on_disconnect(
        request, client.search(index=where, body=body, timeout_s=wanted_s, **given)
    )
    return answer(request, response.body, headers=_warning(response.meta))


def _may_run_here(data: bytes) -> bool:
    return _RETRIEVER in data or (_RANK in data and _RRF in data)


def _run_here(data: bytes, elasticsearch_runs: frozenset[str]) -> dict[str, Any] | None:
    """Return the body of a search that es-rerank runs, None for another.

    Raises what ``json_object`` and ``size_of`` raise.
    """
    body = json_object(data)
    tree = tree_of(body)
    if not needs_es_rerank(tree, elasticsearch_runs):
        return None
    size_of(tree)  # what looks at the tree from here on does so on the event loop
    return body


def _warning(meta: ApiResponseMeta) -> dict[str, str]:
    """Return Elasticsearch's header ``Warning``, if its answer has one."""
    return {"Warning": meta.headers["warning"]} if "warning" in meta.headers else {}


def _parameters(request: Request, *, in_body: bool) -> dict[str, Any]:
    """Return the query parameters of a search that es-rerank runs. ``in_body``: the search is in the body.

    Raises RequestError for a parameter that es-rerank does not support. No parameter is ignored.
    """
    given = _given(request, _WRITING if in_body else _WRITING | {"source", "source_content_type"})
    known = (
        SEARCH_PARAMETERS
        | _FLAGS
        | _LISTS
        | _NUMBERS
        | _WORDS
        | {"_source", "filter_path", "index", "track_total_hits", *OF_QUERY_STRING}
    )
    unknown = [name for name in given if name not in known]
    if unknown:
        raise _unrecognized(request, unknown, known)
    return {name: _parsed(name, value) for name, value in given.items()}


def _given(request: Request, of_the_answer: frozenset[str]) -> dict[str, str]:
    """Return the query parameters that are no matter of how the answer is written.

    Raises RequestError when one of those is neither true nor false.
    """
    given = dict(request.query_params.items())
    for name in _SWITCHES.intersection(given):
        _switch(name, given[name])
    return {name: value for name, value in given.items() if name not in of_the_answer}


def _switch(name: str, value: str) -> bool:
    if value not in {"", *_TRUTHS}:
        raise RequestError(
            f"Failed to parse value [{value}] as only [true] or [false] are allowed for [{name}]"
        )
    return value != "false"


def _unrecognized(request: Request, unknown: list[str], known: frozenset[str]) -> RequestError:
    named = ", ".join(f"[{name}]{_suggestion(name, known)}" for name in unknown[:_MOST_NAMED])
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    return RequestError(
        f"request [{request.scope['path']}] contains unrecognized "
        f"parameter{'s' if len(unknown) > 1 else ''}: {named}{more}"
    )


def _suggestion(name: str, known: frozenset[str]) -> str:
    close = close_to(name, known)
    return f" -> did you mean [{close[0]}]?" if close else ""


def _parsed(name: str, value: str) -> Any:  # noqa: ANN401 the type depends on the parameter
    if name in _NUMBERS:
        return _integer(name, value)
    if name in _OFF_IF_EMPTY and value == "":
        return False
    if name in _FLAGS or (name == "_source" and value == "") or (name in _MIXED and value in _TRUTHS):
        return _switch(name, value)
    if name == "track_total_hits":
        return _integer(name, value)
    return value.split(",") if name in _LISTS or name == "_source" else value


def _integer(name: str, value: str) -> int:
    number = whole_number(value[1:] if value.startswith("+") and not value.startswith("+-") else value)
    if number is None or number not in _INT:
        raise RetrieverParsingError(
            f"Failed to parse int parameter [{name}] with value [{value[:_SHOWN]}]",
            kind=ILLEGAL,
            cause=(NOT_A_NUMBER, f'For input string: "{value[:_SHOWN]}"'),
        )
    return number


@router.get("/_msearch", include_in_schema=False)
@router.post("/_msearch", openapi_extra=_LINES)
async def msearch_all(request: Request, service: Running) -> Response:
    """Run several searches. The header line of each search may name its index."""
    return await _msearch(request, service, None)


@router.get("/{index}/_msearch", include_in_schema=False)
@router.post("/{index}/_msearch", openapi_extra=_LINES)
async def msearch_index(request: Request, index: Index, service: Running) -> Response:
    """Run several searches over one or several indices. A failed search has its error as its answer."""
    return await _msearch(request, service, index)


async def _msearch(request: Request, service: Service, index: str | None) -> Response:
    counted = Counted(lines=2 * _MOST_SEARCHES) if is_json(request) else None
    sent = await read_body(request, service.limits.body_bytes, counted, _may_run_here)
    searches = None
    if counted is None:
        check_readable(request, sent.plain, service.elasticsearch_runs)
    elif _may_run_here(sent.plain):
        sent.check()
        searches = await parsed(
            request, sent.plain, lambda data: _some_run_here(data, service.elasticsearch_runs)
        )
    if searches is None:
        return await forwarded_search(request, service, sent.data, again=True)
    check_answerable(request)
    options: dict[str, Any] = dict(_given(request, _WRITING))
    known = frozenset({*_MSEARCH, "typed_keys", "rest_total_hits_as_int", "filter_path"})
    unknown = [name for name in options if name not in known]
    if unknown:
        raise _unrecognized(request, unknown, known)
    if _integer("max_concurrent_searches", options.get("max_concurrent_searches", "1")) < 1:
        raise RequestError("maxConcurrentSearchRequests must be positive")
    named = options.pop("index", None)
    where = index or named
    client = service.client(request.headers)
    response = await cancel_on_disconnect(
        request, client.msearch(searches=searches, index=where, timeout_s=timeout_s(request), **options)
    )
    return answer(request, response.body, headers=_warning(response.meta))


def _some_run_here(data: bytes, elasticsearch_runs: frozenset[str]) -> list[dict[str, Any]] | None:
    """Return the lines of an ``_msearch`` if es-rerank runs some of its searches, else None.

    Raises what ``_lines`` raises.
    """
    searches = _lines(data)
    run_here = any(needs_es_rerank(tree_of(body), elasticsearch_runs) for body in searches[1::2])
    return searches if run_here else None


def _lines(data: bytes) -> list[dict[str, Any]]:
    """Return the headers and bodies of an ``_msearch``, one for each line. An empty line is an empty header.

    They are at most ``_MOST_SEARCHES``. Raises RequestError when the last newline is missing or a body is
    empty (as Elasticsearch does), or a line is not a JSON object.
    """
    if not data.endswith(b"\n"):
        raise RequestError("The msearch request must be terminated by a newline [\\n]")
    lines = data[:-1].split(b"\n")
    if len(lines) % 2 == 1 and not lines[-1].strip():
        lines.pop()
    if not all(line.strip() for line in lines[1::2]):
        raise RetrieverParsingError("Expected [START_OBJECT] but found [null]")
    values = [{} if not line.strip() else read_json(line) for line in lines]
    check_utf8(data, values)
    wrong = next((number for number, value in enumerate(values, 1) if not isinstance(value, dict)), None)
    if wrong is not None:
        raise RequestError(
            f"line {wrong} of the msearch request must be a JSON object, "
            f"found {json.dumps(values[wrong - 1])[:60]}"
        )
    return values


@router.post("/{index}/_pit")
async def open_point_in_time(request: Request, index: str, service: Running) -> Response:  # noqa: ARG001 the request is forwarded with its path
    """Open a point in time. Forwards the request and returns Elasticsearch's answer."""
    body = await read_body(request, service.limits.body_bytes)
    return await forwarded_search(request, service, body.data, again=True)


@router.delete("/_pit")
async def close_point_in_time(request: Request, service: Running) -> Response:
    """Close a point in time. Forwards the request and returns Elasticsearch's answer."""
    body = await read_body(request, service.limits.body_bytes)
    return await forwarded_search(request, service, body.data, again=True)
