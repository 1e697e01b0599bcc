"""``/healthz`` says that the process lives, ``/readyz`` that it can serve."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from .search import Running
from .wire import answer

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Return 200 as long as the process answers."""
    return answer(request, {"status": "alive"})


@router.get("/readyz")
async def readyz(request: Request, service: Running) -> Response:
    """Return 200 when the model is warm and Elasticsearch answers, else 503 with the reasons."""
    faults = await service.faults()
    return answer(
        request,
        {"status": "ready"} if not faults else {"status": "not ready", "reasons": faults},
        503 if faults else 200,
    )
