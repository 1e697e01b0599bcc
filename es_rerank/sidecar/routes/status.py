"""The pages for operators: ``/metrics`` for Prometheus, ``/_rerank/status`` for people and programs."""

from __future__ import annotations

import time
from typing import Any

from elasticsearch import ApiError, TransportError
from fastapi import APIRouter, Request, Response

from ...addresses import masked
from ...errors import UnauthorizedError
from ...models import Embedder, LongTextReranker, Reranker
from ...models.contracts import CalibrationRecord
from ...models.manifest import Manifest
from ...models.wrappers.wrapped import WrappedReranker, precision_of
from ...off_loop import off_loop
from ..access.authority import require_key, sent_key
from ..messages.wire import answer
from ..observation.log import RELEASE
from ..observation.metrics import Metrics
from ..service import Service
from ..upstream.readiness import node_of
from .search import Running

router = APIRouter(tags=["status"])

_STARTED = time.monotonic()

_PATIENCE_S = 2.0
"""How long the page waits for the version of Elasticsearch, in seconds."""

_LOOK_S = 1.0
"""How long ``/metrics`` waits to hear whether Elasticsearch is ready, in seconds. An answer that comes later
is shown at the next request."""


def _is_operator(request: Request, service: Service) -> bool:
    """Whether a request holds a key of the setting ``metrics_key_hashes``. False if there is no such key.

    Raises UnauthorizedError for a missing or wrong one.
    """
    keys = service.observing.keys
    if not keys.asked:
        return False
    if sent_key(request, keys) is None:
        raise UnauthorizedError(
            "this page needs a key for metrics: send Authorization: Bearer KEY "
            "(setting metrics_key_hashes holds the hashes of these keys)"
        )
    return True


@router.get("/metrics")
@router.head("/_rerank/metrics", include_in_schema=False)
@router.get("/_rerank/metrics", include_in_schema=False)
async def metrics(request: Request, service: Running) -> Response:
    """Return the figures of this process for Prometheus, in its text format or in OpenMetrics.

    Nothing in them is of one caller. The setting ``metrics_key_hashes`` asks readers for a key. Elasticsearch
    is asked whether it is ready, as for ``/readyz``.
    """
    _is_operator(request, service)
    await service.readiness.look(_LOOK_S)
    kept: Metrics = request.app.state.metrics
    # Thousands of lines take tens of milliseconds.
    data, media_type = await off_loop(kept.exposed, request.headers.get("accept", ""))
    return Response(data, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


@router.head("/_rerank/status", include_in_schema=False)
@router.get("/_rerank/status")
async def status(request: Request, service: Running) -> Response:
    """Return how the sidecar is: its models, queue, limits, and Elasticsearch.

    It asks for a key of ``metrics_key_hashes`` if there is one, else for one of the sidecar's keys if it has
    keys. Who has a key of the second kind is one of several callers, and does not see what the models did for
    all of them (cache, tokens, refusals).
    """
    operator = _is_operator(request, service) or require_key(request) is None
    faults = await service.faults()
    return answer(
        request,
        {
            "release": RELEASE,
            "uptime_seconds": round(time.monotonic() - _STARTED, 1),
            "ready": not faults,
            **({"reasons": faults} if faults else {}),
            "models": [] if service.fault else _models(service),
            **_embedders(service),
            **({"not_loaded": service.fault} if service.fault else {}),
            **_queue(service, operator=operator),
            **_connections(service),
            "elasticsearch": await _elasticsearch(service),
            "limits": _limits(service),
        },
    )


def _models(service: Service) -> list[dict[str, Any]]:
    """Return what is known about each reranker, the default first."""
    served = service.models().rerankers
    return [
        _reranker(name, reranker, first=place == 0) for place, (name, reranker) in enumerate(served.items())
    ]


def _reranker(name: str, reranker: Reranker, *, first: bool) -> dict[str, Any]:
    return {
        "name": name,
        "default": first,
        **_of_manifest(reranker),
        "local": isinstance(reranker, LongTextReranker),
        "calibration": stated_calibration(reranker),
        "scripts": getattr(reranker, "scripts", None),
    }


def _embedders(service: Service) -> dict[str, Any]:
    """Return what is known about the default embedder, and about each embedder, the default first."""
    served = {} if service.fault else service.models().embedders
    known = [
        {
            "name": embedder.name,
            "served_as": name,
            "default": place == 0,
            "dims": embedder.dims,
            **_of_manifest(embedder),
            "scripts": getattr(embedder, "scripts", None),
        }
        for place, (name, embedder) in enumerate(served.items())
    ]
    return {"embedder": known[0] if known else None, "embedders": known}


def stated_calibration(reranker: Reranker) -> dict[str, Any] | None:
    """Return a reranker's calibration as a manifest states it, with its errors if they are known; None if it
    has none.
    """
    if reranker.calibration is None:
        return None
    manifest = manifest_of(reranker)
    stated = None if manifest is None else manifest.calibration
    return (stated or CalibrationRecord.of(reranker.calibration)).model_dump()


def manifest_of(model: Reranker | Embedder) -> Manifest | None:
    """Return the manifest of a local model, also of one in a wrapper; None if it has none."""
    inner = model
    while isinstance(inner, WrappedReranker):
        inner = inner.wrapped
    manifest = getattr(inner, "manifest", None)
    return manifest if isinstance(manifest, Manifest) else None


_OF_SERVICE = {"dialect": "dialect", "scale": "answers"}
"""What is told of a reranker ``remote:``, with the names of its properties."""


def _of_manifest(model: Reranker | Embedder) -> dict[str, Any]:
    """Return kind, precision and longest input of a model that has a manifest.

    Of a service: its dialect and the scale of its scores, null until they are known.
    """
    manifest = manifest_of(model)
    if manifest is None:
        inner = model
        while isinstance(inner, WrappedReranker):
            inner = inner.wrapped
        service = {key: getattr(inner, name) for key, name in _OF_SERVICE.items() if hasattr(inner, name)}
        precision = precision_of(inner)  # of a cascade
        return {
            "kind": type(inner).__name__,
            **({} if precision is None else {"precision": precision}),
            **service,
        }
    return {
        "kind": manifest.kind,
        "precision": precision_of(model) or manifest.default_variant,
        "max_length": manifest.max_length,
    }


def _queue(service: Service, *, operator: bool) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if service.pool is not None:
        figures = service.pool.figures()._asdict()
        said["queue"] = {
            name: value
            for name, value in figures.items()
            if operator or name in ("running", "waiting", "waiting_s")
        } | {"threads": service.pool.threads}
    if operator and service.cache is not None:
        said["score_cache"] = service.cache.figures()._asdict()
    return said


def _connections(service: Service) -> dict[str, Any]:
    if service.connections is None:
        return {}
    figures, limits = service.connections.figures(), service.connections.limits
    return {
        "connections": {
            "open": figures.open,
            "busy": figures.busy,
            "most": limits.connections,
            # ``idle_s`` of the limits is another one: for Elasticsearch, where a request has no deadline.
            **{name: getattr(limits, name) for name in ("header_s", "body_s", "write_s", "idle_s")},
        }
    }


async def _elasticsearch(service: Service) -> dict[str, Any]:
    return {"url": masked(node_of(service.elasticsearch).base_url), "version": await _version(service)}


async def _version(service: Service) -> str | None:
    """Return the version of Elasticsearch, None if it does not tell it to a caller without credentials."""
    brief = service.elasticsearch.options(request_timeout=_PATIENCE_S, max_retries=0)
    try:
        told: Any = (await brief.perform_request("GET", "/", headers={"accept": "application/json"})).body
        return str(told["version"]["number"])
    except (ApiError, TransportError, KeyError, TypeError):
        return None


def _limits(service: Service) -> dict[str, Any]:
    limits = service.limits
    return {name: getattr(limits, name) for name in limits.__slots__}
