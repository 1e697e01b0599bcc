"""``POST /rescore``: reranks the hits of an Elasticsearch response that the caller sends."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...errors import RequestError
from ...models.scripts import ascript_warning
from ...models.wrappers.wrapped import aadmitted, ascored_after
from ...observation import reranking
from ...off_loop import is_large, off_loop_if
from ...retrievers.execution.scoring import chosen_blend
from ...retrievers.execution.telling import tell_end
from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID, FirstStage
from ...retrievers.planning.first_stage import KIND_OF, origin
from ...retrievers.planning.long_texts import ain_parts
from ...retrievers.planning.text_source import PASSAGE_CAP
from ...retrievers.ranking.rerank import first_stage_scores, texts_of
from ...retrievers.response.answer import SearchStats
from ...retrievers.response.rescore import rescore_candidates, rescored
from ...types import Blend, Candidate, Scores
from ..access.authority import KeyedRoute
from ..messages.wire import answer, cancel_on_disconnect, timeout_s
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["rescore"])

Minimum = Annotated[float | None, Field(allow_inf_nan=False)]


class RescoreRequest(BaseModel):
    """The body of a rescore request.

    ``response``: an Elasticsearch response. ``field``: the field or fields with the text for the reranker.
    ``inference_id``: the reranker. ``blend``: whether the scores of the response have a part in the new ones,
    as in the short form. ``first_stage`` and ``embedder`` say where the response comes from, which chooses
    the blend: the one for vectors counts where they are not named. ``min_probability`` is compared with the
    probability of the pair, ``min_score`` with the score, without ``blend`` only.
    """

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    response: dict[str, Any]
    field: str | list[str]
    blend: bool = True
    first_stage: FirstStage | None = None
    embedder: str | None = None
    min_score: Minimum = None
    min_probability: Minimum = None
    inference_id: str = DEFAULT_INFERENCE_ID


@router.post("/rescore")
async def rescore(request: Request, wanted: RescoreRequest, service: Running) -> Response:
    """Return the response with its hits in the order of the reranker and scores 0..1.

    Sends no request to Elasticsearch. Raises RequestError when the response is not valid or has no texts.
    """
    if wanted.blend and wanted.min_score is not None:
        raise RequestError(
            "[min_score] has no fixed meaning with [blend]: the score depends on the window; "
            "use [min_probability], or set [blend] to false"
        )
    started = time.monotonic()
    fields = [wanted.field] if isinstance(wanted.field, str) else wanted.field
    deadline = service.deadline(timeout_s(request))
    reranker = service.served(wanted.inference_id)
    stats = SearchStats(models=[reranker.name], blended=wanted.blend)
    large = is_large(wanted.response)
    hits = await off_loop_if(large, rescore_candidates, wanted.response, fields)

    def blend() -> Blend | None:
        """Return the blend. A service tells the calibration of its model with its first scores."""
        kind = KIND_OF[wanted.first_stage or "knn"]
        named = () if wanted.embedder is None else (wanted.embedder,)
        return chosen_blend(reranker.calibration, origin(kind, named, ()), stats) if wanted.blend else None

    async def read() -> tuple[list[Candidate], list[str], Scores]:
        asked = [(wanted.query, await off_loop_if(large, texts_of, hits))]
        with await aadmitted(reranker, asked, deadline, most_parts=PASSAGE_CAP):
            candidates = await ain_parts(reranker, wanted.query, hits, deadline)
            texts = await off_loop_if(large, texts_of, candidates)
            service.check_documents(len(texts))
            known = first_stage_scores(candidates, blend())
            with reranking(reranker.name, wanted.query, texts) as tell:
                scores = await ascored_after(reranker, wanted.query, texts, known, deadline)
                tell(scores)
            return candidates, texts, scores

    candidates, texts, scores = await cancel_on_disconnect(request, read())
    stats.warn(await ascript_warning(reranker, wanted.query, texts))
    stats.seconds["rerank"] = stats.seconds["total"] = time.monotonic() - started
    body = await off_loop_if(
        large,
        rescored,
        wanted.response,
        candidates,
        scores,
        reranker.calibration,
        stats,
        blend=blend(),
        min_score=wanted.min_score,
        min_probability=wanted.min_probability,
    )
    tell_end(stats, documents=0)  # the service has counted them
    return answer(request, body)
