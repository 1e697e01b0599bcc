"""A pool of threads that runs models on many items side by side, fair between callers, with deadlines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from ..caller import CALLER, CONTINUES, LATER_S, WHOLE, during
from ..errors import ModelError
from ..forks import in_every_child, unforked
from .call import Before, Call, Stage, Taken, Work
from .figures import PoolFigures
from .processor import cores
from .rate import Rate
from .schedule import Schedule

__all__ = ["Before", "Pool", "PoolFigures", "Rate", "Stage", "Work"]

T = TypeVar("T")
R = TypeVar("R")

MOST_WAITING_S = 480.0
"""Default for the most estimated seconds that a call without a deadline waits: eight minutes."""


class _Admitted(NamedTuple):
    """Work that a schedule has admitted as one."""

    schedule: Schedule
    call: Call


_ADMITTED: ContextVar[_Admitted | None] = ContextVar("es_rerank_admitted", default=None)
"""The work that this task or thread is a part of. Tasks and ``asyncio.to_thread`` inherit it."""


class Pool:
    """Runs functions on single items, as many at once as there are threads.

    A call with a deadline that would not end in time is refused at once. What is admitted is done in the
    order of deadlines, and fairly between callers (``es_rerank.caller.CALLER``): see ``schedule``. Calls
    without a deadline take turns, so that a small one does not wait for a large one. What cannot be in time
    any more is not begun. The costs of items are learned from those that ran (see ``Rate``); a pool that has
    nothing to do tries any call. The result of an item does not depend on the other items in the pool.

    ``threads`` 0 means one per core. ``most_waiting_s`` bounds the work that waits before a call without a
    deadline, in estimated seconds. ``native``: whether the items are native code, in which a process must not
    fork. ``clock`` returns seconds. A forked child continues with its own threads; the calls that were
    waiting stay with the parent.
    """

    def __init__(
        self,
        threads: int = 0,
        *,
        most_waiting_s: float = MOST_WAITING_S,
        native: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads or cores()
        """How many items run at the same time."""
        self._most_waiting_s, self._clock = most_waiting_s, clock
        self._around: Callable[[], AbstractContextManager[None]] = unforked if native else nullcontext
        self._closed = False
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="es-rerank")
        # Re-entrant: settling a future under the lock may call back into _drop.
        self._lock = threading.RLock()
        self._schedule = Schedule(self.threads, self._most_waiting_s)
        self._busy = 0

    def run(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        *,
        length: Callable[[T], float],
        rate: Rate | None = None,
        deadline: float | None = None,
    ) -> list[R | None]:
        """Return one result per item, in the order of ``items``; None for an item that had not started by the
        deadline.

        ``length`` returns the length of an item; longer items start first. ``rate`` holds the seconds that a
        unit of length takes, None if nothing is known of it. ``deadline`` is a moment of
        ``time.monotonic()``, in seconds. Raises OverloadError when the call would not end in time or too much
        waits, ModelError when the pool is closed, and what ``work`` raises. After an error the rest of the
        call is dropped.
        """
        return self.run_call(Work(work, items, length, rate or Rate()), deadline=deadline)[1]

    async def arun(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        *,
        length: Callable[[T], float],
        rate: Rate | None = None,
        deadline: float | None = None,
    ) -> list[R | None]:
        """Return the same as ``run`` without blocking the event loop; cancelling drops the items that have
        not started.
        """
        return (await self.arun_call(Work(work, items, length, rate or Rate()), deadline=deadline))[1]

    def run_call(
        self, work: Stage, *, deadline: float | None = None, urgent: bool = False
    ) -> tuple[list[Any], list[Any]]:
        """Return the results of the first stage, empty if there is one alone, and those of the last, as
        ``run`` does.

        If the deadline passes before the last stage begins, it has no results.
        ``urgent`` is for a small call that others wait for. It goes before the other calls of its caller.
        """
        call = self._submit(work, deadline, urgent=urgent)
        try:
            wait([call.future], timeout=self._left_s(deadline))
            self._expire(call)
            return call.future.result().outcome()
        finally:
            call.future.cancel()  # an interrupt ended the wait; no effect when the call has ended

    async def arun_call(
        self, work: Stage, *, deadline: float | None = None, urgent: bool = False
    ) -> tuple[list[Any], list[Any]]:
        """Return the same as ``run_call`` without blocking the event loop; cancelling drops what has not
        started.
        """
        call = self._submit(work, deadline, urgent=urgent)
        outcome = asyncio.wrap_future(call.future)
        try:
            await asyncio.wait([outcome], timeout=self._left_s(deadline))
            self._expire(call)
            return (await outcome).outcome()
        finally:
            call.future.cancel()

    @contextmanager
    def admitted(self, length: float, rate: Rate, deadline: float | None) -> Iterator[None]:
        """Admit what the block asks of this pool as one, by its estimated length and the seconds of a unit.

        So no part of it is refused, or is in the way of another part. Raises OverloadError, before anything
        is done, when all of it would not end by the deadline. A block within such a block is a part of it.
        """
        if self.is_admitted():
            yield
            return
        work: Work[float, bool] = Work(bool, [], float, rate)
        call = Call(work, CALLER.get(), deadline, whole=WHOLE.get(), holds=length)
        with self._lock:
            schedule = self._schedule
            schedule.submit(call, self._clock())
        complete = left = False
        try:
            with during(_ADMITTED, _Admitted(schedule, call)):
                yield
            complete = True
        except asyncio.CancelledError:
            left = True
            raise
        finally:
            with self._lock:
                schedule.release(call, self._clock(), complete=complete, left=left)

    def is_admitted(self) -> bool:
        """Return whether what is asked for now is a part of work that was admitted as one."""
        return self._part_of() is not None

    def _part_of(self) -> Call | None:
        admitted = _ADMITTED.get()
        mine = admitted is not None and admitted.schedule is self._schedule and not admitted.call.ended
        return admitted.call if admitted is not None and mine else None

    def check(self, deadline: float | None) -> None:
        """Raise OverloadError if what waits keeps a call of the present caller from beginning in time."""
        if deadline is not None and not self.is_admitted():
            with self._lock:
                self._schedule.check(CALLER.get(), deadline, self._clock())

    def learn(self, rate: Rate, length: float, amount: float) -> None:
        """Let a rate learn, one thread at a time."""
        with self._lock:
            rate.learn(length, amount)

    def close(self) -> None:
        """Let running items end, fail the calls whose items still wait, and end the threads."""
        with self._lock:
            self._closed = True
            for call in self._schedule.open_calls():
                call.fail(
                    ModelError(
                        "the model was closed while passages were waiting; keep it open until its last call "
                        "has returned"
                    )
                )
                self._schedule.drop(call)
        self._executor.shutdown()

    @property
    def waiting(self) -> int:
        """How many items are waiting now."""
        return self.figures().waiting

    def figures(self) -> PoolFigures:
        """Return what the pool does now, and what it has done so far."""
        with self._lock:
            return self._schedule.figures()

    def _submit(self, work: Stage, deadline: float | None, *, urgent: bool) -> Call:
        part_of = self._part_of()
        call = Call(
            work,
            CALLER.get(),
            deadline,
            whole=WHOLE.get(),
            urgent=urgent,
            continues=CONTINUES.get(),
            later_s=0.0 if part_of else LATER_S.get(),
            part_of=part_of,
        )
        with self._lock:
            if self._closed:
                raise ModelError("the model is closed; load it again")
            self._schedule.submit(call, self._clock())
            self._wake(len(call.waiting))
        call.future.add_done_callback(lambda _: self._drop(call))
        return call

    def _wake(self, items: int) -> None:
        """Let as many threads as can be of use look for items."""
        for _ in range(min(items, self.threads - self._busy)):
            self._busy += 1
            self._executor.submit(self._serve)

    def _serve(self) -> None:
        """Run items until none waits."""
        taken = self._next()
        while taken is not None:
            taken = self._run(taken)

    def _next(self) -> Taken | None:
        with self._lock:
            taken = self._schedule.take(self._clock())
            if taken is None:
                self._busy -= 1
            return taken

    def _run(self, taken: Taken) -> Taken | None:
        """Run an item and return the next one, None when no item waits."""
        call, began = taken.call, self._clock()
        try:
            with self._around():
                result = call.work.run(call.work.items[taken.place])
        except BaseException as error:  # noqa: BLE001 handed to the caller, whatever it is
            with self._lock:
                self._schedule.failed(taken, call, error)
                return self._next()
        with self._lock:
            now = self._clock()
            before = self._schedule.done(taken, result, now - began, now)
            if before is None:
                return self._next()
        self._continue(call, before)
        return self._next()

    def _continue(self, call: Call, before: Before[Any, Any]) -> None:
        """Make the next stage of a call."""
        try:
            work = before.then(call.results)
        except BaseException as error:  # noqa: BLE001 handed to the caller, whatever it is
            with self._lock:
                self._schedule.failed(None, call, error)
            return
        with self._lock:
            self._schedule.continue_with(call, work, self._clock())
            self._wake(len(call.waiting) - 1)  # this thread takes one of them

    def _left_s(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - self._clock())

    def _expire(self, call: Call) -> None:
        """Drop the items of a late call that have not started, even when no thread was free to see that it is
        late.
        """
        if not call.future.done():
            with self._lock:
                self._schedule.end_late(call)

    def _drop(self, call: Call) -> None:
        """Drop the items of a call that has ended for any reason."""
        with self._lock:
            self._schedule.drop(call)
