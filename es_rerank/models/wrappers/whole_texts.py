"""A reranker that reads texts of any length in parts; the best part decides."""

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
    """A ``Reranker`` that scores long texts in parts, over a ``LongTextReranker``; over any other reranker it
    changes nothing.

    The logit of a text is the logit of its best part. A text is ``done`` when all of its parts are.
    """

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per text: the score of its best part."""
        parts = self._parts(query, passages, deadline)
        return _joined(
            self._inner.score(query, [part for text in parts for part in text], deadline=deadline), parts
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        parts = await asyncio.to_thread(self._parts, query, passages, deadline)
        return _joined(
            await self._inner.ascore(query, [part for text in parts for part in text], deadline=deadline),
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
    if all(len(text) == 1 for text in parts):
        return scores
    logits = as_logits(scores)
    ends = list(accumulate(len(text) for text in parts))
    spans = [slice(end - len(text), end) for text, end in zip(parts, ends, strict=True)]
    return Scores(
        np.asarray([aggregated(logits[span], _BEST) for span in spans], dtype=np.float32),
        "logit",
        done=np.asarray([scores.done[span].all() for span in spans], dtype=np.bool_),
        truncated=np.asarray([scores.truncated[span].any() for span in spans], dtype=np.bool_),
        cached=np.asarray([scores.cached[span].all() for span in spans], dtype=np.bool_),
    )
