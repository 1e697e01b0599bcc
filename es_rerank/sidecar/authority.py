"""Who may ask the models: the sidecar's own keys, on rerank, embedding and inference paths. Searches are Elasticsearch's to allow."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request

from ..errors import UnauthorizedError


def key_hash(key: str) -> str:
    """Return what the setting ``api_key_hashes`` holds of a key: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


async def require_key(request: Request) -> None:
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
        raise UnauthorizedError("this path needs a key of the sidecar: send Authorization: Bearer KEY (setting api_key_hashes holds the hashes of its keys)")
