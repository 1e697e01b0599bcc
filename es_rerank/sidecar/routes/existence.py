"""Forwards the requests that a client sends before others: ``ping``, ``info``, and whether an index exists.

They go to Elasticsearch even without ``--pass-through``. If the answer to ``HEAD /`` is not 2xx, a client
reports that Elasticsearch is down and hides the real reason.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ...retrievers.execution.commands import index_path
from ..messages.paths import Index
from .search import Running, forwarded_search


class ExactRoute(APIRoute):
    """A route that does not match other methods on its path.

    The answer to another method is then 501 (not served) instead of 405 (method not allowed).
    """

    def matches(self, scope: Any) -> tuple[Match, Any]:  # noqa: ANN401 an ASGI scope
        """Return how the route matches a request, and what it adds to the scope."""
        match, child = super().matches(scope)
        return (Match.NONE, {}) if match is Match.PARTIAL else (match, child)


router = APIRouter(route_class=ExactRoute)


@router.get("/")
@router.head("/")
async def about(request: Request, service: Running) -> Response:
    """Return Elasticsearch's own answer to ``GET /`` or ``HEAD /``."""
    return await forwarded_search(request, service, b"", again=True)


@router.head("/{index}")
async def exists(request: Request, index: Index, service: Running) -> Response:
    """Return Elasticsearch's own answer to whether an index exists, also for a name such as ``rescore``,
    whose path the sidecar serves to other methods.

    Raises RequestError when Elasticsearch would not accept the name of the index.
    """
    if index.startswith("_") and index != "_all":
        raise HTTPException(404)
    index_path(index)
    return await forwarded_search(request, service, b"", again=True)
