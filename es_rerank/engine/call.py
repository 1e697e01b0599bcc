"""The work of one call of a pool: its items, in one stage or several, and what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ..caller import Caller
from .rate import Rate

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Work(Generic[T, R]):
    """A function for single items. ``length`` is the length of an item in any unit, such as tokens.

    ``rate`` holds the seconds that a unit takes. ``counts``: whether the units are tokens of a model.
    """

    run: Callable[[T], R]
    items: Sequence[T]
    length: Callable[[T], float]
    rate: Rate = field(default_factory=Rate)
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Before(Generic[T, R]):
    """Work that must end before the items of a call are known: texts are tokenised before a model reads them.

    ``then`` makes the work of the call from the results. Until then, ``expected`` is its estimated length and
    ``rate`` holds the seconds that a unit takes. ``then`` may return a further stage that must end first; its
    results are not among those of the call.
    """

    work: Work[T, R]
    then: Callable[[list[R]], Stage]
    expected: float
    rate: Rate


Stage = Work[Any, Any] | Before[Any, Any]
"""What a call does next."""


class Call:
    """The work of one call. All but ``future`` is for the thread that holds the pool's lock.

    ``deadline`` and ``submitted`` are moments of the pool's clock. ``whole``: the results are of use only if
    all are there. ``urgent``: a small call that goes before the caller's others. ``continues``: the call is a
    part of work that was admitted before. ``later_s``: the estimated seconds of work that will follow it.
    ``expected_s``: the estimated seconds from ``submitted`` to its end, without the margin.
    ``probe``: an idle pool began it without asking whether it would be in time.
    ``between``: whether the present stage is not the last one.
    ``holds``: the length of work that other calls will do; it has no items. ``part_of`` is such a call with
    which this one was admitted. ``sure``: whether the estimate comes from what has run. ``runs_before``: the
    runs of models that the pool had done when it was submitted.
    """

    __slots__ = (
        "after",
        "begun",
        "between",
        "caller",
        "continues",
        "deadline",
        "ended",
        "expected_s",
        "flow",
        "future",
        "holds",
        "later_s",
        "lengths",
        "missed",
        "number",
        "part_of",
        "prepared",
        "probe",
        "queued",
        "results",
        "running",
        "runs_before",
        "staged",
        "submitted",
        "units",
        "urgent",
        "waiting",
        "whole",
        "work",
    )

    def __init__(
        self,
        work: Stage,
        caller: Caller,
        deadline: float | None,
        *,
        whole: bool = False,
        urgent: bool = False,
        continues: bool = False,
        later_s: float = 0.0,
        holds: float | None = None,
        part_of: Call | None = None,
    ) -> None:
        self.caller, self.deadline = caller, deadline
        self.whole, self.urgent, self.continues = whole, urgent, continues or part_of is not None
        self.later_s = later_s
        self.holds, self.part_of = holds, part_of
        self.prepared: list[Any] | None = None
        self.number = self.runs_before = 0
        self.submitted = self.expected_s = 0.0
        self.running = 0
        self.begun = self.ended = self.probe = self.queued = self.missed = False
        self.flow: Any = None  # the schedule's own
        self.future: Future[Call] = Future()
        self.set_stage(work)
        self.staged = self.between
        if holds is not None:
            self.units = holds

    def set_stage(self, stage: Stage) -> None:
        """Begin a stage. Its items wait, the longest first."""
        self.after = stage if isinstance(stage, Before) else None
        self.between = self.after is not None
        self.work = work = stage.work if isinstance(stage, Before) else stage
        self.lengths = [work.length(item) for item in work.items]
        self.units = float(sum(self.lengths))
        # Longest first: the last items to end are then short, and no core waits long for another.
        self.waiting = deque(sorted(range(len(work.items)), key=lambda place: -self.lengths[place]))
        self.results: list[Any] = [None] * len(work.items)

    def take(self, *, last: bool = False) -> tuple[int, float]:
        """Remove the first or the last of the items that wait, and return its place and its length."""
        place = self.waiting.pop() if last else self.waiting.popleft()
        self.units -= self.lengths[place]
        self.running += 1
        return place, self.lengths[place]

    def work_s(self) -> float:
        """The estimated seconds of the items that wait and of what follows them, for one thread."""
        seconds = self.units * self.work.rate.mean + self.later_s
        return seconds if self.after is None else seconds + self.after.expected * self.after.rate.mean

    def counted_s(self) -> float:
        """The estimated seconds of the runs of a model, which were counted when work was admitted as one."""
        if self.after is not None:
            return self.after.expected * self.after.rate.mean
        return self.units * self.work.rate.mean if self.work.counts else 0.0

    @property
    def sure(self) -> bool:
        """Whether enough has run to know what the call will take."""
        return (self.work.rate if self.after is None else self.after.rate).known

    def longest_s(self) -> float:
        """The estimated seconds of the longest item that waits."""
        return self.lengths[self.waiting[0]] * self.work.rate.mean if self.waiting else 0.0

    def outcome(self) -> tuple[list[Any], list[Any]]:
        """Return the results of the first stage, and those of the last one. A call with one stage has no
        first, a call that ended before its last stage has no last.
        """
        if self.staged and self.prepared is None:
            return self.results, []
        return self.prepared or [], [] if self.between else self.results

    def late(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def settle(self) -> None:
        """End the call with the results that there are."""
        self.ended = True
        with suppress(InvalidStateError):  # the future was cancelled or has failed
            self.future.set_result(self)

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""
        self.ended = True
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Taken(NamedTuple):
    """An item that runs: its call, its place among the call's items, its length and estimated seconds."""

    call: Call
    place: int
    length: float
    estimated_s: float
