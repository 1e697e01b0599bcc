"""MCP over HTTP (the transport "streamable HTTP"), at the path ``/mcp``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from ..errors import EsRerankError
from ..sidecar.access.keys import Keys, read_again_on_sighup
from ..sidecar.server.connections import Connections

PATH = "/mcp"
"""The path of the endpoint."""

_MOST_BYTES = 1 << 20
"""Largest body in bytes. A query has at most 65,536 characters, of at most 12 bytes each in JSON."""

_MOST_SESSIONS = 1_000
"""Most sessions of callers at a time."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""The names by which this machine reaches itself."""


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
    names: Sequence[str] = (),
) -> Starlette:
    """Return the ASGI application of the server. ``close`` is called at its end.

    ``keys``: if there are some, each request needs one. ``on_loopback``: whether the application listens on
    an address of this machine only. Then ``Host`` and ``Origin`` must name it, or one of ``names``, so that
    no page in a browser reaches it by DNS rebinding. Beyond this machine they are checked only if there are
    ``names``: there every request needs a key, which no page knows.
    """
    manager = StreamableHTTPSessionManager(
        server,
        security_settings=_expected(on_loopback=on_loopback, names=names),
        max_request_body_size=_MOST_BYTES,
        max_sessions=_MOST_SESSIONS,
    )
    endpoint: ASGIApp = StreamableHTTPASGIApp(manager)
    if keys.asked:
        required = RequireAuthMiddleware(endpoint, [])
        endpoint = AuthenticationMiddleware(required, backend=BearerAuthBackend(_Verifier(keys)))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            async with manager.run():
                with read_again_on_sighup(keys):
                    yield
        finally:
            await close()

    # A GET would wait for messages that this server never sends, and hold up its end.
    return Starlette(routes=[Route(PATH, endpoint, methods=["POST", "DELETE"])], lifespan=lifespan)


class _Verifier:
    """Finds the key that a request holds. A session belongs to the key that began it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what is known about a key, None if it is wrong or has expired."""
        key = self._keys.find(token.strip().encode("latin-1"))  # the bytes that came
        if key is None or key.expired:
            return None
        return AccessToken(token=token, client_id=key.name, scopes=[])


def _expected(*, on_loopback: bool, names: Sequence[str]) -> TransportSecuritySettings:
    hosts = [*(_LOOPBACK if on_loopback else ()), *names]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=bool(hosts),
        allowed_hosts=[pattern for host in hosts for pattern in (host, f"{host}:*")],
        allowed_origins=[
            pattern
            for host in hosts
            for scheme in ("http", "https")
            for pattern in (f"{scheme}://{host}", f"{scheme}://{host}:*")
        ],
    )
