"""Embed and cut from within an event loop: with a deadline, and freed when the caller leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..engine.other_threads import users_threads
from ..errors import DeadlineError
from ..types import Passage
from . import AsyncCutting, AsyncEmbedder, Embedder, LongTextReranker, Vectors

_PIECE = 128
"""Most texts in one call of a user's embedder. Between two calls it is seen whether the caller left."""


async def aembed(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    purpose: Literal["query", "passage"] = "passage",
    deadline: float | None = None,
) -> Vectors:
    """Return what ``embedder.embed`` returns. ``deadline`` is a moment of ``time.monotonic()``, in seconds.

    An embedder that has only ``embed`` runs in threads of its own, at most ``_PIECE`` texts at once. Raises
    DeadlineError when the deadline comes first, OverloadError when too much work waits.
    """
    if isinstance(embedder, AsyncEmbedder):
        return await embedder.aembed(texts, purpose=purpose, deadline=deadline)
    vectors: list[Vectors] = []
    for start in range(0, max(len(texts), 1), _PIECE):
        piece = texts[start : start + _PIECE]
        (some,) = await users_threads().arun(
            lambda piece: embedder.embed(piece, purpose=purpose), [piece], length=len, deadline=deadline
        )
        if some is None:
            raise DeadlineError(f"the deadline came when {start} of {len(texts)} texts were embedded")
        vectors.append(some)
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)


async def acut(
    reranker: LongTextReranker,
    query: str,
    texts: Sequence[tuple[str, str]],
    *,
    deadline: float | None = None,
) -> list[list[Passage]]:
    """Return what ``reranker.cut`` returns. A text that is not reached before the deadline gives none."""
    if isinstance(reranker, AsyncCutting):
        return await reranker.acut(query, texts, deadline=deadline)
    (cut,) = await users_threads().arun(
        lambda texts: reranker.cut(query, texts, deadline=deadline), [texts], length=len, deadline=deadline
    )
    return [[] for _ in texts] if cut is None else cut
