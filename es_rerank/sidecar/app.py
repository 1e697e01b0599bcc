"""The ASGI application of the sidecar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from elasticsearch import ApiError, TransportError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..addresses import masked_in
from ..dialects.paths import meant_by
from ..errors import EsRerankError, RequestError
from .access.admission import Callers
from .access.keys import read_again_on_sighup
from .messages.paths import ReadPaths
from .messages.wire import ClientLeftError, error_response, not_served, unexpected
from .observation.log import STREAM, without_values
from .observation.metrics import Metrics
from .observation.observed import Observed, Sink
from .observation.request_log import RequestLog
from .observation.tracing import spans
from .page.document import describe
from .record import tell_refusal
from .routes import (
    about,
    embeddings,
    existence,
    health,
    inference,
    other_searches,
    passthrough,
    plugin_api,
    rerank,
    rescore,
    search,
    status,
    telling,
)
from .service import Service
from .upstream.forwarding import BrokenAnswerError

_LOG = structlog.get_logger("es_rerank.sidecar")

_OWN = "/_rerank"
"""Our own pages are below this path. No index can have its name: names of indices do not begin with ``_``."""


_NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""FastAPI's own spans and logs are off: they hold addresses with their queries and messages of errors, which
may be data of callers. ``Observed`` makes those of the sidecar."""


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application that serves a service. Its documentation page works without internet
    access.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(_log_unhandled)
        loading = asyncio.create_task(service.start())
        loading.add_done_callback(_log_load_error)
        try:
            with read_again_on_sighup(service.keys):
                yield
        finally:
            loading.cancel()
            await service.close()

    app: FastAPI = FastAPIOffline(
        docs_url=f"{_OWN}/docs",
        redoc_url=f"{_OWN}/redoc",
        openapi_url=f"{_OWN}/openapi.json",
        static_url=f"{_OWN}/static",
        swagger_ui_oauth2_redirect_url=f"{_OWN}/docs/oauth2-redirect",
        swagger_ui_parameters={"defaultModelsExpandDepth": 0},  # the list of schemas is closed at first
        title="es-rerank sidecar",
        summary="Reranking for Elasticsearch, on any licence.",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would name the host that the caller wrote
        telemetry=_NO_TELEMETRY,
    )
    app.state.service = service
    app.state.metrics = metrics = Metrics(service, STREAM)
    for room in (
        health,
        status,
        search,
        other_searches,
        inference,
        rescore,
        rerank,
        embeddings,
        about,
        plugin_api,
        existence,
    ):
        app.include_router(room.router)
    app.include_router(about.keyed)
    if service.pass_through:
        app.include_router(passthrough.router)
    describe(app)
    for kind in (
        EsRerankError,
        ApiError,
        TransportError,
        RequestValidationError,
        ClientLeftError,
        HTTPException,
        ClientDisconnect,
    ):
        app.add_exception_handler(kind, _on_error)
    app.add_middleware(ReadPaths, refuse=_refused)
    app.add_middleware(Callers)
    app.add_middleware(_Unexpected)
    told = service.observing
    sinks: tuple[Sink, ...] = (metrics,)
    if told.log_requests:
        sinks += (RequestLog(STREAM, told.log_format),)
    traced = spans(texts=told.trace_texts, provider=told.tracer_provider)
    app.add_middleware(Observed, sinks=sinks, spans=traced)
    return app


class _Unexpected:
    """Answers an unexpected exception with status 500 and logs it without values.

    Without this class the web server would log it with its message, which may hold data of the caller.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_and_note(message: Any) -> None:  # noqa: ANN401 an ASGI message
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except BrokenAnswerError as error:
            tell_refusal(error)
            return  # it is logged; the server closes the connection, because the answer is not complete
        except Exception as error:
            if scope["type"] != "http":
                raise
            tell_refusal(error)
            route = getattr(scope.get("route"), "path", None)
            _LOG.error(
                f"unexpected {type(error).__qualname__} in {scope['method']} {route}\n{without_values(error)}"
            )
            if not begun:  # if the answer has begun, the server closes the connection
                await _error_answer(Request(scope), error)(scope, receive, send)


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that no code handles, without values.

    asyncio's own log line would repeat the message of the exception, which may hold data of the caller.
    """
    error = context.get("exception")
    _LOG.error(
        f"unexpected {type(error).__qualname__} in the background"
        + (f"\n{without_values(error)}" if error else "")
    )


def _log_load_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _LOG.error("the model cannot be served", reason=masked_in(str(error)))


async def _on_error(request: Request, error: Exception) -> Response:
    """Return the answer for an error, in the format of the server whose path is asked: that of Elasticsearch
    on all paths that are not another's.
    """
    if isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        broken = fault["type"] == "json_invalid"
        where = ".".join(str(part) for part in fault["loc"][1:])
        error = RequestError(
            f"the request body is not JSON: {fault['ctx']['error']} at {where}"
            if broken
            else f"[{where}] {fault['msg'].lower()}"
        )
    if isinstance(error, HTTPException):
        if error.status_code in {404, 405}:
            spoken = telling.spoken_in(request)
            if spoken is not None:
                return telling.not_served(request, spoken)
            meant = meant_by(request.scope["path"], request.method)
            if meant is not None and not request.app.state.service.pass_through:
                return telling.wrong_path(request, meant)
            return not_served(request, error.status_code)
        error = RequestError(f"the request cannot be read: {error.detail}")
    return _refused(request, error)


def _refused(request: Request, error: Exception) -> Response:
    tell_refusal(error)
    return _error_answer(request, error)


def _error_answer(request: Request, error: Exception) -> Response:
    spoken = telling.spoken_in(request)
    if spoken is None or isinstance(error, (ClientLeftError, ClientDisconnect)):
        return error_response(request, error)
    return telling.refusal(request, spoken, error if isinstance(error, EsRerankError) else unexpected(error))
