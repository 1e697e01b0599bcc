"""What an Elasticsearch client asks before it works: whether anything is there (``ping``, ``info``), and whether an index is.

These go to Elasticsearch also without ``--pass-through``. A client reads every answer but 2xx to ``HEAD /`` as "Elasticsearch is
down", and raises no error that would say otherwise.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ..retrievers.execution.commands import index_path
from .search import Running
from .wire import cancel_on_disconnect


class _ExactRoute(APIRoute):
    """A route that other methods on its path do not meet: they are not served (501), rather than not allowed (405)."""

    def matches(self, scope: Any) -> tuple[Match, Any]:  # noqa: ANN401 an ASGI scope
        match, child = super().matches(scope)
        return (Match.NONE, {}) if match is Match.PARTIAL else (match, child)


router = APIRouter(route_class=_ExactRoute, include_in_schema=False)


@router.get("/")
@router.head("/")
async def about(request: Request, service: Running) -> Response:
    """Return Elasticsearch's own answer to who it is."""
    return await cancel_on_disconnect(request, service.upstream.send(request, b"", again=True))


@router.head("/{index}")
async def exists(request: Request, index: str, service: Running) -> Response:
    """Return Elasticsearch's own answer to whether an index exists."""
    if index.startswith("_") and index != "_all":
        raise HTTPException(404)
    index_path(index)
    return await cancel_on_disconnect(request, service.upstream.send(request, b"", again=True))
