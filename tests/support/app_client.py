"""The application of a sidecar in this process, and a client that asks it without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.datastructures import State

from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service


@asynccontextmanager
async def app_client(
    service: Service, *, raise_app_exceptions: bool = True, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar that has tried to load its models; Elasticsearch is not waited for.

    ``raise_app_exceptions``: an exception that leaves the application is raised to the caller, as httpx does.
    ``options`` are those of ``httpx.AsyncClient``.
    """
    app = create_app(service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://sidecar", **options) as client,
    ):
        while service.fault == "the model is still loading":  # noqa: ASYNC110 another task loads them
            await asyncio.sleep(0)
        yield client


def state_of(client: httpx.AsyncClient) -> State:
    """Return the state of the application that a client of ``app_client`` asks."""
    transport: Any = client._transport  # noqa: SLF001 httpx shows it nowhere else
    state: State = transport.app.state
    return state
