"""Forwards every other path to Elasticsearch, with streamed bodies. Off by default (``--pass-through``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.types import Message

from ..messages.methods import METHODS
from ..messages.wire import cancel_on_disconnect
from .search import Running

router = APIRouter(include_in_schema=False)


@router.api_route("/{path:path}", methods=list(METHODS))
async def pass_through(request: Request, service: Running) -> Response:
    """Return Elasticsearch's answer to any request. Elasticsearch checks the caller's own credentials."""
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    if not has_body:
        return await cancel_on_disconnect(
            request, service.upstream.send(request, b"", again=request.method in {"GET", "HEAD"})
        )
    # The body is streamed to Elasticsearch. If the caller leaves, the stream ends and the request fails. The
    # message after the body says that the caller has left.
    taken = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk
        taken.set()

    async def after_the_body() -> Message:
        await taken.wait()
        return await request.receive()

    watched = Request(request.scope, after_the_body)
    return await cancel_on_disconnect(watched, service.upstream.send(request, body()))
