"""Every other path, off unless asked for: to Elasticsearch and back, bodies streamed both ways."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from .search import Running
from .wire import cancel_on_disconnect

router = APIRouter(include_in_schema=False)

_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


@router.api_route("/{path:path}", methods=_METHODS)
async def pass_through(request: Request, service: Running) -> Response:
    """Return Elasticsearch's answer to whatever was asked; its security decides, on the caller's own credentials."""
    carries = "content-length" in request.headers or "transfer-encoding" in request.headers
    if carries:
        # The body is on its way while the answer is awaited: who left is seen when the stream ends.
        return await service.upstream.send(request, request.stream())
    return await cancel_on_disconnect(
        request, service.upstream.send(request, b"", again=request.method in {"GET", "HEAD"})
    )
