"""A pool of threads that runs a model on many items side by side, fair between calls, with deadlines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import ModelError, OverloadError
from ..forks import in_every_child, unforked
from .processor import cores

T = TypeVar("T")
R = TypeVar("R")

MOST_WAITING = 50_000
"""Default for the most items that wait in one pool; at 100 pairs per second, eight minutes of waiting."""


class PoolFigures(NamedTuple):
    """What a pool does now, and what it has done so far.

    ``running`` and ``waiting``: items now. ``waiting_s``: the estimated seconds of work in the items that
    wait, for all threads together. So far: ``refused`` calls, which would have been late; ``late`` calls,
    which were not complete by their deadline; ``dropped`` calls, whose caller left before the end;
    ``tokens`` that were run.
    """

    running: int = 0
    waiting: int = 0
    waiting_s: float = 0.0
    refused: int = 0
    late: int = 0
    dropped: int = 0
    tokens: int = 0


class _Job(Generic[T, R]):
    """The items of one call. All fields but ``future`` are for the thread that holds the pool's lock."""

    def __init__(
        self, work: Callable[[T], R], items: Sequence[T], length: Callable[[T], int], deadline: float | None
    ) -> None:
        self.work = work
        self.items = items
        self.deadline = deadline
        # Longest first: the last items to end are then short, and no core waits long for another.
        self.waiting = deque(sorted(range(len(items)), key=lambda position: -length(items[position])))
        self.running = 0
        self.results: list[R | None] = [None] * len(items)
        self.future: Future[list[R | None]] = Future()

    def settle(self) -> None:
        """Set the result of the future when no item waits or runs any more."""
        if not self.waiting and not self.running:
            with suppress(InvalidStateError):  # the future was cancelled or has failed
                self.future.set_result(self.results)

    def fail(self, error: BaseException) -> None:
        """Drop the items that wait, and set the exception of the future."""
        self.waiting.clear()
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def expire(self) -> None:
        """If the deadline has passed, drop the items that have not started."""
        if self.late:
            self.waiting.clear()
            self.settle()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class Pool:
    """Runs a function on single items, as many at once as there are threads.

    Calls with a deadline and calls without one take turns, one item each. Among the calls with a deadline the
    earliest deadline goes first (EDF: Liu and Layland 1973, https://doi.org/10.1145/321738.321743). The calls
    without one take turns among themselves, so that a small call does not wait for a large one. So neither
    kind starves the other. The result of an item does not depend on the other items in the pool.

    ``threads`` 0 means one per core. At most ``most_waiting`` items wait, except when a call finds nothing
    else waiting. A forked child continues with its own threads; the calls that were waiting stay with the
    parent.
    """

    def __init__(self, threads: int = 0, *, most_waiting: int = MOST_WAITING) -> None:
        self.threads = threads or cores()
        """How many items run at the same time."""
        self._most_waiting = most_waiting
        self._closed = False
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="es-rerank")
        # Re-entrant: settling a future under the lock may call back into _drop.
        self._lock = threading.RLock()
        self._rotation: deque[_Job[Any, Any]] = deque()
        self._last_was_timed = False

    def run(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        *,
        length: Callable[[T], int],
        deadline: float | None = None,
    ) -> list[R | None]:
        """Return one result per item, in the order of ``items``; None for an item that had not started by the
        deadline.

        ``length`` returns the length of an item; longer items start first. ``deadline`` is a moment of
        ``time.monotonic()``, in seconds. Raises OverloadError when too many items are waiting, ModelError
        when the pool is closed, and what ``work`` raises. After an error the rest of the call is dropped.
        """
        job = self._submit(work, items, length, deadline)
        try:
            wait([job.future], timeout=_left(deadline))
            self._expire(job)
            return job.future.result()
        finally:
            job.future.cancel()  # an interrupt ended the wait; no effect when the job is done

    async def arun(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        *,
        length: Callable[[T], int],
        deadline: float | None = None,
    ) -> list[R | None]:
        """Return the same as ``run`` without blocking the event loop; cancelling drops the items that have
        not started.
        """
        job = self._submit(work, items, length, deadline)
        outcome = asyncio.wrap_future(job.future)
        try:
            await asyncio.wait([outcome], timeout=_left(deadline))
            self._expire(job)
            return await outcome
        finally:
            job.future.cancel()

    def close(self) -> None:
        """Let running items end, fail the calls whose items still wait, and end the threads."""
        with self._lock:
            self._closed = True
            for job in self._rotation:
                job.fail(
                    ModelError(
                        "the model was closed while passages were waiting; keep it open until its last call "
                        "has returned"
                    )
                )
            self._rotation.clear()
        self._executor.shutdown()

    @property
    def waiting(self) -> int:
        """How many items are waiting now."""
        with self._lock:
            return sum(len(job.waiting) for job in self._rotation)

    def figures(self) -> PoolFigures:
        """Return what the pool does now, and what it has done so far."""
        return PoolFigures(waiting=self.waiting)

    def _submit(
        self, work: Callable[[T], R], items: Sequence[T], length: Callable[[T], int], deadline: float | None
    ) -> _Job[T, R]:
        job = _Job(work, items, length, deadline)
        with self._lock:
            if self._closed:
                raise ModelError("the model is closed; load it again")
            waiting = self.waiting
            if waiting and waiting + len(items) > self._most_waiting:
                raise OverloadError(
                    f"{waiting} items are waiting and {len(items)} more would exceed the limit of "
                    f"{self._most_waiting}; try again later"
                )
            if job.late:
                job.waiting.clear()
            job.settle()
            if job.waiting:
                self._rotation.append(job)
            # One ticket per item. A ticket runs one item of the call whose turn it is at that moment.
            for _ in range(len(job.waiting)):
                self._executor.submit(self._run_next)
        job.future.add_done_callback(lambda _: self._drop(job))
        return job

    def _run_next(self) -> None:
        """Run the next item of the call whose turn it is. Do nothing when the items of this ticket were
        dropped.
        """
        with self._lock:
            job = self._next_job()
            if job is None:
                return
            position = job.waiting.popleft()
            job.running += 1
            if job.waiting:
                self._rotation.append(job)
        try:
            with unforked():
                result = job.work(job.items[position])
        except BaseException as error:  # noqa: BLE001 handed to the caller, whatever it is
            with self._lock:
                job.running -= 1
                job.fail(error)
            return
        with self._lock:
            job.running -= 1
            job.results[position] = result
            job.settle()

    def _next_job(self) -> _Job[Any, Any] | None:
        """Remove the call whose turn it is from the rotation, and return it."""
        for job in [job for job in self._rotation if job.late]:
            self._rotation.remove(job)
            job.expire()
        timed = min(
            (job for job in self._rotation if job.deadline is not None),
            key=lambda job: job.deadline or 0.0,
            default=None,
        )
        untimed = next((job for job in self._rotation if job.deadline is None), None)
        chosen = untimed if timed is None or (untimed is not None and self._last_was_timed) else timed
        if chosen is not None:
            self._rotation.remove(chosen)
            self._last_was_timed = chosen is timed
        return chosen

    def _expire(self, job: _Job[Any, Any]) -> None:
        """Drop the items of a late call that have not started, even when no thread was free to see that it is
        late.
        """
        with self._lock:
            job.expire()

    def _drop(self, job: _Job[Any, Any]) -> None:
        """Drop the items of a call that has ended for any reason."""
        with self._lock:
            job.waiting.clear()
            with suppress(ValueError):  # no longer in the rotation
                self._rotation.remove(job)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
