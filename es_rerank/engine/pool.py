"""Many single-threaded runs side by side: fair between calls, bounded, with deadlines and cancellation."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..errors import ModelError, OverloadError
from ..forks import in_every_child, unforked

T = TypeVar("T")
R = TypeVar("R")

MOST_WAITING = 50_000
"""Default bound of items that wait in one pool; at 100 pairs per second the last of them is eight minutes
away."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return how many cores this process may use: its affinity, and a container's quota where cgroups state
    one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup, or "max" instead of a number: no quota
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    return allowed


class _Job(Generic[T, R]):
    """Items that were asked for together. All but ``future`` belongs to the pool's lock."""

    def __init__(
        self, work: Callable[[T], R], items: Sequence[T], length: Callable[[T], int], deadline: float | None
    ) -> None:
        self.work = work
        self.items = items
        self.deadline = deadline
        # Longest first: the last runs to end are then short ones, and no core waits long for another.
        self.waiting = deque(sorted(range(len(items)), key=lambda position: -length(items[position])))
        self.running = 0
        self.results: list[R | None] = [None] * len(items)
        self.future: Future[list[R | None]] = Future()

    def settle(self) -> None:
        """Hand the results over when nothing is waiting or running any more."""
        if not self.waiting and not self.running:
            with suppress(InvalidStateError):  # cancelled, or failed before
                self.future.set_result(self.results)

    def fail(self, error: BaseException) -> None:
        """Drop what waits and hand the error over."""
        self.waiting.clear()
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def expire(self) -> None:
        """Drop what a late call has not started."""
        if self.late:
            self.waiting.clear()
            self.settle()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class Pool:
    """Runs work on single items, as many at once as there are threads.

    Two classes of calls take turns, one item each: of those with a deadline the earliest goes first (EDF: Liu
    and Layland 1973, https://doi.org/10.1145/321738.321743); those without take turns among themselves, so
    that a small call is not kept waiting by a large one, and neither class starves the other. What comes out
    of an item does not depend on what else is in the pool. ``threads`` 0 means one per core; more than
    ``most_waiting`` items do not wait, except those of a call that finds nothing else waiting. A forked child
    goes on with threads of its own; calls that were waiting are the parent's.
    """

    def __init__(self, threads: int = 0, *, most_waiting: int = MOST_WAITING) -> None:
        self.threads = threads or cores()
        """How many runs go on side by side."""
        self._most_waiting = most_waiting
        self._closed = False
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="es-rerank")
        # Re-entrant: settling a future under the lock may call back into _drop.
        self._lock = threading.RLock()
        self._rotation: deque[_Job[Any, Any]] = deque()
        self._timed_had_the_last = False

    def run(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        *,
        length: Callable[[T], int],
        deadline: float | None = None,
    ) -> list[R | None]:
        """Return one result per item, in the order given; None where the item had not been started by the
        deadline.

        ``deadline`` is a moment of ``time.monotonic()``. Raises OverloadError when too much is waiting,
        ModelError when the pool is closed, and what ``work`` raises; in every case the rest of the call is
        dropped.
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
        """Return the same as ``run`` without blocking the event loop; cancelling it drops what has not
        started.
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
        """How many items wait at this moment."""
        with self._lock:
            return sum(len(job.waiting) for job in self._rotation)

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
                    f"{waiting} items are waiting and {len(items)} more would pass the bound of "
                    f"{self._most_waiting}; try again later"
                )
            if job.late:
                job.waiting.clear()
            job.settle()
            if job.waiting:
                self._rotation.append(job)
            # One ticket per item: whichever call's turn it is then, a ticket runs one item of it.
            for _ in range(len(job.waiting)):
                self._executor.submit(self._run_next)
        job.future.add_done_callback(lambda _: self._drop(job))
        return job

    def _run_next(self) -> None:
        """Run the next item of the call whose turn it is; nothing, where a dropped call left its tickets
        behind.
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
        """Take the call out of the rotation whose turn it is."""
        for job in [job for job in self._rotation if job.late]:
            self._rotation.remove(job)
            job.expire()
        timed = min(
            (job for job in self._rotation if job.deadline is not None),
            key=lambda job: job.deadline or 0.0,
            default=None,
        )
        untimed = next((job for job in self._rotation if job.deadline is None), None)
        chosen = untimed if timed is None or (untimed is not None and self._timed_had_the_last) else timed
        if chosen is not None:
            self._rotation.remove(chosen)
            self._timed_had_the_last = chosen is timed
        return chosen

    def _expire(self, job: _Job[Any, Any]) -> None:
        """Drop what a late call has not started, also when no thread has come by to see that it is late."""
        with self._lock:
            job.expire()

    def _drop(self, job: _Job[Any, Any]) -> None:
        """Free the items of a call that has ended, by whatever way."""
        with self._lock:
            job.waiting.clear()
            with suppress(ValueError):  # no longer in the rotation
                self._rotation.remove(job)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
