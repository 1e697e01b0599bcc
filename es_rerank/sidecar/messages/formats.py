"""Decides which searches es-rerank can read and answer: it reads and writes JSON only."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from fastapi import Request

from ...errors import MediaTypeError, RequestError
from ...retrievers.grammar.tree import RETRIEVERS_RUN_HERE, VECTOR_BUILDER

_JSON = re.compile(r"\s*application/(?:vnd\.elasticsearch\+)?(?:(?:x-nd)?json|\*)\s*(?:;|$)", re.IGNORECASE)
_OTHER = re.compile(r"\b(yaml|cbor|smile)\b", re.IGNORECASE)
"""The formats that Elasticsearch reads and writes besides JSON."""

_REMEDY = "send it as application/json and accept application/json"


def is_json(request: Request) -> bool:
    """Whether Elasticsearch reads the body of a request as JSON.

    A body in the URL has its type there. Elasticsearch itself refuses other types, a body without one, and
    one with two.
    """
    if len(request.headers.getlist("content-type")) > 1:
        return False
    written = request.query_params.get("source_content_type") if "source" in request.query_params else None
    return bool(_JSON.match(request.headers.get("content-type", "") if written is None else written))


async def json_object_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request whose client may not name its media type.

    A web page may send a body of any type but JSON to every address that its browser reaches, without asking
    first (CORS). Its request has the header ``Origin``. Raises MediaTypeError for such a request,
    RequestError when the body is not an object.
    """
    if "origin" in request.headers and not is_json(request):
        raise MediaTypeError("a web page must send a body with the header Content-Type: application/json")
    value = await request.json()
    if not isinstance(value, dict):
        raise RequestError("the request body must be a JSON object")
    return value


def check_readable(request: Request, data: bytes, elasticsearch_runs: Collection[str]) -> None:
    """Check a body that is not JSON: Elasticsearch may read it, but es-rerank cannot.

    Raises MediaTypeError when the body names a retriever that Elasticsearch would not run.
    """
    names = RETRIEVERS_RUN_HERE.difference(elasticsearch_runs)
    if VECTOR_BUILDER not in elasticsearch_runs:
        names |= {"text_embedding"}
    found = _OTHER.search(request.headers.get("content-type", "")) or _OTHER.search(
        request.query_params.get("source_content_type", "")
    )
    if b"retriever" not in data:
        names &= {"rrf"} if b"rank" in data else frozenset()  # the older way to write that retriever
    if found is None:
        return
    named = next((name for name in sorted(names) if name.encode() in data), None)
    if named is not None:
        raise MediaTypeError(f"es-rerank runs [{named}] and does not read {found[1].upper()}; {_REMEDY}")


def check_answerable(request: Request) -> None:
    """Check that the caller of a search that es-rerank runs takes JSON.

    The parameter ``format`` goes before the header ``Accept``, and a list of types there means JSON, as in
    Elasticsearch. Raises MediaTypeError when the caller wants YAML, CBOR or SMILE.
    """
    wanted = request.query_params.get("format") or request.headers.get("accept", "")
    found = None if "," in wanted else _OTHER.search(wanted)
    if found is not None:
        raise MediaTypeError(
            f"es-rerank answers this search and does not write {found[1].upper()}; {_REMEDY}"
        )
