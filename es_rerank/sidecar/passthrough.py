"""Forwards every other path to Elasticsearch, with streamed bodies. Off by default (``--pass-through``)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from .search import Running
from .wire import cancel_on_disconnect

router = APIRouter(include_in_schema=False)

_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


@router.api_route("/{path:path}", methods=_METHODS)
async def pass_through(request: Request, service: Running) -> Response:
    """Return Elasticsearch's answer to any request. Elasticsearch checks the caller's own credentials."""
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    if has_body:
        # The body is streamed to Elasticsearch. If the caller leaves, the stream ends and the request fails.
        return await service.upstream.send(request, request.stream())
    return await cancel_on_disconnect(
        request, service.upstream.send(request, b"", again=request.method in {"GET", "HEAD"})
    )
