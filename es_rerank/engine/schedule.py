"""Decides which calls are admitted, and which item runs next. It has no threads and no clock of its own.

Between callers: start-time fair queueing (Goyal, Vin and Cheng 1996, https://doi.org/10.1145/248156.248171)
by the seconds that their items took. Unlike deficit round robin (Shreedhar and Varghese 1996,
https://doi.org/10.1109/90.502236) it needs no quantum, and what an item really took corrects the estimate.
Among the calls of one caller: the earliest deadline first, but only calls that fit are admitted. Then all of
them end in time, and a call with little time can go before one with much. Earliest deadline first without
admission spends an overloaded machine on work that comes too late (Buttazzo, Lipari, Caccamo and Abeni 2002,
https://doi.org/10.1109/12.990127).

In names, ``work_s`` is seconds of work for one thread. All other names in ``_s`` are seconds of the clock:
all threads share the work.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from itertools import count
from math import inf

from ..caller import Caller
from ..errors import OverloadError
from .call import Before, Call, Stage, Taken
from .figures import PoolFigures
from .flow import Flow
from .margin import Margin
from .refusals import Bound, refusal
from .trials import Trials

_SUNK = 0.7
"""A call that has begun is given up only when this share of its remaining work does not fit any more: what it
has done would be lost, and the estimate may be wrong."""

_WORTH = 0.5
"""A call that may be done in part is admitted if at least this share of what would fit alone still fits."""

_LEAST_S = 1e-6
"""What an item costs its caller at least, so that callers take turns when no cost is known yet."""


class Schedule:
    """The calls of a pool of ``threads`` threads. Not safe in several threads at once.

    Calls without a deadline are refused when more than ``most_waiting_s`` seconds of work would wait.
    """

    def __init__(self, threads: int, most_waiting_s: float) -> None:
        self._threads, self._most_waiting_s = threads, most_waiting_s
        self.margin = Margin()
        self._flows: dict[str, Flow] = {}
        self._turns: list[tuple[float, int, Flow]] = []
        self._numbers = count(1)
        self._virtual = 0.0
        self._waiting_calls = self._running_items = self._waiting_items = self._held_calls = 0
        self._running_work_s = 0.0
        self._probe: Call | None = None
        self._refused = self._late = self._dropped = 0
        self._tokens, self._trials = 0.0, Trials()

    def figures(self) -> PoolFigures:
        """Return what the pool does now, and what it has done so far."""
        return PoolFigures(
            self._running_items,
            self._waiting_items,
            sum(flow.work_s() for flow in self._flows.values()) / self._threads,
            self._refused,
            self._late,
            self._dropped,
            round(self._tokens),
        )

    def open_calls(self) -> list[Call]:
        """Return the calls whose items wait."""
        return [call for flow in self._flows.values() for call in flow.open_calls()]

    def check(self, caller: Caller, deadline: float, now: float) -> None:
        """Raise OverloadError when what waits already keeps a call of a caller from beginning in time.

        A call that is late already is not refused: it will end late, whatever waits.
        """
        begins_s, time_left_s = self._begins_s(self._flows.get(caller.name), (deadline, inf)), deadline - now
        if self._waiting_calls and time_left_s > 0 and begins_s > time_left_s:
            self._refuse(Bound.LATE, begins_s, time_left_s)

    def submit(self, call: Call, now: float) -> None:
        """Admit a call, or raise OverloadError: its work would not end in time, or too much waits.

        A call that ``holds`` work holds it until ``release``, for the calls that are a part of it.
        """
        call.number, call.submitted, call.runs_before = next(self._numbers), now, self._trials.runs
        whole, holds, probe = call.part_of, call.holds is not None, self._probe
        if call.late(now) or not (call.waiting or holds):
            self._late += bool(call.waiting)
            call.waiting.clear()
            call.settle()
            return
        if probe is not None and (probe.ended or (probe is not whole and self._hopeless(probe, now))):
            self.end_late(probe)
            self._probe = None
        if whole is not None:
            if whole.probe and self._trials.is_shown(whole) and self._hopeless(whole, now):
                raise self._refusal_alone(whole, now)
            whole.begun = True
            whole.flow.lessen(whole, call.counted_s())
        flow = self._flows.get(call.caller.name)
        call.expected_s = self._ends_s(call, flow)
        if not (self._waiting_calls or self._running_items or self._held_calls - (whole is not None)):
            if self._trials.refuses(call, now):
                raise self._refusal_alone(call, now)
            call.probe, self._probe = True, call
        elif not call.continues:
            self._admit(call, flow, now)
        if flow is None:
            flow = self._flows[call.caller.name] = Flow(call.caller.name, self._virtual)
        call.flow, call.queued = flow, True
        flow.calls += 1
        flow.add(call)
        if holds:
            self._held_calls += 1
            return
        self._waiting_calls += 1
        self._waiting_items += len(call.waiting)
        self._give_turn(flow)

    def release(self, call: Call, now: float, *, complete: bool, left: bool) -> None:
        """End a call that holds work: it is done, or will not be done. ``left``: its caller left."""
        if call.ended:
            return
        self._dequeue(call)
        call.ended = True
        self._dropped += left
        self._late += call.missed
        if call.deadline is not None and not call.probe:
            if call.missed:
                self.margin.learn(missed=True)
            elif complete:
                self.margin.learn(call.expected_s, now - call.submitted)
        self._close(call)

    def take(self, now: float) -> Taken | None:
        """Return the item that is to run now, None when none waits."""
        while self._turns:
            served, _, flow = self._turns[0]
            call = flow.next()
            if call is None:
                heapq.heappop(self._turns)
                flow.in_turn = False
            elif flow.served > served:  # its items took longer than estimated
                heapq.heapreplace(self._turns, (flow.served, next(self._numbers), flow))
            elif call.late(now) or (self._hopeless(call, now) and not self._alone(call)):
                self.end_late(call)
            elif self._trials.is_shown(call) and self._hopeless(call, now):
                self._give_up(call, now)
            else:
                return self._start(flow, call, now)
        return None

    def done(self, taken: Taken, result: object, seconds: float, now: float) -> Before[object, object] | None:
        """Note the result of an item, which ran for so many seconds.

        Return what makes the next stage of its call if this one has ended and is not the last. Whoever gets
        it gives the next stage to ``continue_with``; until then the call counts as running.
        """
        call = taken.call
        call.work.rate.learn(taken.length, seconds)
        if call.work.counts:
            self._tokens += taken.length
            self._trials.runs += 1
        self._stop(taken, seconds)
        call.results[taken.place] = result
        if call.running or call.waiting or call.ended:
            return None
        if call.after is None:
            self._complete(call, now)
            return None
        call.running += 1
        self._running_items += 1
        return call.after

    def continue_with(self, call: Call, stage: Stage, now: float) -> None:
        """Begin the next stage of a call."""
        call.running -= 1
        self._running_items -= 1
        if not call.queued:  # it was ended meanwhile
            if not call.ended:
                self._complete(call, now)
            return
        flow: Flow = call.flow
        flow.backlog(call).add(call, -1)
        call.prepared = call.results if call.prepared is None else call.prepared
        call.set_stage(stage)
        flow.backlog(call).add(call)
        self._waiting_items += len(call.waiting)
        if call.waiting:
            self._give_turn(flow)
        else:
            self._dequeue(call)
            self._complete(call, now)

    def failed(self, taken: Taken | None, call: Call, error: BaseException) -> None:
        """End a call with the error of one of its items, or of making its next stage if there is none."""
        if taken is not None:
            self._stop(taken, taken.estimated_s)
        else:
            call.running -= 1
            self._running_items -= 1
        self._dequeue(call)
        if not call.ended:
            call.fail(error)
            self._close(call)

    def drop(self, call: Call) -> None:
        """Forget a call whose caller left."""
        self._dequeue(call)
        if not call.ended and call.flow is not None:
            call.ended = True
            self._dropped += call.part_of is None
            self._close(call)

    def end_late(self, call: Call) -> None:
        """Leave out the items of a call that have not begun: they cannot be done in time."""
        if not call.queued:
            return
        self._dequeue(call)
        call.missed = True
        if call.part_of is not None:  # work that was admitted as one is late once
            call.part_of.missed = True
        else:
            self._late += 1
            if not call.probe:
                self.margin.learn(missed=True)
        if not call.running:
            call.settle()
            self._close(call)

    def _start(self, flow: Flow, call: Call, now: float) -> Taken:
        assert call.waiting  # noqa: S101 only calls with waiting work are chosen
        time_left_s = None if call.deadline is None or call.whole else call.deadline - now
        last = time_left_s is not None and call.longest_s() > time_left_s
        place, length = call.take(last=last)
        call.begun = True
        estimated_s = length * call.work.rate.mean
        flow.backlog(call).change(call.work.rate, -length)
        flow.turn(call)
        self._virtual = max(self._virtual, flow.served)
        flow.served += max(estimated_s, _LEAST_S)
        self._waiting_items -= 1
        self._running_items += 1
        self._running_work_s += estimated_s
        if not call.waiting and call.after is None:
            self._dequeue(call)
        heapq.heapreplace(self._turns, (flow.served, next(self._numbers), flow))
        return Taken(call, place, length, estimated_s)

    def _stop(self, taken: Taken, seconds: float) -> None:
        call = taken.call
        call.running -= 1
        self._running_items -= 1
        self._running_work_s = (
            max(0.0, self._running_work_s - taken.estimated_s) if self._running_items else 0.0
        )
        call.flow.served += seconds - taken.estimated_s

    def _give_turn(self, flow: Flow) -> None:
        if not flow.in_turn:
            # A caller who did not ask for a while has no claim to the time that it did not use.
            flow.served = max(flow.served, self._virtual)
            flow.in_turn = True
            heapq.heappush(self._turns, (flow.served, next(self._numbers), flow))

    def _dequeue(self, call: Call) -> None:
        if call.queued:
            call.queued = False
            call.flow.remove(call)
            self._held_calls -= call.holds is not None
            self._waiting_calls -= call.holds is None
            self._waiting_items -= len(call.waiting)
        call.waiting.clear()
        call.units = call.later_s = 0.0
        call.after = None

    def _complete(self, call: Call, now: float) -> None:
        if call.deadline is not None and not (call.probe or call.missed or call.part_of):
            self.margin.learn(call.expected_s, now - call.submitted)
        call.settle()
        self._close(call)

    def _close(self, call: Call) -> None:
        flow: Flow = call.flow
        flow.calls -= 1
        if not flow.calls:
            self._flows.pop(flow.name, None)

    def _give_up(self, call: Call, now: float) -> None:
        """Fail a call that an idle pool has tried, because its own runs show that it is hopeless."""
        error = self._refusal_alone(call, now)
        self._dequeue(call)
        call.fail(error)
        self._close(call)

    def _refusal_alone(self, call: Call, now: float) -> OverloadError:
        self._refused += 1
        needed_s = max(call.work_s() / self._threads, call.longest_s())
        return refusal(Bound.ALONE, needed_s, (call.deadline or now) - now)

    def _alone(self, call: Call) -> bool:
        return call.probe and self._waiting_calls == 1

    def _hopeless(self, call: Call, now: float) -> bool:
        """Whether the rest of a call, or any part of it if parts are of use, would end after its deadline."""
        if call.deadline is None:
            return False
        time_left_s = call.deadline - now
        if call.whole:
            needed_s = max(call.work_s() / self._threads, call.longest_s())
            return needed_s * (_SUNK if call.begun else 1.0) > time_left_s
        return bool(call.waiting) and call.lengths[call.waiting[-1]] * call.work.rate.mean > time_left_s

    def _admit(self, call: Call, flow: Flow | None, now: float) -> None:
        most_s, own_work_s = call.caller.most_waiting_s, flow.work_s() if flow else 0.0
        own_s = (own_work_s + call.work_s()) / self._threads
        if most_s is not None and own_work_s and own_s > most_s:
            self._refuse(Bound.OVER_LIMIT, own_s, most_s, call.caller.limit)
        if call.deadline is None:
            all_work_s = sum(flow.work_s() for flow in self._flows.values())
            all_s = (all_work_s + call.work_s()) / self._threads
            if all_work_s and all_s > self._most_waiting_s:
                self._refuse(Bound.TOO_MUCH, all_s, self._most_waiting_s)
            return
        time_left_s = call.deadline - now
        begins_s = self._begins_s(flow, _place(call))
        ends_s = self.margin.factor * call.expected_s
        fits_s = 0.0 if call.whole else _WORTH * min(ends_s - begins_s, time_left_s)
        if ends_s > time_left_s and (call.whole or time_left_s - begins_s < fits_s):
            self._refuse(Bound.LATE, min(ends_s, time_left_s + begins_s), time_left_s)
        if flow is not None and not call.urgent:
            self._keep_promises(call, flow, now)

    def _keep_promises(self, call: Call, flow: Flow, now: float) -> None:
        """Raise OverloadError when the caller's later calls, which were admitted, would then be late.

        Half of the margin is left for estimates that are wrong.
        """
        assert call.deadline is not None  # noqa: S101 only calls with a deadline are here
        later = flow.timed[bisect_left(flow.timed, (call.deadline, call.number)) :]
        if not later:
            return
        factor = (1 + self.margin.factor) / 2
        own_work_s = flow.due.work_s() + call.work_s()
        for deadline, _, other in reversed(later):
            ends_s = factor * self._done_in_s(flow, own_work_s)
            if not other.probe and ends_s > deadline - now:
                self._refuse(Bound.OTHER_LATE, ends_s, deadline - now)
            own_work_s -= other.work_s()

    def _begins_s(self, flow: Flow | None, place: tuple[float, float] | None) -> float:
        """Return after how many seconds a call at this place begins at the latest, by the margin."""
        return self.margin.factor * self._done_in_s(flow, self._work_before_s(flow, place))

    def _work_before_s(self, flow: Flow | None, place: tuple[float, float] | None) -> float:
        """Return the seconds of a caller's own work that run before a call at this place."""
        if flow is None:
            return 0.0
        if place is None:
            return sum(call.work_s() for call in flow.urgent)
        work_s = flow.due.work_s()
        for entry in reversed(flow.timed):
            if entry[:2] < place:
                break
            work_s -= entry[2].work_s()
        return max(0.0, work_s)

    def _done_in_s(self, flow: Flow | None, own_work_s: float) -> float:
        """Return after how many seconds ``own_work_s`` seconds of a caller's work will be done.

        Half of what runs now is still to be done. The others get as much as the caller meanwhile, or all that
        they have waiting.
        """
        others = (other for other in self._flows.values() if other is not flow)
        others_work_s = sum(min(other.work_s(), own_work_s) for other in others)
        untimed_work_s = min(flow.untimed_work.work_s(), own_work_s) if flow else 0.0
        return (self._running_work_s / 2 + own_work_s + untimed_work_s + others_work_s) / self._threads

    def _ends_s(self, call: Call, flow: Flow | None) -> float:
        """Return after how many seconds a call would end that is submitted now."""
        work_before_s = self._work_before_s(flow, _place(call))
        return max(
            self._done_in_s(flow, work_before_s + call.work_s()),
            self._done_in_s(flow, work_before_s) + call.longest_s(),
        )

    def _refuse(self, bound: Bound, needed_s: float, most_s: float, limit: str = "") -> None:
        self._refused += 1
        raise refusal(bound, needed_s, most_s, limit)


def _place(call: Call) -> tuple[float, int] | None:
    return None if call.urgent or call.deadline is None else (call.deadline, call.number)
