"""Health checks: ``/healthz`` says that the process is alive, ``/readyz`` that it can answer searches.

Those below ``/weaviate`` are asked by Weaviate, whose module ``reranker-transformers`` knows the sidecar by
this prefix. It sends no key. Source: weaviate/weaviate, ``modules/reranker-transformers/clients``.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ...dialects import weaviate
from ...dialects.failures import failure_of
from ...errors import LoadingError, UnavailableError
from ..messages.wire import answer, retry_after
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


@router.head("/weaviate/.well-known/ready", include_in_schema=False)
@router.get("/weaviate/.well-known/ready")
async def weaviate_ready(request: Request, service: Running) -> Response:
    """Return 200 when the models can score texts, else 503. Weaviate waits for it when it starts."""
    if not service.fault and not service.stopping:
        return answer(request, {"status": "ready"})
    error = UnavailableError("the sidecar is stopping") if service.stopping else LoadingError(service.fault)
    told = weaviate.error(error.message, failure_of(error), 503)
    return answer(request, told, 503, retry_after(error))


@router.head("/weaviate/meta", include_in_schema=False)
@router.get("/weaviate/meta")
async def weaviate_meta(request: Request) -> Response:
    """Return what Weaviate shows of its module in the answer to ``GET /v1/meta``."""
    return answer(request, {"served_by": "es-rerank"})
