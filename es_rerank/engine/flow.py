"""The calls of one caller that wait, and how much work they are."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from .call import Call
from .rate import Rate

_SECONDS = Rate(1.0)
"""The rate of work that is known in seconds."""

_NOTHING = 1e-9
"""Less than any length: what rounding leaves."""


class Backlog:
    """The length of work that waits, by its rate, so that each rate that is learned counts at once."""

    def __init__(self) -> None:
        self._units: dict[Rate, float] = {}

    def add(self, call: Call, sign: int = 1) -> None:
        """Add what is left of a call, or remove it."""
        self.change(call.work.rate, sign * call.units)
        self.change(_SECONDS, sign * call.later_s)
        if call.after is not None:
            self.change(call.after.rate, sign * call.after.expected)

    def change(self, rate: Rate, units: float) -> None:
        """Add units of work that take ``rate`` each, or remove them."""
        left = self._units.get(rate, 0.0) + units
        if left > _NOTHING:
            self._units[rate] = left
        else:  # rates of single calls would otherwise pile up
            self._units.pop(rate, None)

    def work_s(self) -> float:
        """Return the estimated seconds, for one thread."""
        return max(0.0, sum(rate.mean * units for rate, units in self._units.items()))


class Flow:
    """The calls of one caller. ``served`` is the caller's virtual time, in seconds."""

    def __init__(self, name: str, served: float) -> None:
        self.name, self.served = name, served
        self.urgent: deque[Call] = deque()
        self.timed: list[tuple[float, int, Call]] = []
        self.untimed: deque[Call] = deque()
        self.calls = 0
        """Calls that have not ended."""
        self.in_turn = False
        """Whether the flow is in the heap of flows."""
        self.due, self.untimed_work = Backlog(), Backlog()
        """What waits: urgent calls and those with a deadline, and all others."""
        self._last_was_timed = False

    def backlog(self, call: Call) -> Backlog:
        """Return the backlog that a call is a part of."""
        return self.untimed_work if call.deadline is None and not call.urgent else self.due

    def work_s(self) -> float:
        """Return the estimated seconds of all calls, for one thread."""
        return self.due.work_s() + self.untimed_work.work_s()

    def open_calls(self) -> list[Call]:
        """Return the calls that wait."""
        return [*self.urgent, *(call for _, _, call in self.timed), *self.untimed]

    def add(self, call: Call) -> None:
        """Let a call wait."""
        self.backlog(call).add(call)
        if call.urgent:
            self.urgent.append(call)
        elif call.deadline is None:
            self.untimed.append(call)
        else:
            insort(self.timed, (call.deadline, call.number, call))

    def remove(self, call: Call) -> None:
        """Let a call wait no more."""
        self.backlog(call).add(call, -1)
        if call.urgent:
            self.urgent.remove(call)
        elif call.deadline is None:
            self.untimed.remove(call)
        else:
            del self.timed[bisect_left(self.timed, (call.deadline, call.number))]
        if not (self.urgent or self.timed or self.untimed):  # what was rounded is forgotten
            self.due, self.untimed_work = Backlog(), Backlog()

    def lessen(self, call: Call, seconds: float) -> None:
        """Let a call hold so many seconds less of work, and at least none."""
        rate = call.work.rate
        units = min(call.units, seconds / rate.mean) if rate.mean > 0 else call.units
        self.backlog(call).change(rate, -units)
        call.units -= units

    def next(self) -> Call | None:
        """Return the call whose turn it is: an urgent one, else one with and one without a deadline in turn.

        Calls between two stages have no item to start. Each of them has one that runs, so they are few.
        """
        urgent = next((call for call in self.urgent if call.waiting), None)
        if urgent is not None:
            return urgent
        timed = next((call for _, _, call in self.timed if call.waiting), None)
        untimed = next((call for call in self.untimed if call.waiting), None)
        return untimed if timed is None or (untimed is not None and self._last_was_timed) else timed

    def turn(self, call: Call) -> None:
        """Note that an item of a call has begun. Calls without a deadline take turns."""
        if not call.urgent:
            self._last_was_timed = call.deadline is not None
            if call.deadline is None and call.queued:
                self.untimed.remove(call)
                self.untimed.append(call)
