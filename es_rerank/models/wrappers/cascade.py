"""Two rerankers in a row: a cheap one reads every passage, a better one only those that may still matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...engine.pool import Pool
from ...scores import as_logits
from ...types import Calibration, FloatArray, Passage, Scores
from .. import LoadedReranker, LongTextReranker
from ..closeable import Closeable

LEAST_KEPT = 10
"""Passages that the better reranker reads however small the share: a page of hits, the depth of nDCG@10."""


class Cascade(Closeable):
    """Reads all passages with ``first`` and the best ``share`` of them with ``then``; a ``Reranker``.

    The kept ones have ``then``'s scores, bit for bit; the others follow behind the lowest of them, in the
    order and at the distances that ``first`` gives them. So the score of a kept passage depends on the pair
    alone, and which are kept on ``first``'s scores of the list. Calibration and window are ``then``'s;
    closing closes both, and the ``pool`` where one is given. (Cascade ranking: Wang, Lin and Metzler 2011,
    https://doi.org/10.1145/2009916.2009934.)
    """

    def __init__(
        self,
        first: LoadedReranker,
        then: LoadedReranker,
        *,
        share: float,
        name: str | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._first, self._then, self._share, self._pool = first, then, share, pool
        self._name = name or cascade_name(first.name, then.name)

    @property
    def name(self) -> str:
        """The name under which it is served; without one of its own, both names."""
        return self._name

    @property
    def calibration(self) -> Calibration | None:
        """How the better reranker's logits become log-odds."""
        return self._then.calibration

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one logit per passage; where time ran out, those alone are ``done`` that the better reranker
        got to.
        """
        before = self._first.score(query, passages, deadline=deadline)
        kept = self._kept(before)
        return _joined(
            before,
            kept,
            self._then.score(query, [passages[position] for position in kept], deadline=deadline),
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it frees the work."""
        before = await self._first.ascore(query, passages, deadline=deadline)
        kept = self._kept(before)
        return _joined(
            before,
            kept,
            await self._then.ascore(query, [passages[position] for position in kept], deadline=deadline),
        )

    def close(self) -> None:
        """Close both rerankers."""
        self._first.close()
        self._then.close()
        if self._pool is not None:
            self._pool.close()

    def _kept(self, scores: Scores) -> list[int]:
        """Return the positions of the best, in the order of the passages; of equals the earlier ones."""
        most = max(LEAST_KEPT, math.ceil(self._share * len(scores)))
        done = np.flatnonzero(scores.done)
        best = done[np.argsort(-as_logits(scores)[done], kind="stable")[:most]]
        return sorted(best.tolist())


class LongTextCascade(Cascade):
    """``Cascade`` whose better reranker says how much it reads at once."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the better reranker says."""
        assert isinstance(self._then, LongTextReranker)  # ``cascade`` sees to it
        return self._then.cut(query, texts, deadline=deadline)


def cascade(
    first: LoadedReranker,
    then: LoadedReranker,
    *,
    share: float,
    name: str | None = None,
    pool: Pool | None = None,
) -> Cascade:
    """Return both in a row; one that reads long texts still does."""
    return (LongTextCascade if isinstance(then, LongTextReranker) else Cascade)(
        first, then, share=share, name=name, pool=pool
    )


def cascade_name(first: str, then: str) -> str:
    """Return the name of two rerankers in a row."""
    return f"{then} after {first}"


def _joined(before: Scores, kept: Sequence[int], after: Scores) -> Scores:
    """Return the scores of all passages from those of the cheap reranker and, for the kept ones, of the
    better.
    """
    values, done, truncated, cached = (
        as_logits(before).copy(),
        before.done.copy(),
        before.truncated.copy(),
        before.cached.copy(),
    )
    others = done.copy()
    others[list(kept)] = False
    if not after.done.all():
        # Else the candidates that the time did not suffice for would stand behind those that were not worth
        # it.
        done[others] = False
    elif others.any() and len(kept):
        values[others] = _behind(values[others], float(as_logits(after).min()))
    for position, value, is_done, is_cut, is_cached in zip(
        kept, as_logits(after), after.done, after.truncated, after.cached, strict=True
    ):
        values[position], done[position], truncated[position], cached[position] = (
            value,
            is_done,
            truncated[position] | is_cut,
            is_cached,
        )
    return Scores(values, "logit", done=done, truncated=truncated, cached=cached)


def _behind(logits: FloatArray, lowest: float) -> FloatArray:
    """Return logits moved as a whole, if need be, so that all are below ``lowest``."""
    below = np.nextafter(np.float32(lowest), np.float32(-np.inf))
    moved = logits.astype(np.float64) - max(0.0, float(logits.max()) - float(below))
    # Rounded to float32 the highest may end on ``lowest`` itself.
    return np.minimum(moved.astype(np.float32), below)
