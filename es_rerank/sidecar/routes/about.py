"""What clients of other servers ask first: ``/v1/models`` as OpenAI's API has it, ``/info`` and ``/health``
of text-embeddings-inference (TEI).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response

from ...dialects.failures import failure_of
from ...dialects.tei import error as tei_error
from ...engine.batch_runner import RUN_TOKENS
from ...errors import LoadingError, UnavailableError, UnknownModelError
from ...models import Embedder, Reranker, room_of
from ...models.wrappers.wrapped import precision_of
from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID
from ..access.authority import KeyedRoute
from ..messages.paths import NamedModel
from ..messages.wire import answer, retry_after
from ..observation.log import RELEASE
from ..service import Service
from .search import Running
from .status import manifest_of, stated_calibration

router = APIRouter()
keyed = APIRouter(route_class=KeyedRoute)

_STARTED = int(time.time())
"""When this process began, in seconds since 1970. Clients want to know when a model was made."""

_DTYPES = {"fp32": "float32", "fp16": "float16"}
"""TEI's names of the types of weights; others have ours."""


@router.get("/health", tags=["TEI"])
async def health(request: Request, service: Running) -> Response:
    """Return 200 without a body when the models can be used, else 503.

    Elasticsearch is not asked, unlike for ``/readyz``: who asks here wants scores and vectors.
    """
    if not service.fault and not service.stopping:
        return Response(status_code=200)
    error = UnavailableError("the sidecar is stopping") if service.stopping else LoadingError(service.fault)
    body = tei_error(error.message, failure_of(error), 503)
    return answer(request, body, 503, retry_after(error))


@keyed.get("/info", tags=["TEI"])
async def info(request: Request, service: Running, model: NamedModel) -> Response:
    """Return the facts about a model that TEI returns, as far as they are known; about the default reranker
    without ``model``.

    Also returns the calibration of the logits and the scripts that the model was trained on, which another
    sidecar reads. Raises UnknownModelError.
    """
    served = service.models()
    reranks = model is None or served.serves(model) or not served.embeds(model)
    if reranks and (model is not None or served.rerankers or not served.embedders):
        return answer(request, _facts(service, served.reranker(model or DEFAULT_INFERENCE_ID, "model")))
    return answer(request, _facts(service, served.embedder_for(model)))


def _facts(service: Service, model: Reranker | Embedder) -> dict[str, Any]:
    calibration = stated_calibration(model) if isinstance(model, Reranker) else None
    scripts = getattr(model, "scripts", None)
    manifest = manifest_of(model)
    if isinstance(model, Reranker):
        kind: dict[str, Any] = {"reranker": {"id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}}
    else:
        contract = None if manifest is None else manifest.bi_encoder
        kind = {"embedding": {"pooling": "mean" if contract is None else contract.pooling}}
    known: dict[str, Any] = {}
    room = None if isinstance(model, Reranker) else room_of(model)
    if manifest is not None:
        precision = precision_of(model) or manifest.default_variant
        known = {
            "model_dtype": _DTYPES.get(precision, precision),
            "max_input_length": manifest.max_length,
            **({} if room is None else {"passage_tokens": room}),
            "max_batch_tokens": max(manifest.max_length, RUN_TOKENS),
        }
    if service.pool is not None:
        known["tokenization_workers"] = service.pool.threads
    if service.connections is not None:
        known["max_concurrent_requests"] = service.connections.limits.connections
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_type": kind,
        **known,
        "max_client_batch_size": service.most_documents,
        "auto_truncate": True,
        "version": RELEASE,
        "served_by": "es-rerank",
        **({"calibration": calibration} if calibration else {}),
        **({"scripts": scripts} if scripts else {}),
    }


@keyed.head("/v1/models", include_in_schema=False)
@keyed.get("/v1/models", tags=["OpenAI"])
async def models(request: Request, service: Running) -> Response:
    """Return the served rerankers and embedders as OpenAI's API lists its models, the defaults first."""
    return answer(request, {"object": "list", "data": list(_models(service))})


@keyed.head("/v1/models/{model:path}", include_in_schema=False)
@keyed.get("/v1/models/{model:path}", tags=["OpenAI"])
async def one_model(request: Request, service: Running, model: str) -> Response:
    """Return what ``/v1/models`` says of one model. Raises UnknownModelError."""
    wanted = unquote(model)
    known = list(_models(service))
    found = next((each for each in known if each["id"] == wanted), None)
    if found is None:
        names = ", ".join(each["id"] for each in known)
        raise UnknownModelError(f"the model [{wanted}] is not served here; served: {names}", name=wanted)
    return answer(request, found)


def _models(service: Service) -> Iterator[dict[str, Any]]:
    served = service.models()
    kinds: tuple[tuple[str, Mapping[str, Reranker] | Mapping[str, Embedder]], ...] = (
        ("rerank", served.rerankers),
        ("embedding", served.embedders),
    )
    for kind, named in kinds:
        for name, each in named.items():
            manifest = manifest_of(each)
            length = {} if manifest is None else {"max_model_len": manifest.max_length}
            yield {
                "id": name,
                "object": "model",
                "created": _STARTED,
                "owned_by": "es-rerank",
                "type": kind,
                **length,
            }
