"""The sidecar as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from elasticsearch import ApiError, TransportError
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from ..errors import EsRerankError, RequestError
from . import health, inference, passthrough, rescore, search, tei
from .authority import require_key
from .service import Service
from .wire import ClientLeftError, error_response, not_served

_LOG = structlog.get_logger("es_rerank.sidecar")


def create_app(service: Service) -> FastAPI:
    """Return the application over a service; its documentation page is served without the network."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.start())
        loading.add_done_callback(_log_fault)
        try:
            yield
        finally:
            loading.cancel()
            await service.close()

    app: FastAPI = FastAPIOffline(title="es-rerank sidecar", summary="Reranking for Elasticsearch, on any licence.", lifespan=lifespan)
    app.state.service = service
    for room in (health, search):
        app.include_router(room.router)
    for room in (inference, rescore, tei):
        app.include_router(room.router, dependencies=[Depends(require_key)])
    if service.pass_through:
        app.include_router(passthrough.router)
    for kind in (EsRerankError, ApiError, TransportError, RequestValidationError, ClientLeftError, HTTPException, Exception):
        app.add_exception_handler(kind, _on_error)
    return app


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _LOG.error("the model cannot be served", reason=str(error))


async def _on_error(request: Request, error: Exception) -> Response:
    """Render any error in the dialect of the path."""
    if isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        broken = fault["type"] == "json_invalid"
        where = ".".join(str(part) for part in fault["loc"][1:])
        error = RequestError(f"the request body is not JSON: {fault['ctx']['error']} at {where}" if broken else f"[{where}] {fault['msg'].lower()}")
    if isinstance(error, HTTPException):
        return not_served(request, error.status_code)
    if request.url.path == "/rerank" and isinstance(error, EsRerankError):
        return tei.tei_error(request, error)
    if not isinstance(error, (EsRerankError, ApiError, TransportError, ClientLeftError)):
        _LOG.exception("unexpected error", path=request.url.path, exc_info=error)
    return error_response(request, error)
