"""Elasticsearch's inference endpoints over the served models: ``_inference/rerank`` and ``_inference/text_embedding``.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-inference-inference; the official clients speak them.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..errors import UnknownModelError
from ..scores import as_logits, logistic, ranked
from .authority import KeyedRoute
from .search import Running
from .service import Service
from .wire import answer, cancel_on_disconnect, timeout_s

router = APIRouter(route_class=KeyedRoute, tags=["inference"])


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class RerankTask(BaseModel):
    """``return_documents`` gives each text back; ``top_n`` leaves all but the best out. ``task_settings`` may name both."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    input: Texts
    return_documents: bool = False
    top_n: Annotated[int | None, Field(ge=1)] = None
    task_settings: dict[str, Any] = {}


class EmbeddingTask(BaseModel):
    """``input_type`` ``search`` or ``SEARCH`` embeds queries, anything else passages."""

    model_config = ConfigDict(extra="forbid")

    input: Texts
    input_type: str | None = None
    task_settings: dict[str, Any] = {}


@router.get("/_inference")
@router.get("/_inference/_all")
async def endpoints(request: Request, service: Running) -> Response:
    """Return what is served, as Elasticsearch lists its inference endpoints: the default reranker first."""
    return answer(request, {"endpoints": _endpoints(service)})


@router.get("/_inference/{inference_id}")
@router.get("/_inference/{task_type}/{inference_id}")
async def endpoint(
    request: Request, service: Running, inference_id: str, task_type: str | None = None
) -> Response:
    """Return what is served under one name."""
    found = [
        each
        for each in _endpoints(service)
        if each["inference_id"] == inference_id and task_type in (None, each["task_type"])
    ]
    if not found:
        known = ", ".join(each["inference_id"] for each in _endpoints(service))
        raise UnknownModelError(
            f"inference endpoint [{inference_id}] is not served here; served: {known}", name=inference_id
        )
    return answer(request, {"endpoints": found})


def _endpoints(service: Service) -> list[dict[str, Any]]:
    served = service.models()
    names = [("rerank", name) for name in served.rerankers] + (
        [("text_embedding", served.embedder.name)] if served.embedder else []
    )
    return [
        {
            "inference_id": name,
            "task_type": task,
            "service": "es-rerank",
            "service_settings": {"model_id": name},
        }
        for task, name in names
    ]


@router.post("/_inference/rerank/{inference_id}")
async def rerank(request: Request, inference_id: str, wanted: RerankTask, service: Running) -> Response:
    """Return ``{"rerank": [{"index", "relevance_score", "text"?}]}``, best first; the score is the probability."""
    served = service.served(inference_id)
    scores = await cancel_on_disconnect(
        request, service.score_all(wanted.query, wanted.input, timeout_s(request), served)
    )
    settings = wanted.task_settings
    texts = wanted.return_documents or settings.get("return_documents") is True
    logits = as_logits(scores)
    values = logistic(logits)
    order = ranked(logits)[: wanted.top_n or settings.get("top_n")]
    rows = [
        {"index": i, "relevance_score": float(values[i]), **({"text": wanted.input[i]} if texts else {})}
        for i in order
    ]
    return answer(request, {"rerank": rows})


@router.post("/_inference/text_embedding/{inference_id}")
async def text_embedding(
    request: Request, inference_id: str, wanted: EmbeddingTask, service: Running
) -> Response:
    """Return ``{"text_embedding": [{"embedding"}]}``, one unit vector per text, in order."""
    embedder = service.embedder(inference_id)
    service.check_documents(len(wanted.input))
    purpose: Any = "query" if (wanted.input_type or "").lower() == "search" else "passage"
    vectors = await cancel_on_disconnect(
        request, asyncio.to_thread(embedder.embed, wanted.input, purpose=purpose)
    )
    return answer(request, {"text_embedding": [{"embedding": vector} for vector in vectors.tolist()]})
