"""What a reranker read for each hit of a window, so that another model can be trained on it and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...errors import ModelError
from ...models import LoadedReranker, Reranker
from ...models.wrappers.cached import CachedLongText, ScoreCache
from ...retrievers.grammar.tree import FirstStage
from ...retrievers.ranking.rerank import of_documents
from ...types import FirstStageScores, Scores
from .windows import OnQueriesDone, Read, Window


class NotedTexts(CachedLongText):
    """A cross-encoder that remembers its scores, and notes what it read for the last window."""

    def __init__(self, reranker: LoadedReranker, cache: ScoreCache) -> None:
        super().__init__(reranker, cache, reranker.name)
        self._last: tuple[Read, ...] = ()
        self._texts: dict[str, str] = {}

    def score_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return what ``score`` returns."""
        scores = self.score(query, passages, deadline=deadline)
        self._note(passages, first_stage, scores)
        return scores

    async def ascore_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return what ``ascore`` returns."""
        scores = await self.ascore(query, passages, deadline=deadline)
        self._note(passages, first_stage, scores)
        return scores

    def taken(self) -> tuple[Read, ...]:
        """Return what was read for each document of the last window, best first-stage rank first.

        It is empty when nothing was read since the last call.
        """
        last, self._last = self._last, ()
        return last

    def _note(self, passages: Sequence[str], first_stage: FirstStageScores, scores: Scores) -> None:
        # Several first stages find the same passages: each text is kept once.
        texts = [self._texts.setdefault(text, text) for text in passages]
        _, best = of_documents(scores, first_stage.counts)
        ends = np.cumsum(first_stage.counts).tolist()
        starts = [0, *ends[:-1]]
        self._last = tuple(
            Read(tuple(texts[start:end]), place) for start, end, place in zip(starts, ends, best, strict=True)
        )


class _Pairs(NamedTuple):
    """The texts of a window in one list, and how many belong to each hit."""

    texts: list[str]
    counts: list[int]


def _pairs(window: Window) -> _Pairs:
    if len(window.read) != len(window.documents):
        raise ModelError(
            f"the window of {window.query!r} has {len(window.documents)} hits, and texts of "
            f"{len(window.read)} of them were noted; tuning needs all; report this"
        )
    texts = [text for read in window.read for text in read.texts]
    return _Pairs(texts, [len(read.texts) for read in window.read])


def rescored(
    windows: Mapping[FirstStage, Sequence[Window]],
    reranker: Reranker,
    *,
    on_progress: OnQueriesDone | None = None,
) -> dict[FirstStage, list[Window]]:
    """Return the same windows with the logits of another model, which reads the same texts.

    All first stages have windows of the same queries, in the same order. The reranker should remember its
    scores. Raises ModelError when it is not known what was read for a hit.
    """
    found: dict[FirstStage, list[Window]] = {name: [] for name in windows}
    for done, of_query in enumerate(zip(*windows.values(), strict=True), 1):
        for name, window in zip(windows, of_query, strict=True):
            texts, counts = _pairs(window)
            if not texts:
                found[name].append(window)
                continue
            logits, best = of_documents(reranker.score(window.query, texts), counts)
            read = tuple(own._replace(best=place) for own, place in zip(window.read, best, strict=True))
            found[name].append(replace(window, logits=logits, read=read))
        if on_progress:
            on_progress(done)
    return found
