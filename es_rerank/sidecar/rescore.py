"""``POST /rescore``: an Elasticsearch response in, the same response rescored out."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..retrievers.answer import Account
from ..retrievers.rerank import texts_of
from ..retrievers.rescore import rescore_candidates, rescored
from .search import Running
from .wire import answer, timeout_s, unless_left

router = APIRouter(tags=["rescore"])


class RescoreRequest(BaseModel):
    """A question, a response of Elasticsearch, and the field (or fields, joined) whose text is read."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    response: dict[str, Any]
    field: str | list[str]
    min_score: float | None = None


@router.post("/rescore")
async def rescore(request: Request, wanted: RescoreRequest, service: Running) -> Response:
    """Return the response with its hits reordered and scored 0..1; nothing is asked of Elasticsearch."""
    started = time.monotonic()
    fields = [wanted.field] if isinstance(wanted.field, str) else wanted.field
    candidates = rescore_candidates(wanted.response, fields)
    scores = await unless_left(request, service.score(wanted.query, texts_of(candidates), timeout_s(request)))
    account = Account(models=[service.reranker.name])
    account.seconds["rerank"] = account.seconds["total"] = time.monotonic() - started
    return answer(request, rescored(wanted.response, candidates, scores, service.reranker.calibration, account, wanted.min_score))
