"""Two rerankers in a row: a cheap one reads every passage, a better one reads only the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...caller import continuing, followed_by
from ...engine.pool import Pool, Rate
from ...scores import as_logits
from ...types import Calibration, FloatArray, Passage, Scores
from .. import LoadedReranker, LongTextReranker
from ..closeable import Closeable
from ..unblocked import acut
from .wrapped import expected_s, pool_of, precision_of, rate_of

LEAST_KEPT = 10
"""The better reranker reads at least this many passages, however small the share: a page of hits, the depth
of nDCG@10."""


class Cascade(Closeable):
    """A ``Reranker`` that reads all passages with ``first`` and the best ``share`` of them with ``then``.

    The best ones are called kept. They have the scores of ``then``, bit for bit. The other passages come
    after the lowest of them, in the order and with the differences that ``first`` gives them. So the score of
    a kept passage depends on the pair only, but which passages are kept depends on all scores of ``first``.
    Calibration and input length are those of ``then``. Closing the cascade closes both rerankers, and the
    ``pool`` if one is given. (Cascade ranking: Wang, Lin and Metzler 2011,
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
        """The name under which the cascade is served; by default it contains both rerankers' names."""
        return self._name

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the better reranker."""
        return self._then.calibration

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the better reranker was trained on, None if that is not known."""
        return getattr(self._then, "scripts", None)

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one logit per passage.

        When the deadline comes before the better reranker has finished, only the passages that it has scored
        are ``done``.
        """
        with followed_by(self._then_s(query, passages)):
            before = self._first.score(query, passages, deadline=deadline)
        kept = self._kept(before)
        with continuing():
            after = self._then.score(query, [passages[position] for position in kept], deadline=deadline)
        return _joined(before, kept, after)

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        with followed_by(self._then_s(query, passages)):
            before = await self._first.ascore(query, passages, deadline=deadline)
        kept = self._kept(before)
        with continuing():
            after = await self._then.ascore(
                query, [passages[position] for position in kept], deadline=deadline
            )
        return _joined(before, kept, after)

    @property
    def precision(self) -> str | None:
        """The precision of both rerankers: ``int8``, or ``int8 then fp32`` where they differ. None if one is
        not known.
        """
        found = [precision_of(self._first), precision_of(self._then)]
        return " then ".join(dict.fromkeys(map(str, found))) if all(found) else None

    @property
    def pool(self) -> Pool | None:
        """The pool of the better reranker, else of the other one; None where both are other services."""
        return pool_of(self._then) or pool_of(self._first)

    @property
    def rate(self) -> Rate | None:
        """The seconds of a unit of work of the reranker whose pool it is."""
        return rate_of(self._then) or rate_of(self._first)

    def expected_s(self, query: str, passages: Sequence[str], *, most_parts: int | None = 1) -> float:
        """Return the estimated seconds that both rerankers take one thread."""
        first_s = expected_s(self._first, query, passages, most_parts=most_parts)
        return first_s + self._then_s(query, passages, most_parts)

    def _then_s(self, query: str, passages: Sequence[str], most_parts: int | None = 1) -> float:
        """Return the estimated seconds that the better reranker takes for the passages that are kept."""
        share = min(1.0, self._most(len(passages)) / max(len(passages), 1))
        return share * expected_s(self._then, query, passages, most_parts=most_parts)

    def _most(self, passages: int) -> int:
        return max(LEAST_KEPT, math.ceil(self._share * passages))

    def close(self) -> None:
        """Close both rerankers."""
        self._first.close()
        self._then.close()
        if self._pool is not None:
            self._pool.close()

    def _kept(self, scores: Scores) -> list[int]:
        """Return the positions of the best passages, ascending; of equal scores the earlier passage is
        better.
        """
        most = self._most(len(scores))
        done = np.flatnonzero(scores.done)
        best = done[np.argsort(-as_logits(scores)[done], kind="stable")[:most]]
        return sorted(best.tolist())


class LongTextCascade(Cascade):
    """``Cascade`` whose better reranker is a ``LongTextReranker``."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the better reranker returns."""
        assert isinstance(self._then, LongTextReranker)  # noqa: S101 ``cascade`` checks it
        return self._then.cut(query, texts, deadline=deadline)

    async def acut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the better reranker returns."""
        assert isinstance(self._then, LongTextReranker)  # noqa: S101 ``cascade`` checks it
        return await acut(self._then, query, texts, deadline=deadline)


def cascade(
    first: LoadedReranker,
    then: LoadedReranker,
    *,
    share: float,
    name: str | None = None,
    pool: Pool | None = None,
) -> Cascade:
    """Return a cascade of both; it is a ``LongTextReranker`` when ``then`` is one."""
    return (LongTextCascade if isinstance(then, LongTextReranker) else Cascade)(
        first, then, share=share, name=name, pool=pool
    )


def cascade_name(first: str, then: str) -> str:
    """Return the name of a cascade, made of the names of its rerankers."""
    return f"{then} after {first}"


def _joined(before: Scores, kept: Sequence[int], after: Scores) -> Scores:
    """Return the scores of all passages: ``after`` for the kept ones, ``before`` for the others."""
    values, done, truncated, cached = (
        as_logits(before).copy(),
        before.done.copy(),
        before.truncated.copy(),
        before.cached.copy(),
    )
    others = done.copy()
    others[list(kept)] = False
    if not after.done.all():
        # Otherwise kept passages that were not scored in time would come after passages that were not kept.
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
    """Return the logits, all shifted down by the same amount if needed, so that all are below ``lowest``."""
    below = np.nextafter(np.float32(lowest), np.float32(-np.inf))
    moved = logits.astype(np.float64) - max(0.0, float(logits.max()) - float(below))
    # After rounding to float32 the highest logit may be equal to ``lowest``.
    return np.minimum(moved.astype(np.float32), below)
