"""Two rerankers in a row: a cheap one reads every passage, a better one reads only the best of them."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from ...caller import continuing, followed_by
from ...engine.pool import Pool, Rate
from ...scores import as_logits, behind
from ...types import Calibration, FirstStageScores, FloatArray, Passage, Scores
from .. import LoadedReranker, LongTextReranker
from ..closeable import Closeable
from ..stand_in import Prediction, StandIn, from_calibrations
from ..unblocked import acut
from .certain_page import CertainPage
from .wrapped import expected_s, pool_of, precision_of, rate_of

LEAST_KEPT = 10
"""The better reranker reads at least this many passages, however small the share: a page of hits, the depth
of nDCG@10."""

_Reading = Generator[list[int] | Scores, Scores, None]
"""Yields the positions of the passages that the better reranker is to read now, and receives its scores of
them. At last it yields the scores of all passages."""


class Cascade(Closeable):
    """A ``Reranker`` that reads all passages with ``first`` and the best of them with ``then``.

    Which ones are the best is decided by the logit that is to be expected of ``then``, given that of
    ``first`` and, in a search, the first stage's score (``models.stand_in``). With a ``share`` these are the
    best ``share`` of the passages. With ``top`` the window ends by itself: ``then`` reads a few passages at a
    time, until no other document can be among the best ``top`` (``certain_page``). ``stand_in`` says what
    ``first`` was fitted to; ``top`` needs it.

    The passages that ``then`` has read have its scores, bit for bit. The others come after them. So the score
    of a passage that was read depends on the pair only, but which ones are read depends on the whole window.
    Calibration and input length are those of ``then``. Closing the cascade closes both rerankers, and the
    ``pool`` if one is given. (Cascade ranking: Wang, Lin and Metzler 2011,
    https://doi.org/10.1145/2009916.2009934.)
    """

    def __init__(
        self,
        first: LoadedReranker,
        then: LoadedReranker,
        *,
        share: float = 1.0,
        top: int | None = None,
        stand_in: StandIn | None = None,
        name: str | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._first, self._then, self._share, self._top, self._pool = first, then, share, top, pool
        self._stand_in = stand_in
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
        """Return one logit per passage. Each counts as a document, and no first stage is known.

        The passages that only ``first`` has read have the logits to expect of ``then``, all lower by the same
        amount if needed, so that the best of them comes after all that ``then`` has read. When the deadline
        comes before the better reranker has finished, only the passages that it has scored are ``done``.
        """
        return _in_one_order(self._score(query, passages, None, deadline))

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        return _in_one_order(await self._ascore(query, passages, None, deadline))

    def score_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return one logit per passage of a window.

        The passages that only ``first`` has read are ``estimated``: theirs are the logits to expect of
        ``then``. The deadline is that of ``score``.
        """
        return self._score(query, passages, first_stage, deadline)

    async def ascore_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return the same as ``score_after`` without blocking the event loop; cancelling it stops it."""
        return await self._ascore(query, passages, first_stage, deadline)

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

    def close(self) -> None:
        """Close both rerankers."""
        self._first.close()
        self._then.close()
        if self._pool is not None:
            self._pool.close()

    def _score(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores | None,
        deadline: float | None,
    ) -> Scores:
        with followed_by(self._then_s(query, passages)):
            before = self._first.score(query, passages, deadline=deadline)
        reading = self._reading(before, first_stage)
        wanted = next(reading)
        while isinstance(wanted, list):
            with continuing():
                after = self._then.score(query, [passages[i] for i in wanted], deadline=deadline)
            wanted = reading.send(after)
        return wanted

    async def _ascore(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores | None,
        deadline: float | None,
    ) -> Scores:
        with followed_by(self._then_s(query, passages)):
            before = await self._first.ascore(query, passages, deadline=deadline)
        reading = self._reading(before, first_stage)
        wanted = next(reading)
        while isinstance(wanted, list):
            with continuing():
                after = await self._then.ascore(query, [passages[i] for i in wanted], deadline=deadline)
            wanted = reading.send(after)
        return wanted

    def _reading(self, before: Scores, first_stage: FirstStageScores | None) -> _Reading:
        """Read a window, of which ``before`` are the cheap model's scores."""
        if not before.done.all():
            yield replace(before, done=np.zeros(len(before), dtype=np.bool_))
            return
        window = first_stage or FirstStageScores.unknown(len(before))
        prediction = self._prediction(joined=first_stage is not None)
        expected = prediction.expected(as_logits(before), window)
        page = CertainPage(expected, prediction.margin, window, self._top or len(window.counts))
        merged = _Merged(before, expected)
        while wanted := page.next(None if self._top else self._most(len(before))):
            after = yield wanted
            merged.read(wanted, after)
            if not after.done.all():
                break  # the deadline came
            page.tell(wanted, as_logits(after))
            if self._top is None:
                break
        yield merged.scores()

    def _prediction(self, *, joined: bool) -> Prediction:
        if self._stand_in is not None:
            return self._stand_in.prediction(joined=joined)
        return from_calibrations(self._first.calibration, self._then.calibration, joined=joined)

    def _then_s(self, query: str, passages: Sequence[str], most_parts: int | None = 1) -> float:
        """Return the estimated seconds that the better reranker takes for the passages that it will read."""
        share = min(1.0, self._most(len(passages)) / max(len(passages), 1))
        return share * expected_s(self._then, query, passages, most_parts=most_parts)

    def _most(self, passages: int) -> int:
        """Return how many passages the better reranker reads: exactly with a share, about with ``top``."""
        if self._top is None:
            return kept(self._share, passages)
        share = 1.0 if self._stand_in is None else self._stand_in.share
        return max(self._top, math.ceil(share * passages))


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
    share: float = 1.0,
    top: int | None = None,
    stand_in: StandIn | None = None,
    name: str | None = None,
    pool: Pool | None = None,
) -> Cascade:
    """Return a cascade of both; it is a ``LongTextReranker`` when ``then`` is one."""
    return (LongTextCascade if isinstance(then, LongTextReranker) else Cascade)(
        first, then, share=share, top=top, stand_in=stand_in, name=name, pool=pool
    )


def kept(share: float, passages: int) -> int:
    """Return how many of so many passages a ``share`` is: at least ``LEAST_KEPT``."""
    return max(LEAST_KEPT, math.ceil(share * passages))


def cascade_name(first: str, then: str) -> str:
    """Return the name of a cascade, made of the names of its rerankers."""
    return f"{then} after {first}"


class _Merged:
    """The scores of all passages: the better model's where it has read, else what is expected of it."""

    def __init__(self, before: Scores, expected: FloatArray) -> None:
        self._values = expected.copy()
        self._done, self._truncated, self._cached = (
            before.done.copy(),
            before.truncated.copy(),
            before.cached.copy(),
        )
        self._estimated = np.ones(len(before), dtype=np.bool_)

    def read(self, positions: Sequence[int], after: Scores) -> None:
        """Take the better model's scores of the passages at ``positions``."""
        at = list(positions)
        self._values[at], self._done[at], self._cached[at] = as_logits(after), after.done, after.cached
        self._truncated[at] |= after.truncated
        self._estimated[at] = False
        if not after.done.all():
            # Otherwise passages that were to be read would come after passages that were not worth it.
            self._done &= ~self._estimated

    def scores(self) -> Scores:
        """Return the scores."""
        return Scores(
            self._values,
            "logit",
            done=self._done,
            truncated=self._truncated,
            cached=self._cached,
            estimated=self._estimated,
        )


def _in_one_order(scores: Scores) -> Scores:
    """Return the scores with all estimates lower by the same amount, if needed, so that the best of them is
    below all logits that were read.
    """
    if scores.estimated is None:
        return scores
    others, read = scores.done & scores.estimated, scores.done & ~scores.estimated
    if not others.any() or not read.any():
        return scores
    values = scores.values.copy()
    values[others] = behind(values[others], float(values[read].min()))
    return replace(scores, values=values)
