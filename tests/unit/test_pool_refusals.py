"""What a refusal of the pool says: which bound it is about, by how much, and never of a call that is late."""

from __future__ import annotations

import pytest

from es_rerank.caller import Caller
from es_rerank.engine.call import Call, Work
from es_rerank.engine.rate import Rate
from es_rerank.engine.schedule import Schedule
from es_rerank.errors import OverloadError

A = Caller("a")
BOUNDED = Caller("a", 2.5, "most_waiting_seconds of key [a]")


def call(deadline: float | None, items: int = 1, caller: Caller = A) -> Call:
    """Return a call of items that take a second each."""
    return Call(Work(bool, [1.0] * items, float, Rate(1.0)), caller, deadline, whole=True)


def busy() -> Schedule:
    """Return a schedule of one thread with two seconds of work of caller A. It trusts its estimates."""
    schedule = Schedule(1, 6.0)
    schedule.margin.factor = 1.0
    for _ in range(2):
        schedule.submit(call(100.0), 0.0)
    return schedule


LATE = "the work that waits and this call would take 3.0 s, and 2.9 s are left; try again later"
OTHER_LATE = (
    "with this call, one that was admitted before would end in 11.0 s, and 10.0 s are left; try again later"
)
TOO_MUCH = "7.0 s of work would wait, and at most 6.0 s may with a call without a deadline; try again later"
OVER_LIMIT = (
    "5.0 s of this caller's work would wait, and at most 2.5 s may (most_waiting_seconds of key [a]); "
    "try again later"
)


@pytest.mark.parametrize(
    ("refused", "now", "message", "retry_after_s"),
    [
        (call(101.0), 98.04, LATE, 1),  # 2.96 s are left, which is less than 3
        (call(99.5, 9), 90.0, OTHER_LATE, 1),
        (call(None, 5), 0.0, TOO_MUCH, 1),
        (call(100.0, 3, BOUNDED), 0.0, OVER_LIMIT, 3),
    ],
)
def test_a_refusal_names_its_bound(refused: Call, now: float, message: str, retry_after_s: int) -> None:
    schedule = busy()
    with pytest.raises(OverloadError) as error:
        schedule.submit(refused, now)
    assert error.value.message == message
    assert error.value.retry_after_s == retry_after_s


@pytest.mark.parametrize("deadline", [9.0, 10.0])
def test_a_call_that_is_late_is_not_refused_because_others_wait(deadline: float) -> None:
    schedule, late = busy(), call(deadline)
    schedule.check(A, deadline, 10.0)  # the call itself will end late
    schedule.submit(late, 10.0)
    assert late.future.result().results == [None]
    assert (schedule.figures().late, schedule.figures().refused) == (1, 0)
    with pytest.raises(OverloadError, match=r"would take 2\.0 s, and 1\.5 s are left"):
        schedule.check(A, 101.0, 99.5)
