"""A reranker that reads texts of any length: in parts, of which the best decides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ...scores import aggregated, as_logits
from ...types import Aggregation, Scores
from .. import LongTextReranker
from .wrapped import WrappedReranker

_BEST = Aggregation("max")


class WholeTexts(WrappedReranker):
    """Reads every text whole; a ``Reranker`` over one that knows how much it can read at once, transparent
    over any other.

    A text's logit is that of its best part. It is ``done`` when all of its parts are.
    """

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per text, as the model does of its best part."""
        parts = self._parts(query, passages, deadline)
        return _joined(
            self._inner.score(query, [part for each in parts for part in each], deadline=deadline), parts
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it frees the work."""
        parts = await asyncio.to_thread(self._parts, query, passages, deadline)
        return _joined(
            await self._inner.ascore(query, [part for each in parts for part in each], deadline=deadline),
            parts,
        )

    def _parts(self, query: str, passages: Sequence[str], deadline: float | None) -> list[list[str]]:
        if not isinstance(self._inner, LongTextReranker):
            return [[passage] for passage in passages]
        cut = self._inner.cut(query, [("", passage) for passage in passages], deadline=deadline)
        return [
            [part.text for part in parts] if len(parts) > 1 else [passage]
            for passage, parts in zip(passages, cut, strict=True)
        ]


def _joined(scores: Scores, parts: Sequence[Sequence[str]]) -> Scores:
    """Return the scores of the texts from those of their parts."""
    if all(len(each) == 1 for each in parts):
        return scores
    logits = as_logits(scores)
    ends = list(accumulate(len(each) for each in parts))
    spans = [slice(end - len(each), end) for each, end in zip(parts, ends, strict=True)]
    return Scores(
        np.asarray([aggregated(logits[span], _BEST) for span in spans], dtype=np.float32),
        "logit",
        done=np.asarray([scores.done[span].all() for span in spans], dtype=np.bool_),
        truncated=np.asarray([scores.truncated[span].any() for span in spans], dtype=np.bool_),
        cached=np.asarray([scores.cached[span].all() for span in spans], dtype=np.bool_),
    )
