"""Checks the sidecar's own API keys on the paths that use the models directly: rerank, embedding, inference.

Searches need no key of the sidecar. Elasticsearch decides whether a caller may search.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from ..errors import UnauthorizedError
from .wire import check_length, read_bytes


def key_hash(key: str) -> str:
    """Return the hash of a key for the setting ``api_key_hashes``: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def require_key(request: Request) -> None:
    """Check that the ``Authorization`` header of a request holds one of the sidecar's keys.

    If the sidecar has no keys, every request passes. Raises UnauthorizedError when the key is missing or
    wrong.
    """
    hashes: tuple[str, ...] = request.app.state.service.api_key_hashes
    if not hashes:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key_hash(key.strip())
    # All hashes are compared, each in constant time. The time of the check then tells nothing about the keys.
    known = [hmac.compare_digest(given, expected) for expected in hashes]
    if scheme.lower() not in {"bearer", "apikey"} or not any(known):
        raise UnauthorizedError(
            "this path needs a key of the sidecar: send Authorization: Bearer KEY "
            "(setting api_key_hashes holds the hashes of its keys)"
        )


class KeyedRoute(APIRoute):
    """A route that uses the models and needs a key.

    It checks the declared length of the body, then the key. Only then it reads and parses the body.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, preceded by the checks."""
        handle = super().get_route_handler()

        async def handle_admitted(request: Request) -> Response:
            limit = request.app.state.service.limits.body_bytes
            check_length(request, limit)
            require_key(request)
            return await handle(_Admitted(request, await read_bytes(request, limit)))

        return handle_admitted


class _Admitted(Request):
    """A request that passed the checks, with the body that was read within the limit."""

    def __init__(self, request: Request, data: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._data = data

    async def body(self) -> bytes:
        return self._data
