"""``POST /rerank`` in the dialect of text-embeddings-inference (huggingface/text-embeddings-inference, router/src/http).

Elasticsearch's ``hugging_face`` inference service speaks it too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..errors import DeadlineError, EsRerankError, OverloadError, RequestError, UnauthorizedError, outcome_of
from ..retrievers.grammar.tree import DEFAULT_INFERENCE_ID
from ..scores import as_logits, logistic, ranked
from .authority import KeyedRoute
from .search import Running
from .wire import answer, cancel_on_disconnect, timeout_s

router = APIRouter(route_class=KeyedRoute, tags=["TEI"])

_MOST_POSITIONS = 1_000
"""Positions that a header carries: more would pass the 8 kB that servers and proxies allow their headers."""


class TeiRequest(BaseModel):
    """``truncate`` false refuses a text over the model's window; left out, over-long texts are cut and counted in the
    ``x-rerank-truncated`` header. ``top_n`` is Elasticsearch's: its ``hugging_face`` service sends it where it is set.
    """

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    texts: Annotated[list[str], Field(min_length=1)]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] = "Right"
    top_n: Annotated[int | None, Field(ge=1)] = None


@router.get("/info")
async def info(request: Request, service: Running, model: str = DEFAULT_INFERENCE_ID) -> Response:
    """Return what TEI says of its model, as far as it is known here; and how its logits become log-odds, which another sidecar reads."""
    served = service.served(model)
    calibration = {"calibration": served.calibration._asdict()} if served.calibration else {}
    about = {
        "model_id": served.name,
        "model_type": {"reranker": {"id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}},
    }
    return answer(
        request,
        {
            **about,
            "max_client_batch_size": service.limits.documents,
            "auto_truncate": True,
            "served_by": "es-rerank",
            **calibration,
        },
    )


@router.post("/rerank")
async def rerank(
    request: Request, wanted: TeiRequest, service: Running, model: str = DEFAULT_INFERENCE_ID
) -> Response:
    """Return ``[{"index", "score", "text"?}]``, best first; the score is the model's probability, or its logit.

    ``model`` in the address chooses among the served models. Headers say how many texts were cut to the model's window,
    and which (``x-rerank-truncated-at``, where they are at most a thousand).
    """
    scores = await cancel_on_disconnect(
        request, service.score_all(wanted.query, wanted.texts, timeout_s(request), service.served(model))
    )
    if wanted.truncate is False and scores.truncated.any():
        raise RequestError(
            f"text {int(np.argmax(scores.truncated))} is longer than the model's window; shorten it or set truncate"
        )
    logits = as_logits(scores)
    values = logits if wanted.raw_scores else logistic(logits)
    rows = [
        {"index": i, **({"text": wanted.texts[i]} if wanted.return_text else {}), "score": float(values[i])}
        for i in ranked(logits)[: wanted.top_n]
    ]
    cut = np.flatnonzero(scores.truncated)
    positions = {"x-rerank-truncated-at": ",".join(map(str, cut))} if 0 < len(cut) <= _MOST_POSITIONS else {}
    return answer(request, rows, headers={"x-rerank-truncated": str(len(cut)), **positions})


def tei_error(request: Request, error: EsRerankError) -> Response:
    """Return an error in TEI's shape: validation 422, overload 429, everything of ours 424 as its backend errors."""
    if isinstance(error, OverloadError):
        return answer(
            request,
            {"error": error.message, "error_type": "Overloaded"},
            429,
            {"Retry-After": str(error.retry_after_s)},
        )
    status = outcome_of(error).status
    if isinstance(error, UnauthorizedError):
        return answer(
            request,
            {"error": error.message, "error_type": "Unauthorized"},
            status,
            {"WWW-Authenticate": "Bearer"},
        )
    if isinstance(error, RequestError):
        return answer(
            request, {"error": error.message, "error_type": "Validation"}, 413 if status == 413 else 422
        )
    return answer(
        request,
        {"error": error.message, "error_type": "Backend"},
        status if isinstance(error, DeadlineError) else 424,
    )
