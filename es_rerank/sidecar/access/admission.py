"""Says for each request who asks, so that the models are shared fairly between callers."""

from __future__ import annotations

import hashlib

from starlette.types import ASGIApp, Receive, Scope, Send

from ...caller import CALLER, KNOWN_BY, Caller, during
from ..upstream.headers import known_by


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request: the digest of its ``Authorization``, else the address it comes from."""
    for name, value in scope.get("headers", ()):
        if name == b"authorization":
            return Caller(hashlib.sha256(value).hexdigest())
    return peer_of(scope)


def peer_of(scope: Scope) -> Caller:
    """Return the address that a request comes from, as a caller."""
    client = scope.get("client")
    return Caller(client[0] if client else "")


class Callers:
    """A middleware that sets ``CALLER`` and ``KNOWN_BY`` for all that is done for a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of one caller."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with during(CALLER, caller_of(scope)), during(KNOWN_BY, known_by(scope)):
            await self._app(scope, receive, send)
