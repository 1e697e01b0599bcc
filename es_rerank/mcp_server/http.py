"""MCP over HTTP (the transport "streamable HTTP"), at the path ``/mcp``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import EsRerankError
from ..sidecar.access.keys import Keys, read_again_on_sighup
from ..sidecar.observation.observed import Observed, Sink
from ..sidecar.server.connections import Connections
from .callers import Admitted, Place, refused
from .calls import Cancellable

PATH = "/mcp"
"""The path of the endpoint."""

_MOST_BYTES = 1 << 20
"""Largest body in bytes. A query has at most 65,536 characters, of at most 12 bytes each in JSON."""


@dataclass
class Serving:
    """What the web server and the application tell each other (see ``sidecar.life.Served``)."""

    connections: Connections | None = None
    stopping: bool = False
    load_error: EsRerankError | None = None


def create_app(
    server: Server[Any],
    close: Callable[[], Awaitable[None]],
    keys: Keys,
    *,
    on_loopback: bool,
    places: Sequence[Place] = (),
    sinks: tuple[Sink, ...] = (),
) -> Starlette:
    """Return the ASGI application of the server. ``close`` is called at its end.

    ``keys``: if there are some, each request needs one. ``on_loopback``: whether the application listens on
    an address of this machine only. Then ``Host`` and ``Origin`` must name it, or one of ``places``, so that
    no page in a browser reaches it by DNS rebinding. Beyond this machine they are checked only if there are
    ``places``: there every request needs a key, which no page knows. ``sinks`` get the record of each
    request.

    Each request stands alone. The server has no sessions, which callers could use up, and needs none.
    """
    manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=_MOST_BYTES)
    endpoint = RequestBodyLimitMiddleware(Cancellable(StreamableHTTPASGIApp(manager)), _MOST_BYTES)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            async with manager.run():
                with read_again_on_sighup(keys):
                    yield
        finally:
            await close()

    # A GET would wait for messages that this server never sends, and hold up its end.
    app = Starlette(
        routes=[Route(path, endpoint, methods=["POST"]) for path in (PATH, f"{PATH}/")],
        middleware=[
            Middleware(Observed, sinks=sinks),
            Middleware(Admitted, keys=keys, places=places, on_loopback=on_loopback),
        ],
        exception_handlers={HTTPException: _not_served},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would repeat the caller's Host
    return app


async def _not_served(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    said = f"nothing is served at this path; MCP is served at {PATH}"
    if status == 405:
        said = "this server has no sessions and sends nothing unasked; send each call as a POST"
    return refused(status, said, getattr(error, "headers", None))
