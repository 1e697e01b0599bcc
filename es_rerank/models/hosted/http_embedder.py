"""The base class of embedders over HTTP: batches, texts that are refused, rate limits, and patience."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import SecretStr

from ...defaults import LONGEST_S
from ...dialects.asking_vectors import VECTOR_EXAMPLE
from ...errors import DeadlineError, EsRerankError, OverloadError, RemoteModelError
from ...text.pairs import well_formed
from .. import Vectors
from .http_service import CONCURRENCY, SERVICE_TIMEOUT_S, HttpService, all_done, passed, request_batches
from .retrying import TransientError, retried

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

Purpose = Literal["query", "passage"]

PATIENCE_S = 600.0
"""How long passages wait for a service that is busy or down, in seconds, in a call without a deadline: a rate
limit of tokens a minute makes an ingest slow, and does not end it."""

_LONGEST_QUERY = 250_000
"""Most characters of a query that are sent."""

_OF_THE_TEXT = frozenset({400, 413, 422, 500})
"""Statuses of a request that may be refused for one of its texts, or because there are too many. llama.cpp
answers 500 for a text that is too long."""

_CHECKED_EACH = 20
"""After so many refused texts in a row, the service is asked for the example again: it may refuse all."""

_SERVER_ERROR = 500

_UNSTATED_WAIT_S = 1.0
"""How long nothing is sent after a 429 without ``Retry-After``, in seconds."""


_LOOKED_EACH_S = 0.2
"""How often a call looks whether it is given up, in seconds."""


@dataclass(frozen=True, slots=True)
class EmbedderTerms:
    """What is known of a service once it has answered: its model's name and the dimensions of its vectors,
    and how many tokens of a passage it reads, None if it does not say that.
    """

    name: str
    dims: int
    room: int | None = None


class HttpEmbedder(HttpService):
    """Embeds texts by asking a service; an ``AsyncEmbedder``. Subclasses build and send one request.

    Texts are sent in batches of at most ``most`` texts and ``most_bytes`` bytes; at most ``concurrency`` of
    them run at the same time. When a batch is refused, it is halved and sent again, down to single texts.
    When the service asks to wait (429), no request of this embedder is sent before that time. Passages in a
    call without a deadline wait ``patience_s`` seconds for a service that is busy or down; queries, and the
    first request, are sent four times at most. Vectors have length 1: those of a service that does not make
    them so are divided by their length. Further arguments and errors are those of ``HttpService``.
    """

    answered = "vectors"
    transient = frozenset({408, 425, 502, 503, 504})

    def __init__(
        self,
        *,
        service: str,
        api_key: SecretStr | None,
        most: int | None = None,
        most_bytes: int = 400_000,
        timeout_s: float = SERVICE_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        concurrency: int = CONCURRENCY,
        credentials: tuple[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__(
            name=service,
            service=service,
            api_key=api_key,
            timeout_s=timeout_s,
            concurrency=concurrency,
            credentials=credentials,
            secrets=secrets,
        )
        self._most, self._most_bytes, self._patience_s = most, most_bytes, patience_s
        self._terms: EmbedderTerms | None = None
        self._free_at, self._refused_in_a_row = 0.0, 0

    def _connect(self) -> None:
        super()._connect()
        self._learning, self._under_way = asyncio.Lock(), 0

    # --- what a subclass does -------------------------------------------------------------------------------

    async def _learn(self, timeout_s: float) -> EmbedderTerms:
        """Ask the service for the vectors of ``VECTOR_EXAMPLE``, and return what is known then.

        Raises TransientError, or what ``embed`` raises.
        """
        raise NotImplementedError

    async def _ask(self, texts: Sequence[str], purpose: Purpose, timeout_s: float) -> Vectors:
        """Return the vectors of the texts of one request. Raises TransientError, or what ``embed`` raises."""
        raise NotImplementedError

    def _prefix(self, purpose: Purpose) -> str:
        """Return what is put before each text of this purpose."""
        raise NotImplementedError

    # --- what a caller sees ---------------------------------------------------------------------------------

    @property
    def learnt(self) -> EmbedderTerms:
        """What is known of the service, which is asked if it was not yet. Raises what ``embed`` raises."""
        return self._terms or self._loop.run(lambda: self._known(None))

    @property
    def name(self) -> str:
        """The model's own name, which an index records in its mapping's ``_meta``."""
        return self.learnt.name

    @property
    def dims(self) -> int:
        """The number of dimensions of a vector."""
        return self.learnt.dims

    def embed(self, texts: Sequence[str], *, purpose: Purpose = "passage") -> Vectors:
        """Return unit vectors, float32, (len(texts), dims), in the order of ``texts``.

        Raises RemoteModelError when the service refuses a text, fails or cannot be reached, OverloadError
        when it still accepts no requests after all attempts, RemoteScoreError when its answer is not one
        finite vector per text.
        """
        return self._loop.run(lambda: self._whole(texts, purpose, None))

    async def aembed(
        self, texts: Sequence[str], *, purpose: Purpose = "passage", deadline: float | None = None
    ) -> Vectors:
        """Return the same as ``embed`` without blocking the event loop; cancelling it stops its work.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. Raises DeadlineError when it comes
        first.
        """
        return await self._loop.arun(lambda: self._whole(texts, purpose, deadline))

    def embed_accepted(
        self, texts: Sequence[str], given_up: Callable[[], bool] = lambda: False
    ) -> tuple[Vectors, dict[int, str]] | None:
        """Return unit vectors of passages, float32, (len(texts), dims), and by position why the service
        refused a text, which has zeros for a vector. None if ``given_up`` says so while all that is left
        waits for a service that is busy or down. Raises what ``embed`` raises for anything else.
        """
        found = self._loop.run(lambda: self._unless(given_up, self._embedded(texts, "passage", None)))
        if found is None:
            return None
        return found[0], {position: error.message for position, error in found[1].items()}

    # --- how it is done -------------------------------------------------------------------------------------

    async def _whole(self, texts: Sequence[str], purpose: Purpose, deadline: float | None) -> Vectors:
        vectors, refused = await self._embedded(texts, purpose, deadline)
        for position, error in sorted(refused.items()):
            raise RemoteModelError(
                f"text {position} of {len(texts)}: {error.message}",
                service=self._service,
                status=error.status,
            )
        return vectors

    async def _unless(self, given_up: Callable[[], bool], work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of ``work``; None if it is given up while no request is under way."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOKED_EACH_S))[0]:
                if given_up() and not self._under_way:
                    return None
            return await task
        finally:
            task.cancel()

    async def _known(self, deadline: float | None) -> EmbedderTerms:
        if not self._connected:
            self._connect()
        if self._terms is not None:
            return self._terms
        left = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(left), self._learning:
                if self._terms is None:
                    self._terms = await self._sent(self._learn, "query", deadline)
        except TimeoutError:
            raise DeadlineError(
                f"the deadline came before {self._service} had told what it is; allow more time"
            ) from None
        return self._terms

    async def _embedded(
        self, texts: Sequence[str], purpose: Purpose, deadline: float | None
    ) -> tuple[Vectors, dict[int, RemoteModelError]]:
        terms = await self._known(deadline)
        prefix = self._prefix(purpose)
        longest = _LONGEST_QUERY if purpose == "query" else None
        # Some services refuse an empty text; a space has no words either.
        sent = [prefix + (well_formed(text[:longest]) or " ") for text in texts]
        work = _Work(
            sent,
            purpose,
            deadline,
            np.zeros((len(texts), terms.dims), dtype=np.float32),
            {},
            asyncio.Semaphore(self._concurrency),
        )
        most = self._most or len(sent) or 1
        batches = request_batches(range(len(sent)), sent, most, self._most_bytes)
        await all_done(self._fill(work, batch) for batch in batches)
        return work.vectors, work.refused

    async def _fill(self, work: _Work, positions: Sequence[int]) -> None:
        """Write the vectors of the texts at ``positions``, or why the service refused one of them."""
        batch = [work.texts[position] for position in positions]
        try:
            async with work.turn:
                vectors = await self._sent(
                    lambda timeout_s: self._ask(batch, work.purpose, timeout_s), work.purpose, work.deadline
                )
        except RemoteModelError as error:
            if error.status not in _OF_THE_TEXT:
                raise
            await self._halved(work, positions, error)
            return
        self._refused_in_a_row = 0
        work.vectors[positions] = vectors

    async def _halved(self, work: _Work, positions: Sequence[int], error: RemoteModelError) -> None:
        """Send a refused batch again in halves. A single text is at fault, if the service takes others."""
        if len(positions) == 1:
            fault = await self._at_fault(work, positions[0], error)
            if fault is not None:
                work.refused[positions[0]] = fault
            return
        half = (len(positions) + 1) // 2
        for part in (positions[:half], positions[half:]):
            await self._fill(work, part)
        if not any(position in work.refused for position in positions):
            # No text was at fault, so there were too many: further batches are as small.
            size = sum(len(work.texts[position].encode()) for position in positions)
            self._most_bytes = max(min(self._most_bytes, size // 2), 1)
            self._most = max(min(self._most or half, half), 1)

    async def _at_fault(self, work: _Work, position: int, error: RemoteModelError) -> RemoteModelError | None:
        """Return why the service refuses a text, None if it did not refuse the text after all. Raises the
        error if it refuses the example too.
        """
        if error.status == _SERVER_ERROR:
            # It may have been in trouble for a while, whatever the text: then it takes it now.
            await self._sent(self._well, work.purpose, work.deadline)
            text = [work.texts[position]]
            try:
                work.vectors[position] = (
                    await self._sent(
                        lambda timeout_s: self._ask(text, work.purpose, timeout_s),
                        work.purpose,
                        work.deadline,
                    )
                )[0]
            except RemoteModelError as again:
                if again.status not in _OF_THE_TEXT:
                    raise
            else:
                return None
        elif self._refused_in_a_row % _CHECKED_EACH == 0:
            await self._sent(self._example, "query", work.deadline)
        self._refused_in_a_row += 1
        return error

    async def _example(self, timeout_s: float) -> Vectors:
        return await self._ask(VECTOR_EXAMPLE, "passage", timeout_s)

    async def _well(self, timeout_s: float) -> Vectors:
        """Return the vectors of the example. Raises TransientError while the service answers 500."""
        try:
            return await self._example(timeout_s)
        except RemoteModelError as error:
            if error.status == _SERVER_ERROR:
                raise TransientError(error) from error
            raise

    async def _sent(
        self, ask: Callable[[float], Awaitable[T]], purpose: Purpose, deadline: float | None
    ) -> T:
        """Return the result of ``ask``, which gets the seconds that one attempt has; see the class."""
        if passed(deadline):
            raise DeadlineError(
                "the deadline came before the texts were sent to be embedded; allow more time"
            )
        patient = purpose == "passage" and deadline is None
        allowed = self._patience_s if patient else self._timeout_s
        end = time.monotonic() + allowed if deadline is None else deadline
        attempts: dict[str, None] = {"attempts": None} if patient else {}
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await retried(lambda left: self._attempt(ask, left), end, **attempts)
        except (TimeoutError, EsRerankError) as error:
            if passed(deadline):
                raise DeadlineError(
                    f"the deadline came before {self._service} had embedded all texts; send fewer or allow "
                    "more time"
                ) from None
            if isinstance(error, TimeoutError):
                raise self._late(allowed) from None
            raise

    async def _attempt(self, ask: Callable[[float], Awaitable[T]], left: float) -> T:
        wait = self._free_at - time.monotonic()
        if (
            wait >= left
        ):  # it asked another request to wait so long: nothing is sent, and nobody waits in vain
            raise OverloadError(
                f"{self._service} asked to wait {wait:.0f} seconds more (429); try again then",
                retry_after_s=max(1, math.ceil(min(wait, LONGEST_S))),
            )
        if wait > 0:
            await asyncio.sleep(wait)
        # The last attempt gets all of the time that is left, so that the caller's timeout ends it.
        timeout_s = max(min(self._timeout_s, left - max(wait, 0)), 0.001)
        self._under_way += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(timeout_s)
        except TimeoutError:
            raise TransientError(self._late(timeout_s)) from None
        except TransientError as failure:
            if isinstance(failure.error, OverloadError):
                # All requests wait, not this one alone: others would only be refused as well.
                wait_s = _UNSTATED_WAIT_S if failure.wait_s is None else failure.wait_s
                self._free_at = max(self._free_at, time.monotonic() + wait_s)
                _LOG.info("%s asks to wait %.0f s", self._service, wait_s)
            raise
        finally:
            self._under_way -= 1

    def _late(self, seconds: float) -> EsRerankError:
        return RemoteModelError(
            f"{self._service} did not answer within {seconds:.3g} seconds; see whether it is overloaded",
            service=self._service,
        )


@dataclass(slots=True)
class _Work:
    """The texts of one call, and what is known of them so far."""

    texts: list[str]
    purpose: Purpose
    deadline: float | None
    vectors: Vectors
    refused: dict[int, RemoteModelError]
    turn: asyncio.Semaphore
