"""Reads paths as Elasticsearch does: with escaped slashes in names, and with slashes at the end.

An example is ``/%3Clogs-%7Bnow%2Fd%7D%3E/_search/``. A web server decodes the whole path first, so that an
escaped slash looks like one that separates. Names with slashes are date math in index names, and ids of
models such as ``BAAI/bge-reranker-base``.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

_ESCAPED = "%2F"


class ReadSlashes:
    """Changes the path by which a request finds its route: escaped slashes stay escaped, and slashes at the
    end are left out. The path that is sent on to Elasticsearch stays as it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and (b"%2f" in raw.lower() or (raw.endswith(b"/") and raw != b"/")):
            scope["path"] = "/".join(unquote(part).replace("/", _ESCAPED) for part in _parts(raw)) or "/"
        await self._app(scope, receive, send)


def _parts(raw: bytes) -> list[str]:
    return raw.decode("latin-1").rstrip("/").split("/")


def _part(request: Request, name: str, decoded: str) -> str:
    """Return the part of the path that the parameter ``name`` of the route stands for.

    ``decoded`` is its value where the server does not tell the path as it was sent.
    """
    raw: bytes | None = request.scope.get("raw_path")
    if raw is None:
        return decoded
    template = request.scope["route"].path.split("/")
    return unquote(_parts(raw)[template.index(f"{{{name}}}") - len(template)])


# Coroutines: FastAPI runs a plain function in a thread.
async def _index(request: Request, index: str) -> str:
    return _part(request, "index", index)


async def _inference_id(request: Request, inference_id: str) -> str:
    return _part(request, "inference_id", inference_id)


Index = Annotated[str, Depends(_index)]
"""The index expression in the path of a request."""

InferenceId = Annotated[str, Depends(_inference_id)]
"""The id of an inference endpoint in the path of a request."""
