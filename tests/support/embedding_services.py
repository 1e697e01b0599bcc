"""Embedding services in this process, over a real port: OpenAI's, TEI's, Ollama's and Cohere's formats."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rerank_services import KEY, FakeService
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from es_rerank.testing import HashEmbedder

DIMS = 16
MODEL = "hash-16"
TOO_LONG = "zu lang"
"""A text with these words is too long for every service here."""


@dataclass
class FakeEmbedder(FakeService):
    """What a service was asked, and what it answers: ``replies`` in turn, then vectors of HashEmbedder, which
    are not of length 1. ``spoil`` changes the vectors; ``most`` is how many texts one request may have.
    ``info`` is what ``GET /info`` answers, None for no such path. ``status`` is that of a text too long.
    """

    vectors_spoilt: Callable[[list[Any]], Any] = lambda vectors: vectors
    most: int = 1_000
    info: dict[str, Any] | None = None
    model: str = MODEL
    key: str | None = KEY
    status: int = 400
    sent: list[str] = field(default_factory=list)

    async def answer(self, request: Request, key: str, write: Callable[[list[Any]], Any]) -> Response:
        if (reply := await self.reply(request)) is not None:
            return reply
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": f"wrong key {KEY}"}}, 401)
        texts = self.bodies[-1].get(key)
        if not isinstance(texts, list) or not texts:
            return JSONResponse({"error": f"{key} is missing"}, 422)
        if len(texts) > self.most:
            return JSONResponse({"error": {"message": f"at most {self.most} texts"}}, 413)
        if any(TOO_LONG in text for text in texts):
            return JSONResponse({"error": {"message": "input is too long"}}, self.status)
        self.sent += texts
        vectors = (HashEmbedder(DIMS).embed(texts) * 2).tolist()
        return Response(json.dumps(write(self.vectors_spoilt(vectors))), media_type="application/json")


def embedding_app(service: FakeEmbedder, *paths: str) -> Starlette:
    """Return an application that answers at these paths: each tells its format."""

    def rows(vectors: list[Any]) -> Any:
        found = [{"object": "embedding", "index": place, "embedding": v} for place, v in enumerate(vectors)]
        return {"object": "list", "data": found[::-1], "model": service.model}

    async def openai(request: Request) -> Response:
        return await service.answer(request, "input", rows)

    async def tei(request: Request) -> Response:
        return await service.answer(request, "inputs", lambda vectors: vectors)

    async def ollama(request: Request) -> Response:
        return await service.answer(request, "input", lambda v: {"model": service.model, "embeddings": v})

    async def cohere(request: Request) -> Response:
        return await service.answer(request, "texts", lambda v: {"embeddings": {"float": v}, "meta": {}})

    async def info(_: Request) -> Response:
        return JSONResponse({}, 404) if service.info is None else JSONResponse(service.info)

    known = {
        "/v1/embeddings": openai,
        "/embeddings": openai,
        "/embed": tei,
        "/api/embed": ollama,
        "/v2/embed": cohere,
    }
    routes = [Route(path, known[path], methods=["POST"]) for path in paths]
    return Starlette(routes=[*routes, Route("/info", info)])


def in_base64(vectors: list[Any]) -> list[str]:
    return [base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode() for vector in vectors]
