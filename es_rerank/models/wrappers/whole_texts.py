"""A reranker that reads texts of any length in parts; the best part decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from ...scores import aggregated, as_logits
from ...types import Aggregation, Passage, Scores
from .. import LongTextReranker, Reranker
from ..unblocked import acut
from .wrapped import WrappedReranker, aadmitted, admitted, expected_s

_BEST = Aggregation("max")


class WholeTexts(WrappedReranker):
    """A ``Reranker`` that scores long texts in parts, over a ``LongTextReranker``; over any other reranker it
    changes nothing.

    The logit of a text is the logit of its best part. A text is ``done`` when all of its parts are. Of a text
    with more than ``most`` parts the first are read, and it counts as ``truncated``; None means no limit.
    Cutting and scoring are admitted as one: nothing is cut that would be scored too late.
    """

    def __init__(self, reranker: Reranker, most: int | None = None) -> None:
        super().__init__(reranker)
        self._most = most

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per text: the score of its best part."""
        inner, cut = self._inner, None
        with admitted(self, [(query, passages)], deadline):
            if isinstance(inner, LongTextReranker):
                cut = inner.cut(query, [("", passage) for passage in passages], deadline=deadline)
            parts = _parts(passages, cut)
            read = [text[: self._most] for text in parts]
            scores = inner.score(query, [part for text in read for part in text], deadline=deadline)
        return _marked(_joined(scores, read), parts, self._most)

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        inner, cut = self._inner, None
        with await aadmitted(self, [(query, passages)], deadline):
            if isinstance(inner, LongTextReranker):
                cut = await acut(inner, query, [("", passage) for passage in passages], deadline=deadline)
            parts = _parts(passages, cut)
            read = [text[: self._most] for text in parts]
            scores = await inner.ascore(query, [part for text in read for part in text], deadline=deadline)
        return _marked(_joined(scores, read), parts, self._most)

    def expected_s(self, query: str, passages: Sequence[str]) -> float:
        """Return the estimated seconds that the wrapped reranker takes for the parts of all passages."""
        return expected_s(self._inner, query, passages, most_parts=self._most)


def _parts(passages: Sequence[str], cut: Sequence[Sequence[Passage]] | None) -> list[list[str]]:
    """Return the parts of each text. What was not cut is one part."""
    if cut is None:
        return [[passage] for passage in passages]
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


def _marked(scores: Scores, parts: Sequence[Sequence[str]], most: int | None) -> Scores:
    """Return the scores, with the texts as truncated of which more than ``most`` parts were not read."""
    if most is None or all(len(text) <= most for text in parts):
        return scores
    left_out = np.asarray([len(text) > most for text in parts], dtype=np.bool_)
    return replace(scores, truncated=scores.truncated | left_out)
