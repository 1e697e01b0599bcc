"""``POST /rerank`` in the format of Hugging Face's text-embeddings-inference (TEI).

Source of the format: huggingface/text-embeddings-inference, router/src/http. Elasticsearch's ``hugging_face``
inference service can use it too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, FailFast, Field

from ...defaults import MOST_POSITIONS
from ...errors import (
    DeadlineError,
    EsRerankError,
    LoadingError,
    OverloadError,
    RequestError,
    UnauthorizedError,
    message_of,
    outcome_of,
)
from ...models.scripts import ascript_warning
from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID
from ...scores import as_logits, logistic, pair_log_odds, ranked
from ..access.authority import KeyedRoute
from ..messages.wire import answer, cancel_on_disconnect, retry_after, timeout_s, warning
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["TEI"])


class TeiRequest(BaseModel):
    """The body of a rerank request in the format of TEI.

    ``truncate``: if false, a text longer than the model's window is an error. Otherwise such texts are cut,
    and the header ``x-rerank-truncated`` counts them. ``top_n`` is not part of TEI: Elasticsearch's
    ``hugging_face`` service sends it.
    """

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    texts: Annotated[list[str], FailFast(), Field(min_length=1)]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] = "Right"
    top_n: Annotated[int | None, Field(ge=1)] = None


@router.get("/info")
async def info(request: Request, service: Running, model: str = DEFAULT_INFERENCE_ID) -> Response:
    """Return the facts about the model that TEI returns, as far as they are known.

    Also returns the calibration of the logits and the scripts that the model was trained on, which another
    sidecar reads. Raises UnknownModelError.
    """
    served = service.served(model)
    calibration = {"calibration": served.calibration._asdict()} if served.calibration else {}
    read = getattr(served, "scripts", None)
    tei_facts = {
        "model_id": served.name,
        "model_type": {"reranker": {"id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}},
    }
    return answer(
        request,
        {
            **tei_facts,
            "max_client_batch_size": service.most_documents,
            "auto_truncate": True,
            "served_by": "es-rerank",
            **calibration,
            **({"scripts": read} if read else {}),
        },
    )


@router.post("/rerank")
async def rerank(
    request: Request, wanted: TeiRequest, service: Running, model: str = DEFAULT_INFERENCE_ID
) -> Response:
    """Return ``[{"index", "score", "text"?}]``, best first. The score is the probability, or the logit with
    ``raw_scores``.

    The query parameter ``model`` chooses one of the served models. The header ``x-rerank-truncated`` says how
    many texts were cut to the model's window. ``x-rerank-truncated-at`` lists their positions if there are at
    most 1,000. The header ``Warning`` says that texts are in a script that the model does not read. Raises
    RequestError when a text is too long and ``truncate`` is false; raises TooLargeError, DeadlineError and
    UnknownModelError.
    """
    served = service.served(model)
    scores = await cancel_on_disconnect(
        request, service.score_all(wanted.query, wanted.texts, timeout_s(request), served)
    )
    if wanted.truncate is False and scores.truncated.any():
        raise RequestError(
            f"text {int(np.argmax(scores.truncated))} is longer than the model's window; "
            "shorten it or set truncate"
        )
    logits = as_logits(scores)
    values = logits if wanted.raw_scores else logistic(pair_log_odds(logits, served.calibration))
    rows = [
        {"index": i, **({"text": wanted.texts[i]} if wanted.return_text else {}), "score": float(values[i])}
        for i in ranked(logits)[: wanted.top_n]
    ]
    cut = np.flatnonzero(scores.truncated)
    positions = {"x-rerank-truncated-at": ",".join(map(str, cut))} if 0 < len(cut) <= MOST_POSITIONS else {}
    said = warning(await ascript_warning(served, wanted.query, wanted.texts))
    return answer(request, rows, headers={"x-rerank-truncated": str(len(cut)), **positions, **said})


def not_served(request: Request) -> Response:
    """Return the answer to a method that the path does not serve, in the format of TEI."""
    reason = f"method [{request.method}] is not served at [/rerank]; send a POST"
    return answer(request, {"error": reason, "error_type": "Validation"}, 405, {"Allow": "POST"})


def tei_error(request: Request, error: EsRerankError) -> Response:
    """Return an error in the format of TEI.

    The status is 422 (or 413) for an error in the request, 429 for overload, 503 while the models are
    loading, the status of the error itself for a wrong key or a passed deadline, and 424 (TEI's status for
    errors of its backend) for all other errors.
    """
    status, headers = outcome_of(error).status, {}
    if isinstance(error, (OverloadError, LoadingError)):
        kind = "Overloaded" if isinstance(error, OverloadError) else "Unhealthy"
        headers = retry_after(error)
    elif isinstance(error, UnauthorizedError):
        kind, headers = "Unauthorized", {"WWW-Authenticate": "Bearer"}
    elif isinstance(error, RequestError):
        kind, status = "Validation", 413 if status == 413 else 422
    else:
        kind, status = "Backend", status if isinstance(error, DeadlineError) else 424
    return answer(request, {"error": message_of(error), "error_type": kind}, status, headers)
