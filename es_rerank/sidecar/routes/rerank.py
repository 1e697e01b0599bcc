"""Reranking in the formats of other servers: every path and format of ``es_rerank.dialects``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from ...caller import as_a_whole
from ...defaults import MAX_TEXT_CHARACTERS
from ...dialects.request import Asked, Scored
from ...dialects.table import PATHS, Dialect, dialect_of, dialect_on, version_of
from ...errors import AmbiguousRequestError, DeadlineError, RequestError, TooLargeError
from ...models import Reranker
from ...models.scripts import ascript_warning
from ...models.wrappers.whole_texts import WholeTexts
from ...models.wrappers.wrapped import aadmitted
from ...off_loop import is_large, off_loop_if
from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID
from ...retrievers.grammar.validation import check_query_length
from ...scores import as_logits, logistic, pair_log_odds, ranked
from ...types import Scores
from ..access.authority import BODY, KeyedRoute
from ..access.keys import too_many_documents
from ..messages.formats import json_object_of
from ..messages.paths import NamedModel
from ..messages.told import other_model, told
from ..messages.wire import answer, cancel_on_disconnect, timeout_s, warning
from ..record import tokens_read
from ..service import Service, too_late
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["rerank"])

Handler = Callable[..., Coroutine[Any, Any, Response]]

_QUERIES_AT_A_TIME = 8
"""How many queries of one request are scored side by side: one at a time would leave threads and services
idle."""

_SPOKEN = "es_rerank.dialect"
"""The key of a scope under which the format of a request stands, once its body is read."""


def _at_each_path(handler: Handler) -> Handler:
    for path in PATHS:
        router.post(path)(handler)
    return handler


@_at_each_path
async def rerank(request: Request, service: Running, model: NamedModel) -> Response:
    """Return the scores of texts for a query, in the format in which they are asked for.

    The path and the keys of the body tell the format. The query parameter ``model`` chooses one of the served
    models, as ``model`` in the body does; a name in the body that is not served is answered by the default
    model, and the header ``Warning`` says so. The header ``x-rerank-model`` names the model that answers,
    ``x-rerank-ignored`` the keys of the body that have no effect. The header ``x-rerank-truncated`` says of
    how many texts the model did not read the end, ``x-rerank-truncated-at`` lists their positions if there
    are at most 1,000. The header ``Warning`` also says that texts are in a script that the model does not
    read.

    Raises RequestError for a body that cannot be read, and when a text is too long and may not be cut; raises
    TooLargeError, DeadlineError and UnknownModelError.
    """
    body = await json_object_of(request)
    path = request.scope["path"]
    spoken = request.scope[_SPOKEN] = dialect_of(path, body)
    asked = await off_loop_if(is_large(body), spoken.read, body)
    _check_sizes(asked, service.most_documents)
    served, said = _chosen(service, asked.model, model)
    scores = await cancel_on_disconnect(request, _scored(service, asked, timeout_s(request), served))
    if asked.whole and scores.truncated.any():
        place = int(np.argmax(scores.truncated))
        query = asked.queries[place if len(asked.queries) > 1 else 0]
        alone = await cancel_on_disconnect(
            request, service.score_all(query, [""], timeout_s(request), served)
        )
        long = "the query" if alone.truncated.any() else f"text {place}"
        raise RequestError(f"{long} is longer than the model reads; shorten it or allow that it is cut")
    logits = as_logits(scores)
    values = logits if asked.raw_scores else logistic(pair_log_odds(logits, served.calibration))
    found = Scored(values.tolist(), ranked(logits)[: asked.top_n], served.name, tokens_read())
    said += [await ascript_warning(served, "\n".join(asked.queries), list(asked.texts))]
    return answer(
        request,
        spoken.write(asked, found, version_of(path)),
        headers=told(served.name, scores.truncated, asked.ignored) | warning(*said),
    )


def _check_sizes(asked: Asked, most: int) -> None:
    """Check what is not known before the objects of a body are read. Raises TooLargeError, RequestError."""
    if len(asked.texts) > most:
        raise too_many_documents(len(asked.texts), most)
    check_query_length("query", max(asked.queries, key=len))
    longest = max(map(len, asked.texts))
    if longest > MAX_TEXT_CHARACTERS:
        raise TooLargeError(
            f"a text has {longest} characters, at most {MAX_TEXT_CHARACTERS} are read; send its parts"
        )


def _chosen(service: Service, wanted: str | None, named: str | None) -> tuple[Reranker, list[str | None]]:
    """Return the model that answers, and what is to be said about the choice.

    ``named``: the name in the query parameter, which must be served. ``wanted``: the name in the body.
    """
    models = service.models()
    if named is not None:
        return models.reranker(named, "model"), []
    if wanted is None or models.serves(wanted):
        return models.reranker(wanted or DEFAULT_INFERENCE_ID), []
    default = models.reranker(DEFAULT_INFERENCE_ID)
    return default, [other_model(wanted, default.name)]


async def _scored(service: Service, asked: Asked, wanted_s: float | None, served: Reranker) -> Scores:
    """Return the scores of all texts. Texts with the same query are scored together, and all are admitted as
    one: either all would be scored in time, or none is read.

    A text that is longer than the model's window is read in parts, unless the caller wants it cut.
    """
    if asked.most_parts != 1:
        served = WholeTexts(served, asked.most_parts)
    if len(set(asked.queries)) == 1:
        return await service.score_all(asked.queries[0], list(asked.texts), wanted_s, served)
    places: dict[str, list[int]] = {}
    for place, query in enumerate(asked.queries):
        places.setdefault(query, []).append(place)
    gate = asyncio.Semaphore(_QUERIES_AT_A_TIME)

    groups = [(query, [asked.texts[place] for place in at]) for query, at in places.items()]

    async def scored(query: str, texts: list[str]) -> Scores:
        async with gate:
            return await service.score_all(query, texts, wanted_s, served)

    try:
        with as_a_whole(), await aadmitted(served, groups, service.deadline(wanted_s)):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(scored(query, texts)) for query, texts in groups]
    except ExceptionGroup as errors:
        first = errors.exceptions[0]  # it ended all other tasks
        if isinstance(first, DeadlineError):
            ended = (not task.cancelled() and task.exception() is None for task in tasks)
            done = sum(len(texts) for (_, texts), good in zip(groups, ended, strict=True) if good)
            first = too_late(done, len(asked.texts))
        raise first from errors
    parts = [task.result() for task in tasks]
    back = np.argsort([place for at in places.values() for place in at])
    return Scores(
        np.concatenate([as_logits(part) for part in parts])[back],
        "logit",
        *(
            np.concatenate([getattr(part, name) for part in parts])[back]
            for name in ("done", "truncated", "cached")
        ),
    )


def spoken_in(request: Request) -> Dialect | None:
    """Return the format of a request: that of its path, unless the keys of its body say otherwise.

    None for a path that is not one of reranking.
    """
    spoken: Dialect | None = request.scope.get(_SPOKEN)
    path, body = request.scope["path"].rstrip("/"), request.scope.get(BODY)
    of_path = dialect_on(path)
    if spoken is None and of_path is not None and isinstance(body, dict):
        with suppress(AmbiguousRequestError):
            return dialect_of(path, body)
    return spoken or of_path
