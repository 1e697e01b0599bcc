"""What a pool admits and in which order it runs it: a simulation with a clock that costs no time.

Calls arrive in an open loop: the next one comes whether or not the one before was answered.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest

from es_rerank.caller import Caller
from es_rerank.engine.call import Before, Call, Taken, Work
from es_rerank.engine.rate import Rate
from es_rerank.engine.schedule import Schedule
from es_rerank.errors import OverloadError

A, B = Caller("a"), Caller("b")


@dataclass(frozen=True)
class Request:
    """A call of ``items`` items of ``length`` units, arriving at ``at``, with ``timeout`` seconds."""

    at: float
    caller: Caller = A
    items: int = 10
    length: float = 1.0
    timeout: float = 8.0
    whole: bool = True
    urgent: bool = False


class Simulation:
    """What became of requests, by name of the caller, on a machine with a number of threads.

    ``second`` returns what a unit of a request really takes.
    """

    def __init__(self, threads: int, second: Callable[[Request], float], rate: Rate) -> None:
        self.in_time, self.refused, self.late = Counter[str](), Counter[str](), Counter[str]()
        self.useful_s = 0.0
        self.retry_after_s: list[int] = []
        self.ended: list[tuple[float, Request]] = []
        self._schedule, self._free = Schedule(threads, 480.0), threads
        self._second, self._rate, self._now = second, rate, 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._requests: dict[Call, Request] = {}

    def run(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._at(request.at, partial(self._arrives, request))
        while self._events:
            self._now, _, happens = heapq.heappop(self._events)
            happens()
            while self._free and (taken := self._schedule.take(self._now)) is not None:
                self._free -= 1
                took = taken.length * self._second(self._requests[taken.call])
                self._at(self._now + took, partial(self._has_run, taken, took))

    def _at(self, moment: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), happens))

    def _arrives(self, request: Request) -> None:
        deadline = self._now + request.timeout
        work = Work(bool, [request.length] * request.items, float, self._rate)
        call = Call(work, request.caller, deadline, whole=request.whole, urgent=request.urgent)
        self._requests[call] = request
        try:
            self._schedule.submit(call, self._now)
        except OverloadError as error:
            self.refused[request.caller.name] += 1
            if error.retry_after_s is not None:
                self.retry_after_s.append(error.retry_after_s)
            return
        call.future.add_done_callback(lambda _: self._ends(call))
        self._at(deadline, lambda: None if call.ended else self._schedule.end_late(call))

    def _has_run(self, taken: Taken, took: float) -> None:
        self._free += 1
        self._schedule.done(taken, True, took, self._now)

    def _ends(self, call: Call) -> None:
        request = self._requests[call]
        assert call.deadline is not None
        complete = all(call.results) and self._now <= call.deadline
        (self.in_time if complete else self.late)[request.caller.name] += 1
        self.ended.append((self._now, request))
        if complete:
            self.useful_s += request.items * request.length * self._second(request)


def simulate(
    requests: Iterable[Request],
    *,
    threads: int = 2,
    second: Callable[[Request], float] = lambda _: 0.1,
    rate: Rate | None = None,
) -> Simulation:
    simulation = Simulation(threads, second, rate or Rate(0.1))
    simulation.run(requests)
    return simulation


CAPACITY = 2.0
"""Requests of ten items of 0.1 s that two threads answer in a second."""


def open_loop(
    times: float, *, seconds: float = 120.0, caller: Caller = A, **settings: object
) -> Iterator[Request]:
    """Yield requests at ``times`` the capacity, at random moments (Poisson)."""
    draw, now = random.Random(0), 0.0
    while now < seconds:
        now += draw.expovariate(times * CAPACITY)
        yield Request(now, caller, **settings)  # type: ignore[arg-type] # settings of a request


@pytest.mark.parametrize("times", [1.2, 2, 3])
def test_an_overloaded_pool_does_useful_work_only(times: float) -> None:
    outcome = simulate(open_loop(times))
    assert outcome.in_time["a"] >= 0.9 * 120 * CAPACITY
    assert outcome.late["a"] == 0, "what is admitted ends in time"
    assert outcome.refused["a"] > 0
    assert min(outcome.retry_after_s) >= 1


@pytest.mark.parametrize("times", [1.2, 2, 3])
@pytest.mark.parametrize(("spread", "useful", "late"), [(0.3, 0.9, 0.01), (0.8, 0.85, 0.05)])
def test_wrong_estimates_cost_little(times: float, spread: float, useful: float, late: float) -> None:
    """The cost of a call differs from the estimate, log-normal, and the machine slows down by half midway."""
    outcomes = [_noisy(times, spread, seed) for seed in range(1, 5)]
    assert min(outcome.useful_s for outcome in outcomes) >= useful * 120 * 2
    too_late = sum(outcome.late["a"] for outcome in outcomes)
    admitted = too_late + sum(outcome.in_time["a"] for outcome in outcomes)
    assert too_late <= late * admitted


def _noisy(times: float, spread: float, seed: int) -> Simulation:
    draw = random.Random(seed)
    costs: dict[Request, float] = {}

    def second(request: Request) -> float:
        slower = 1.5 if request.at > 60 else 1.0
        return costs.setdefault(request, 0.1 * slower * draw.lognormvariate(-(spread**2) / 2, spread))

    return simulate(open_loop(times), second=second)


def test_a_cold_start_and_a_far_too_high_estimate_are_corrected() -> None:
    for rate in (Rate(), Rate(100.0)):
        outcome = simulate(open_loop(2), rate=rate)
        assert outcome.useful_s >= 0.85 * 120 * 2


def test_calls_with_long_deadlines_do_not_keep_another_caller_out() -> None:
    long = [Request(0.001 * i, A, items=100, timeout=86_400.0) for i in range(50)]
    small = [Request(1 + i, B, items=10, timeout=8.0) for i in range(60)]
    outcome = simulate(sorted([*long, *small], key=lambda request: request.at))
    assert outcome.in_time == {"a": 50, "b": 60}


def test_nor_calls_of_the_same_caller_that_have_less_time() -> None:
    long = [Request(0.001 * i, A, items=100, timeout=86_400.0) for i in range(50)]
    small = [Request(1 + i, A, items=10, timeout=8.0) for i in range(60)]
    outcome = simulate(sorted([*long, *small], key=lambda request: request.at))
    assert outcome.in_time == {"a": 110}


def test_a_small_call_is_admitted_beside_a_caller_who_filled_the_queue() -> None:
    flood = list(open_loop(10, seconds=30))
    small = [Request(10.0 + i, B, items=1) for i in range(10)]
    outcome = simulate(sorted([*flood, *small], key=lambda request: request.at))
    assert outcome.refused["a"] > 100
    assert outcome.in_time["b"] == 10


def test_two_callers_who_want_too_much_get_the_same() -> None:
    both = [*open_loop(1.5, caller=A), *open_loop(4, caller=B, items=5)]
    outcome = simulate(sorted(both, key=lambda request: request.at))
    served_a, served_b = outcome.in_time["a"] * 10, outcome.in_time["b"] * 5
    assert served_a == pytest.approx(served_b, rel=0.1)
    assert served_a + served_b >= 0.9 * 120 * CAPACITY * 10


def test_a_caller_with_many_names_is_many_callers_and_one_with_a_limit_keeps_to_it() -> None:
    bounded = Caller("bounded", most_waiting_s=1.0)
    outcome = simulate([Request(0.0, bounded, items=10, timeout=60.0) for _ in range(10)])
    # Each takes 0.5 s of both threads. The first one begins at once; half of a second and a whole one wait.
    assert outcome.in_time["bounded"] == 2
    assert outcome.refused["bounded"] == 8


def test_what_may_be_done_in_part_is_done_in_part() -> None:
    whole = Request(0.0, A, items=100, timeout=2.0)
    assert simulate([whole, Request(0.1, A)]).late == {"a": 1}, "an idle pool tries it, and gives it up"
    parts = Request(0.0, A, items=100, timeout=2.0, whole=False)
    schedule, calls = Schedule(1, 480.0), []
    for request in (parts, whole):
        call = Call(Work(bool, [1.0] * 100, float, Rate(0.1)), A, 2.0, whole=request.whole)
        calls.append(call)
    schedule.submit(calls[0], 0.0)
    now, done = 0.0, 0
    while (taken := schedule.take(now)) is not None:
        now += 0.1
        schedule.done(taken, True, 0.1, now)
        done += 1
    assert 19 <= done <= 20


def test_a_refusal_says_when_the_call_would_fit() -> None:
    schedule, rate = Schedule(1, 480.0), Rate(1.0)
    for items in (1, 5):
        schedule.submit(Call(Work(bool, [1.0] * items, float, rate), A, 10.0, whole=True), 0.0)
    with pytest.raises(OverloadError) as refused:
        schedule.submit(Call(Work(bool, [1.0] * 5, float, rate), A, 10.0, whole=True), 0.0)
    # Six seconds wait, five are its own, and estimates count 1.5 times: 16.5 s, and ten are left.
    assert refused.value.retry_after_s == 7
    assert schedule.figures().refused == 1
    schedule.check(A, 9.0, 1.0)  # it would go before those that have until 10.0
    schedule.check(B, 11.0, 4.0)
    with pytest.raises(OverloadError):
        schedule.check(A, 11.0, 4.0)


def test_a_query_that_a_search_waits_for_goes_first() -> None:
    flood = list(open_loop(3, seconds=30))
    queries = [Request(10.0 + i, A, items=1, timeout=2.0, urgent=True) for i in range(10)]
    outcome = simulate(sorted([*flood, *queries], key=lambda request: request.at))
    ends = [moment - request.at for moment, request in outcome.ended if request.urgent]
    assert len(ends) == 10
    assert max(ends) <= 0.3, "an item that runs, and its own"
    assert outcome.late["a"] == 0


def test_texts_are_tokenised_only_when_it_is_their_turn() -> None:
    schedule, read, run = Schedule(1, 480.0), Rate(0.01), Rate(0.1)

    def call() -> Call:
        texts = Work(bool, [1.0, 1.0], float, read, counts=False)
        return Call(Before(texts, lambda _: Work(bool, [1.0] * 3, float, run), 3.0, run), A, 9.0, whole=True)

    first, second = call(), call()
    schedule.submit(first, 0.0)
    schedule.submit(second, 0.0)
    assert schedule.figures().waiting_s == pytest.approx(0.64)
    order = []
    while (taken := schedule.take(0.0)) is not None:
        order.append(taken.call)
        then = schedule.done(taken, True, 0.01, 0.0)
        if then is not None:
            schedule.continue_with(taken.call, then.then([]), 0.0)
    assert order == [first] * 5 + [second] * 5
    assert schedule.figures().tokens == 6
    assert (schedule.figures().waiting, schedule.figures().running) == (0, 0)


def test_work_that_will_follow_a_call_is_counted_from_the_beginning() -> None:
    schedule, rate = Schedule(1, 480.0), Rate(1.0)

    def call(later_s: float) -> Call:
        return Call(Work(bool, [1.0], float, rate), A, 10.0, whole=True, later_s=later_s)

    schedule.submit(call(0.0), 0.0)
    schedule.submit(call(4.0), 0.0)
    assert schedule.figures().waiting_s == 6
    with pytest.raises(OverloadError):
        schedule.submit(call(4.0), 0.0)
    while (taken := schedule.take(0.0)) is not None:
        schedule.done(taken, True, 1.0, 0.0)
    assert schedule.figures().waiting_s == 0
