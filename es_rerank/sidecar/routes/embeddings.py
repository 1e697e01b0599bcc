"""Vectors in the formats of other servers: every path and format of ``es_rerank.dialects.vectors``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from ...dialects.table import asks_for_scores, version_of
from ...dialects.vectors import BY_PATH, AskedVectors, Embedded, Purpose
from ...errors import RequestError
from ...models import Embedder
from ...models.scripts import ascript_warning
from ...off_loop import is_large, off_loop_if
from ..access.authority import KeyedRoute
from ..messages.formats import json_object_of
from ..messages.paths import NamedModel
from ..messages.told import other_model, told
from ..messages.wire import answer, cancel_on_disconnect, timeout_s, warning
from ..record import tokens_read
from ..service import Service
from . import rerank
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["embeddings"])

Handler = Callable[..., Coroutine[Any, Any, Response]]

_FEW_VECTORS = 4
"""Vectors that are written in less than a millisecond."""

_SUFFIXES: tuple[Purpose, ...] = ("query", "passage")
"""What NVIDIA's API takes behind the name of a model, for clients that cannot send ``input_type``."""


def _at_each_path(handler: Handler) -> Handler:
    for path in BY_PATH:
        router.post(path)(handler)
    return handler


@_at_each_path
async def embeddings(request: Request, service: Running, model: NamedModel) -> Response:
    """Return a unit vector for each text, in the format in which they are asked for.

    The path tells the format. A rerank request of TEI to ``/`` gets scores. The texts are passages unless a
    key says that they are queries (``input_type``, ``task``, ``prompt_name``), or the name of the model ends
    in ``-query``. The query parameter ``model`` chooses one of the served embedders, as ``model`` in the body
    does; a name in the body that is not served is answered by the default embedder, and the header
    ``Warning`` says so. The headers ``x-rerank-model``, ``x-rerank-ignored`` and ``x-rerank-truncated`` are
    those of the rerank paths.

    Raises RequestError for a body that cannot be read, for other dimensions than the model's, and when a text
    is too long and may not be cut; raises TooLargeError, DeadlineError, OverloadError and UnknownModelError.
    """
    body = await json_object_of(request)
    path = request.scope["path"]
    if asks_for_scores(path, body):
        return await rerank.rerank(request, service, model)
    spoken = BY_PATH[path]
    asked = await off_loop_if(is_large(body), spoken.read, body)
    name, embedder, purpose, said = _chosen(service, asked, model)
    if asked.dims not in (None, embedder.dims):
        raise RequestError(
            f"[dimensions] asks for {asked.dims}; [{name}] makes vectors of {embedder.dims} dimensions only"
        )
    vectors, cut = await cancel_on_disconnect(
        request, service.embed_cut(list(asked.texts), purpose, timeout_s(request), embedder)
    )
    if asked.whole and cut.any():
        raise RequestError(
            f"text {int(np.argmax(cut))} is longer than the model reads; "
            "shorten it or allow that its end is cut"
        )
    made = Embedded(vectors, name, tokens_read())
    written = await off_loop_if(len(vectors) > _FEW_VECTORS, spoken.write, asked, made, version_of(path))
    said = [*said, await ascript_warning(embedder, "", list(asked.texts))]
    return answer(request, written, headers=told(name, cut, asked.ignored) | warning(*said))


def _chosen(
    service: Service, asked: AskedVectors, named: str | None
) -> tuple[str, Embedder, Purpose, list[str | None]]:
    """Return the name of the embedder that answers, the embedder, what the texts are for, and what is to be
    said about the choice.

    ``named``: the name in the query parameter, which must be served. Raises UnknownModelError, RequestError
    if no embedder is served, and what ``Service.models`` raises.
    """
    served = service.models()
    default = served.embedder_for(None)
    wanted, purpose = asked.model if named is None else named, asked.purpose
    if wanted is None or served.embeds(wanted):
        found = served.embedder_for(wanted)
        return served.name_of(found), found, purpose or "passage", []
    for suffix in _SUFFIXES:
        base = wanted.removesuffix(f"-{suffix}")
        if base != wanted and served.embeds(base):
            found = served.embedder_for(base)
            return served.name_of(found), found, purpose or suffix, []
    if named is not None:
        served.embedder_for(named)
    name = served.name_of(default)
    return name, default, purpose or "passage", [other_model(wanted, name)]
