"""Reads paths as Elasticsearch does: it splits them at slashes first, and decodes names only.

An example is ``/%3Clogs-%7Bnow%2Fd%7D%3E/_search/``. A web server decodes the whole path first, so that an
escaped slash looks like one that separates. Names with slashes are date math in index names, and ids of
models such as ``BAAI/bge-reranker-base``. ``/_scripts/_%73earch`` is no search for Elasticsearch: it stores a
script with the id ``_search``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Query, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ...dialects.paths import spoken_at, with_single_slashes
from ...errors import EsRerankError, RequestError


class ReadPaths:
    """Changes the path by which a request finds its route to what Elasticsearch compares: the path as it was
    sent, without slashes at the end. The path that is sent on to Elasticsearch stays as it came.

    In a path of another server's format, which Elasticsearch does not have, slashes may be doubled.

    ``refuse`` returns the answer to a path that another server could read as a different path.
    """

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, EsRerankError], Response]) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        raw = scope.get("raw_path") if scope["type"] == "http" else None
        if raw is None:
            await self._app(scope, receive, send)
            return
        fault = path_fault(raw, scope["query_string"])
        if fault is not None:
            await self._refuse(Request(scope), RequestError(fault))(scope, receive, send)
            return
        path = raw.decode("latin-1").rstrip("/") or "/"
        if "//" in path and spoken_at(path, scope["method"]) is not None:
            path = with_single_slashes(path)
        scope["path"] = path
        await self._app(scope, receive, send)


def path_fault(raw: bytes, query: bytes) -> str | None:
    """Return why a path and a query are not those of a URL, None where they are.

    ``*`` is the path of ``OPTIONS *`` (RFC 9112, 3.2.4).
    """
    if b"#" in raw or b"#" in query:
        return "the path and the query of a request may not hold [#]; write it as %23"
    if not raw.startswith(b"/") and raw != b"*":
        return "the path of a request must begin with [/]"
    if any(unquote(part) in {".", ".."} for part in raw.decode("latin-1").split("/")):
        return "no part of a path may be [.] or [..]: proxies and clients resolve them as folders"
    return None


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


async def _named(model: Annotated[str | None, Query()] = None) -> str | None:
    return model or None


NamedModel = Annotated[str | None, Depends(_named)]
"""The query parameter ``model``. An empty one is none, as in a body."""
