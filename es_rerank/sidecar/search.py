"""``POST /{index}/_search``: what the official clients send, answered by ``AsyncRerankClient``."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from ..client import SEARCH_PARAMETERS
from ..errors import RequestError
from ..retrievers.tree import needs_us
from .service import Service
from .wire import answer, read_json, timeout_s, unless_left

router = APIRouter(tags=["Elasticsearch"])


def service_of(request: Request) -> Service:
    """Return the running service."""
    service: Service = request.app.state.service
    return service


Running = Annotated[Service, Depends(service_of)]

_BODY = {
    "requestBody": {
        "content": {"application/json": {"schema": {"type": "object", "description": "Elasticsearch's _search body; a retriever in it is run here."}}}
    }
}


@router.post("/_search", openapi_extra=_BODY)
async def search_all(request: Request, service: Running) -> Response:
    """Search without an index in the path: all indices, or those of a point in time."""
    return await _search(request, service, None)


@router.post("/{index}/_search", openapi_extra=_BODY)
async def search_index(request: Request, index: str, service: Running) -> Response:
    """Search one or several indices; a tree without a reranker goes to Elasticsearch unchanged.

    ``Authorization`` goes to Elasticsearch unchanged; ``X-Rerank-Timeout-Ms`` bounds the search.
    """
    return await _search(request, service, index)


async def _search(request: Request, service: Service, index: str | None) -> Response:
    body = await read_json(request, service.limits.body_bytes)
    client = service.client(request.headers.get("authorization"))
    if not needs_us(body.get("retriever")):
        path = f"/{quote(index, safe=',*')}/_search" if index else "/_search"
        query = f"?{request.url.query}" if request.url.query else ""
        found = await unless_left(
            request, client.perform_request("POST", path + query, headers={"accept": "application/json", "content-type": "application/json"}, body=body)
        )
        return answer(request, found.body, found.meta.status)
    found = await unless_left(request, client.search(index=index, body=body, timeout_s=timeout_s(request), **_parameters(request)))
    return answer(request, found.body)


def _parameters(request: Request) -> dict[str, Any]:
    """Return the query parameters of a search that we run.

    Raises RequestError for one that we cannot honour: nothing is ignored.
    """
    given = dict(request.query_params)
    counts = {name: given.pop(name) for name in ("from", "size") if name in given}
    unknown = [name for name in given if name not in SEARCH_PARAMETERS]
    if unknown:
        raise RequestError(f"request [{request.url.path}] contains unrecognized parameter: [{', '.join(unknown)}], or one that a reranked search cannot honour")
    bad = [f"{name}={value}" for name, value in counts.items() if not value.isdecimal()]
    if bad:
        raise RequestError(f"[{', '.join(bad)}] must be a non-negative integer")
    return {**given, **{name: int(value) for name, value in counts.items()}}
