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

from ..errors import RequestError, UnauthorizedError
from ..retrievers.grammar.json_values import read_json
from .service import too_many_documents
from .wire import check_length, read_bytes

_MOST_KEYS = 50


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
            data = await read_bytes(request, limit)
            value = read_json(data) if data.strip() else None
            _check_counts(value, request.app.state.service.limits.documents)
            return await handle(_Admitted(request, data, value))

        return handle_admitted


def _check_counts(body: Any, documents: int) -> None:  # noqa: ANN401 any JSON value
    """Check how many keys and how many documents a body holds, before each of them is checked by itself.

    Raises RequestError for more than 50 keys: no request has as many. Raises TooLargeError for a list, or the
    hits of a response, with more entries than ``documents``.
    """
    if not isinstance(body, dict):
        return
    if len(body) > _MOST_KEYS:
        raise RequestError(
            f"the request body has {len(body)} keys, at most {_MOST_KEYS} are read; remove keys"
        )
    response = body.get("response")
    hits = response.get("hits") if isinstance(response, dict) else None
    lists = [*body.values(), hits.get("hits") if isinstance(hits, dict) else None]
    count = max((len(entries) for entries in lists if isinstance(entries, list)), default=0)
    if count > documents:
        raise too_many_documents(count, documents)


class _Admitted(Request):
    """A request that passed the checks, with the body that was read within the limit."""

    def __init__(self, request: Request, data: bytes, value: Any) -> None:  # noqa: ANN401 any JSON value
        super().__init__(request.scope, request.receive)
        self._data, self._value = data, value

    async def body(self) -> bytes:
        return self._data

    async def json(self) -> Any:  # noqa: ANN401 any JSON value
        return self._value
