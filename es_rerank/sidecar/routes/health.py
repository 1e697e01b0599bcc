"""Health checks: ``/healthz`` says that the process is alive, ``/readyz`` that it can answer searches."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ..messages.wire import answer
from .search import Running

router = APIRouter(tags=["health"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Return status 200 as long as the process can answer."""
    return answer(request, {"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def readyz(request: Request, service: Running) -> Response:
    """Return 200 if the models are loaded and Elasticsearch answers, else 503 with the reasons.

    ``warnings`` say what may go wrong all the same.
    """
    if faults := await service.faults():
        return answer(request, {"status": "not ready", "reasons": faults}, 503)
    warnings = await service.warnings()
    return answer(request, {"status": "ready", **({"warnings": warnings} if warnings else {})})
