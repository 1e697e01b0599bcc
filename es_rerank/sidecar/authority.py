"""Who may ask the models: the sidecar's own keys, on rerank, embedding and inference paths. Searches are Elasticsearch's to allow."""

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
    """Return what the setting ``api_key_hashes`` holds of a key: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def require_key(request: Request) -> None:
    """Let a request through whose ``Authorization`` carries one of the sidecar's keys; all, where it has none.

    Raises UnauthorizedError otherwise.
    """
    hashes: tuple[str, ...] = request.app.state.service.api_key_hashes
    if not hashes:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key_hash(key.strip())
    # Every hash is compared, in constant time, so that the time taken says nothing of them.
    known = [hmac.compare_digest(given, each) for each in hashes]
    if scheme.lower() not in {"bearer", "apikey"} or not any(known):
        raise UnauthorizedError(
            "this path needs a key of the sidecar: send Authorization: Bearer KEY (setting api_key_hashes holds the hashes of its keys)"
        )


class KeyedRoute(APIRoute):
    """A route to the models. Of a request first its length is looked at, then its key, and only then is its body read and parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind these looks."""
        handle = super().get_route_handler()

        async def handle_admitted(request: Request) -> Response:
            limit = request.app.state.service.limits.body_bytes
            check_length(request, limit)
            require_key(request)
            return await handle(_Admitted(request, await read_bytes(request, limit)))

        return handle_admitted


class _Admitted(Request):
    """A request whose body has been read, within the limit."""

    def __init__(self, request: Request, data: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._data = data

    async def body(self) -> bytes:
        return self._data
