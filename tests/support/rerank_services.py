"""Rerank services in this process, as strict as the real ones, over a real port:
Cohere's v2 and TEI's wire format.
"""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.testing import WordOverlapReranker

KEY = "s3cret-key"
_MODEL = WordOverlapReranker()

Rows = list[dict[str, Any]]


class Hang:
    """A reply that never comes."""


@dataclass
class FakeService:
    """What a service was asked, and what it answers: ``replies`` in turn, then scores.

    ``spoil`` changes the rows before they are sent. ``asked`` is set while a request hangs, ``left`` when its
    caller has closed the connection. ``connections`` are the callers' addresses, one per connection.
    """

    replies: list[Response | Hang] = field(default_factory=list)
    spoil: Callable[[Rows], Any] = lambda rows: rows
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    asked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    most_at_once: int = 0
    now: int = 0

    async def reply(self, request: Request) -> Response | None:
        """Record a request and return the reply that was laid out for it, if any."""
        self.connections.add(request.client)
        self.paths.append(
            f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        )
        self.headers.append(dict(request.headers))
        self.bodies.append(json.loads(await request.body()))
        if not self.replies:
            return None
        reply = self.replies.pop(0)
        if isinstance(reply, Response):
            return reply
        self.asked.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.left.set()
        return Response()

    def rows(self, query: str, texts: list[str], key: str, score: Callable[[float], float]) -> Any:
        """Return ``[{"index", key}]``, best first, as both services sort them."""
        values = [score(float(value)) for value in _MODEL.score(query, texts).values]
        order = sorted(range(len(texts)), key=lambda index: -values[index])
        return self.spoil([{"index": index, key: values[index]} for index in order])


@dataclass
class Host:
    """An address, and the application that answers there now."""

    url: str
    app: Starlette = field(default_factory=Starlette)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@contextmanager
def serving_whichever(bound: socket.socket | None = None) -> Iterator[Host]:
    """Serve, from a thread until the block ends,
    whichever application the host holds when a request comes.

    ``bound`` is a socket with an address at which nobody listens yet.
    """
    with bound or socket.create_server(("127.0.0.1", 0)) as listening:
        listening.listen()
        host = Host(f"http://127.0.0.1:{listening.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(host, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield host
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def json_with_nan(body: Any) -> Response:
    """Return a body that may hold NaN, which is no JSON but what Python's own encoder writes."""
    return Response(json.dumps(body), media_type="application/json")


# --- Cohere: https://docs.cohere.com/reference/rerank, https://docs.cohere.com/reference/errors -------------


class _CohereRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    query: str
    documents: list[str]
    top_n: Annotated[int, Field(ge=1)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] = 4096
    priority: int = 0


def cohere_error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"id": "0f1e2d3c-0000-4000-8000-000000000000", "message": message}, status, headers)


def cohere_app(service: FakeService) -> Starlette:
    async def rerank(request: Request) -> Response:
        if (reply := await service.reply(request)) is not None:
            return reply
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return cohere_error(401, "invalid api token")
        try:
            wanted = _CohereRequest.model_validate(service.bodies[-1])
        except ValidationError as error:
            fault = error.errors()[0]
            if fault["type"] == "extra_forbidden":
                return cohere_error(
                    422, f"unknown field: parameter '{fault['loc'][0]}' is not a valid field."
                )
            return cohere_error(400, f"invalid request: {fault['loc']}: {fault['msg']}")
        if (message := _cohere_fault(wanted)) is not None:
            return cohere_error(404 if "not found" in message else 400, message)
        results = service.rows(
            wanted.query, wanted.documents, "relevance_score", lambda logit: 1 / (1 + math.exp(-logit))
        )
        meta = {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "warnings": ["this model is old"],
        }
        return json_with_nan({"id": "1", "results": results, "meta": meta})

    return Starlette(routes=[Route("/v2/rerank", rerank, methods=["POST"])])


def _cohere_fault(wanted: _CohereRequest) -> str | None:
    if wanted.model != "rerank-v3.5":
        return f"model '{wanted.model}' not found"
    if not wanted.query.strip():
        return "invalid request: query must not be empty or be only whitespace"
    if not wanted.documents:
        return "invalid request: list of documents must not be empty"
    if len(wanted.documents) > 1000:
        return f"invalid request: {len(wanted.documents)} documents"
    empty = next((index for index, text in enumerate(wanted.documents) if not text.strip()), None)
    return None if empty is None else f"invalid request: document at index {empty} must not be empty"


# --- TEI: huggingface/text-embeddings-inference, router/src/http/{types,server}.rs, core/src/tokenization.rs


class _TeiRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: str = "Right"
    raw_scores: bool = False
    return_text: bool = False


def tei_error(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message, "error_type": kind}, status, headers)


def tei_app(service: FakeService, batch: int = 4, info: Response | None = None) -> Starlette:
    """``info`` is answered for ``GET /info`` instead of the limit ``batch``."""

    async def limits(request: Request) -> Response:
        service.connections.add(request.client)
        kind = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
        return info or JSONResponse(
            {
                "model_id": "BAAI/bge-reranker-base",
                "model_type": kind,
                "max_client_batch_size": batch,
                "auto_truncate": False,
            }
        )

    async def rerank(request: Request) -> Response:
        service.now += 1
        service.most_at_once = max(service.most_at_once, service.now)
        try:
            return await service.reply(request) or scored(request)
        finally:
            service.now -= 1

    def scored(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Response(status_code=401)
        try:
            wanted = _TeiRequest.model_validate(service.bodies[-1])
        except ValidationError as error:
            return tei_error(
                422, f"Failed to deserialize the JSON body: {error.errors()[0]['msg']}", "Validation"
            )
        if not wanted.texts or (not wanted.query and not all(wanted.texts)):
            return tei_error(422, "`inputs` cannot be empty", "Validation")
        if len(wanted.texts) > batch:
            return tei_error(
                422, f"batch size {len(wanted.texts)} > maximum allowed batch size {batch}", "Validation"
            )
        if int(request.headers["content-length"]) > 2_000_000:
            return Response("Failed to buffer the request body: length limit exceeded", 413)
        rows = service.rows(
            wanted.query,
            wanted.texts,
            "score",
            lambda logit: logit if wanted.raw_scores else 1 / (1 + math.exp(-logit)),
        )
        return json_with_nan(rows)

    return Starlette(
        routes=[
            Route("/info", limits),
            Route("/rerank", rerank, methods=["POST"]),
            Route("/deep/info", limits),
        ]
    )


def serve_tei(host: Host) -> FakeService:
    """Answer as TEI at the address of ``host``."""
    service = FakeService()
    host.app = tei_app(service)
    return service


@contextmanager
def broken_over_tei(url: str, service: FakeService) -> Iterator[RemoteReranker]:
    """Open a reranker whose service answers NaN for every text."""
    service.spoil = lambda rows: [row | {"score": float("nan")} for row in rows]
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
        yield loaded
