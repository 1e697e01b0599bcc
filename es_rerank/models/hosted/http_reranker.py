"""The base class of rerankers over HTTP: it splits a long list of passages into requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from ...text.pairs import well_formed
from ...types import Calibration, Scale, Scores
from .answers import Answer
from .http_service import HttpService, all_done, passed, request_batches

_LONGEST_CHARS = 250_000
"""Most characters of a passage that are sent: the longest input of today's rerankers is 8,192 tokens, at 30
characters a token. A document of megabytes would otherwise make the service refuse the whole request."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a service is asked in one call: most texts in a request, and the scale of its scores."""

    batch: int
    scale: Scale


TermsT = TypeVar("TermsT", bound=Terms)


class HttpReranker(HttpService, Generic[TermsT]):
    """Scores passages by asking a service; a ``LoadedReranker``. Subclasses build and send one request.

    A long list is split into requests; at most ``concurrency`` of them run at the same time. Further
    arguments and errors are those of ``HttpService``.
    """

    scale: Scale
    request_bytes: float = math.inf
    """Most text in one request, in bytes of JSON; a single longer passage is sent alone."""

    @property
    def calibration(self) -> Calibration | None:
        """None: the scores of a service are used unchanged."""
        return None

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per passage, in the order of ``passages``.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. A passage whose request is not answered
        by then is not ``done``; after the deadline nothing is sent. Raises RemoteModelError when the service
        refuses, fails or cannot be reached, OverloadError when it still accepts no requests after all
        attempts, RemoteScoreError when its answer is not one finite score per passage.
        """
        return self._loop.run(lambda: self._score(query, passages, deadline))

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        return await self._loop.arun(lambda: self._score(query, passages, deadline))

    async def _ask(self, terms: TermsT, query: str, texts: Sequence[str], timeout_s: float) -> Answer:
        """Return the answer to one request.

        Raises TransientError, TimeoutError with the service's message, or what ``score`` raises.
        """
        raise NotImplementedError

    async def _terms(self, timeout_s: float) -> TermsT:
        """Return how the service is asked in this call. Raises what ``_ask`` raises."""
        raise NotImplementedError

    def _wording(self, query: str) -> str:
        """Return the query in a form that the service accepts. Raises RequestError when there is none."""
        raise NotImplementedError

    def _reads(self, terms: TermsT, text: str) -> bool:
        """Return whether the service accepts a passage. A passage that it does not accept is not sent and
        scores 0.
        """
        raise NotImplementedError

    async def _score(self, query: str, passages: Sequence[str], deadline: float | None) -> Scores:
        if not self._connected:
            self._connect()
        texts = [well_formed(passage[:_LONGEST_CHARS]) for passage in passages]
        if not texts or passed(deadline):
            return _open(passages, self.scale)
        query = self._wording(well_formed(query))
        terms = await self._in_time(self._terms, deadline)
        if terms is None:
            return _open(passages, self.scale)
        scores = _open(passages, terms.scale)
        sent = [position for position, text in enumerate(texts) if self._reads(terms, text)]
        scores.done[:] = True
        scores.done[sent] = False
        turn = asyncio.Semaphore(self._concurrency)
        await all_done(
            self._fill(scores, terms, query, texts, batch, deadline, turn)
            for batch in request_batches(sent, texts, terms.batch, self.request_bytes)
        )
        return scores

    async def _fill(
        self,
        scores: Scores,
        terms: TermsT,
        query: str,
        texts: Sequence[str],
        positions: Sequence[int],
        deadline: float | None,
        turn: asyncio.Semaphore,
    ) -> None:
        """Write the scores of the texts at ``positions`` into ``scores``, unless the deadline comes first."""
        batch = [texts[position] for position in positions]
        async with turn:
            answer = await self._in_time(
                lambda timeout_s: self._ask(terms, query, batch, timeout_s), deadline
            )
        if answer is not None:
            scores.values[positions] = answer.values
            scores.done[positions] = True
            scores.truncated[[positions[cut] for cut in answer.truncated]] = True


def _open(passages: Sequence[str], scale: Scale) -> Scores:
    """Return scores of which none is ``done``; a passage that is sent only in part is marked as
    ``truncated``.
    """
    none = np.zeros(len(passages), dtype=np.bool_)
    cut = np.asarray([len(passage) > _LONGEST_CHARS for passage in passages], dtype=np.bool_)
    return Scores(
        np.zeros(len(passages), dtype=np.float32), scale, done=none, truncated=cut, cached=none.copy()
    )
