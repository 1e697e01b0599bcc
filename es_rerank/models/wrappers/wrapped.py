"""The base class of a reranker that wraps another one, and what a wrapper asks of any reranker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from ...engine.pool import Pool, Rate
from ...off_loop import is_large, off_loop_if
from ...types import Calibration, FirstStageScores, Scores
from .. import FirstStageReranker, Reranker

Asked = Sequence[tuple[str, Sequence[str]]]
"""Queries, each with the passages that are scored for it."""


class WrappedReranker:
    """Has the name, the calibration, the scripts, the pool and the rate of the wrapped reranker."""

    def __init__(self, reranker: Reranker) -> None:
        self._inner = reranker

    @property
    def wrapped(self) -> Reranker:
        """The wrapped reranker."""
        return self._inner

    @property
    def name(self) -> str:
        """The name of the wrapped reranker."""
        return self._inner.name

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the wrapped reranker."""
        return self._inner.calibration

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the wrapped reranker was trained on, None if that is not known."""
        return getattr(self._inner, "scripts", None)

    @property
    def precision(self) -> str | None:
        """The precision of the wrapped reranker, None if it is not known."""
        return precision_of(self._inner)

    @property
    def pool(self) -> Pool | None:
        """The pool of the wrapped reranker, None where it has none."""
        return pool_of(self._inner)

    @property
    def rate(self) -> Rate | None:
        """The seconds of a unit of work of the wrapped reranker, None where it has no pool."""
        return rate_of(self._inner)


def precision_of(model: object) -> str | None:
    """Return the precision in which a reranker or embedder runs here, None where it is another service or a
    user's own.
    """
    precision = getattr(model, "precision", None)
    return precision if isinstance(precision, str) else None


def pool_of(reranker: Reranker) -> Pool | None:
    """Return the pool in which a reranker runs, None where it is another service or a user's own."""
    pool = getattr(reranker, "pool", None)
    return pool if isinstance(pool, Pool) else None


def rate_of(reranker: Reranker) -> Rate | None:
    """Return the seconds that a unit of work takes a reranker, None where it has no pool."""
    rate = getattr(reranker, "rate", None)
    return rate if isinstance(rate, Rate) else None


def scored_after(
    reranker: Reranker,
    query: str,
    passages: Sequence[str],
    first_stage: FirstStageScores | None,
    deadline: float | None,
) -> Scores:
    """Return a reranker's scores of a window, by ``score_after`` if it has that."""
    if first_stage is not None and isinstance(reranker, FirstStageReranker):
        return reranker.score_after(query, passages, first_stage, deadline=deadline)
    return reranker.score(query, passages, deadline=deadline)


async def ascored_after(
    reranker: Reranker,
    query: str,
    passages: Sequence[str],
    first_stage: FirstStageScores | None,
    deadline: float | None,
) -> Scores:
    """Return the same as ``scored_after`` without blocking the event loop."""
    if first_stage is not None and isinstance(reranker, FirstStageReranker):
        return await reranker.ascore_after(query, passages, first_stage, deadline=deadline)
    return await reranker.ascore(query, passages, deadline=deadline)


def expected_s(
    reranker: Reranker, query: str, passages: Sequence[str], *, most_parts: int | None = 1
) -> float:
    """Return the estimated seconds that a reranker takes one thread, 0 where it is not known.

    ``most_parts``: how many parts of a passage are read, None for all; with 1 it is cut at its end.
    """
    estimate = getattr(reranker, "expected_s", None)
    if estimate is None:
        return 0.0
    return float(
        estimate(query, passages) if most_parts == 1 else estimate(query, passages, most_parts=most_parts)
    )


def admitted(
    reranker: Reranker, asked: Asked, deadline: float | None, *, most_parts: int | None = 1
) -> AbstractContextManager[None]:
    """Return a block that is admitted as one: the cutting and the scoring of all that a reranker is asked.

    Entering it raises OverloadError, before anything is read, when all of it would not end by the deadline, a
    moment of ``time.monotonic()``. A block within such a block is a part of it.
    """
    pool, rate = pool_of(reranker), rate_of(reranker)
    if pool is None or rate is None or pool.is_admitted():
        return nullcontext()
    return _block(pool, rate, _expected_s(reranker, asked, most_parts), deadline)


async def aadmitted(
    reranker: Reranker, asked: Asked, deadline: float | None, *, most_parts: int | None = 1
) -> AbstractContextManager[None]:
    """Return the same as ``admitted`` without blocking the event loop."""
    pool, rate = pool_of(reranker), rate_of(reranker)
    if pool is None or rate is None or pool.is_admitted():
        return nullcontext()
    seconds = await off_loop_if(is_large(asked), _expected_s, reranker, asked, most_parts)
    return _block(pool, rate, seconds, deadline)


def _block(pool: Pool, rate: Rate, seconds: float, deadline: float | None) -> AbstractContextManager[None]:
    # Its length, because the seconds of a unit may be known better before all is done.
    return pool.admitted(seconds / rate.mean if rate.mean > 0 else 0.0, rate, deadline)


def _expected_s(reranker: Reranker, asked: Asked, most_parts: int | None) -> float:
    return sum(expected_s(reranker, query, passages, most_parts=most_parts) for query, passages in asked)
