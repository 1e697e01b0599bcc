"""Elasticsearch's inference API for the served models: ``_inference/rerank`` and
``_inference/text_embedding``.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-inference-inference

The official clients of Elasticsearch can use it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema

from ...errors import UnknownModelError
from ...models.scripts import ascript_warning
from ...off_loop import off_loop_if
from ...scores import as_logits, logistic, pair_log_odds, ranked
from ..access.authority import KeyedRoute
from ..messages.paths import InferenceId
from ..messages.wire import answer, cancel_on_disconnect, timeout_s, warning
from ..service import Service
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["inference"])


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}

Texts = Annotated[
    list[str],
    FailFast(),
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_LIST, {"type": "string"}]}),
]


Most = Annotated[int | None, Field(ge=1)]


class RerankSettings(BaseModel):
    """The ``task_settings`` of a rerank request. Other keys are those of other services, and are ignored."""

    return_documents: bool | None = None
    top_n: Most = None


class RerankTask(BaseModel):
    """The body of a rerank request.

    ``return_documents`` adds the texts to the answer. ``top_n`` limits the answer to the best texts. Both may
    also be given in ``task_settings``.
    """

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    input: Texts
    return_documents: bool = False
    top_n: Most = None
    task_settings: RerankSettings = RerankSettings()


class EmbeddingTask(BaseModel):
    """The body of an embedding request.

    With ``input_type`` ``search`` (upper or lower case) the texts are embedded as queries, otherwise as
    passages.
    """

    model_config = ConfigDict(extra="forbid")

    input: Texts
    input_type: str | None = None
    task_settings: dict[str, Any] = {}


@router.get("/_inference")
@router.get("/_inference/_all", include_in_schema=False)
async def endpoints(request: Request, service: Running) -> Response:
    """Return the served models as Elasticsearch lists its inference endpoints, the defaults first."""
    return answer(request, {"endpoints": _endpoints(service)})


@router.get("/_inference/{inference_id}")
@router.get("/_inference/{task_type}/{inference_id}")
async def endpoint(
    request: Request, service: Running, inference_id: InferenceId, task_type: str | None = None
) -> Response:
    """Return the served models with one name. Raises UnknownModelError when there is none."""
    matching = [
        entry
        for entry in _endpoints(service)
        if inference_id in (entry["inference_id"], entry["service_settings"]["model_id"])
        and task_type in (None, entry["task_type"])
    ]
    if not matching:
        known = ", ".join(entry["inference_id"] for entry in _endpoints(service))
        raise UnknownModelError(
            f"inference endpoint [{inference_id}] is not served here; served: {known}", name=inference_id
        )
    return answer(request, {"endpoints": matching})


def _endpoints(service: Service) -> list[dict[str, Any]]:
    served = service.models()
    names = [("rerank", name, name) for name in served.rerankers]
    names += [("text_embedding", name, embedder.name) for name, embedder in served.embedders.items()]
    return [
        {
            "inference_id": name,
            "task_type": task,
            "service": "es-rerank",
            "service_settings": {"model_id": own},
        }
        for task, name, own in names
    ]


@router.post("/_inference/rerank/{inference_id}")
async def rerank(
    request: Request, inference_id: InferenceId, wanted: RerankTask, service: Running
) -> Response:
    """Return ``{"rerank": [{"index", "relevance_score", "text"?}]}``, best first. The score is the
    probability.

    The header ``Warning`` says that texts are in a script that the model does not read. Raises TooLargeError,
    DeadlineError and UnknownModelError.
    """
    served = service.served(inference_id)
    scores = await cancel_on_disconnect(
        request, service.score_all(wanted.query, wanted.input, timeout_s(request), served)
    )
    settings = wanted.task_settings
    texts = wanted.return_documents or settings.return_documents
    logits = as_logits(scores)
    values = logistic(pair_log_odds(logits, served.calibration))
    order = ranked(logits)[: wanted.top_n or settings.top_n]
    rows = [
        {"index": i, "relevance_score": float(values[i]), **({"text": wanted.input[i]} if texts else {})}
        for i in order
    ]
    said = warning(await ascript_warning(served, wanted.query, wanted.input))
    return answer(request, {"rerank": rows}, headers=said)


@router.post("/_inference/text_embedding/{inference_id}")
async def text_embedding(
    request: Request, inference_id: InferenceId, wanted: EmbeddingTask, service: Running
) -> Response:
    """Return ``{"text_embedding": [{"embedding"}]}``: one unit vector for each text, in order.

    The header ``Warning`` says that texts are in a script that the model does not read. Raises TooLargeError,
    UnknownModelError, and RequestError when no embedder is served.
    """
    embedder = service.embedder(inference_id)
    purpose: Any = "query" if (wanted.input_type or "").lower() == "search" else "passage"
    vectors = await cancel_on_disconnect(
        request, service.embed(wanted.input, purpose, timeout_s(request), embedder)
    )
    said = warning(await ascript_warning(embedder, "", wanted.input))
    rows = [{"embedding": vector} for vector in await off_loop_if(len(vectors) > 1, vectors.tolist)]
    return answer(request, {"text_embedding": rows}, headers=said)
