"""Which precision is the better one, decided from the seconds of runs that took turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from es_rerank.engine.turns import LEAST_ROUNDS, MOST_ROUNDS, lengths_for, take_turns
from es_rerank.models.local.speeds import Speeds, speeds_of
from es_rerank.models.manifest import Precision

# The decision.


@pytest.mark.parametrize(
    ("gain", "better"),
    [
        ((3.8, 4.0, 4.2), "int8"),
        ((1.06, 1.2, 1.3), "int8"),
        ((1.01, 1.04, 1.05), "fp32"),  # a tie: exact scores are worth more than 5 %
        ((1.02, 1.06, 1.08), "fp32"),  # on both sides of it, but calm
        ((0.4, 0.5, 0.6), "fp32"),
        ((0.9, 1.2, 1.4), None),
        ((0.5, 4.0, 9.0), None),
        ((1.06, 5.0, 40.0), "int8"),  # however restless: three quarters of the rounds say so
        (None, None),
    ],
)
def test_int8_is_taken_where_it_is_clearly_faster(
    gain: tuple[float, float, float] | None, better: Precision | None
) -> None:
    assert Speeds(seconds={64: {"fp32": 1.0}}, gain=gain).decided == better


@given(
    st.lists(st.tuples(st.floats(1e-6, 10), st.floats(1e-6, 10)), min_size=1, max_size=9),
    st.floats(1e-3, 1e3),
)
def test_a_machine_that_is_slower_in_both_precisions_decides_the_same(
    rounds: list[tuple[float, float]], slower: float
) -> None:
    def speeds(factor: float) -> Speeds:
        fp32, int8 = ([seconds * factor for seconds in column] for column in zip(*rounds, strict=True))
        return speeds_of({8: {"fp32": fp32, "int8": int8}}, 2)

    assert speeds(slower).gain == pytest.approx(speeds(1.0).gain)


def test_a_round_in_which_the_machine_was_paused_changes_no_decision() -> None:
    fp32, int8 = [4.0] * 9, [1.0] * 9
    int8[4] = 500.0
    speeds = speeds_of({64: {"fp32": fp32, "int8": int8}, 256: {"fp32": fp32, "int8": int8}}, 2)
    assert (speeds.decided, speeds.per_second("int8", 64), speeds.per_second("fp32", 256)) == ("int8", 2, 0.5)


def test_both_lengths_count_alike() -> None:
    speeds = speeds_of(
        {64: {"fp32": [9.0] * 3, "int8": [1.0] * 3}, 256: {"fp32": [1.0] * 3, "int8": [9.0] * 3}}, 1
    )
    assert speeds.gain == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "text",
    [
        '{"seconds": {}}',
        '{"seconds": {"64": {}}}',
        '{"seconds": {"64": {"int8": 0}}}',
        '{"seconds": {"64": {"int8": -1}}}',
        '{"seconds": {"64": {"int8": NaN}}}',
        '{"seconds": {"64": {"int8": Infinity}}}',
        '{"seconds": {"-1": {"int8": 1}}}',
        '{"seconds": {"64": {"int4": 1}}}',
        '{"seconds": {"64": {"int8": 1}}, "gain": [1, 2]}',
        '{"seconds": {"64": {"int8": 1}}, "gain": [3, 2, 1]}',
        '{"seconds": {"64": {"int8": 1}}, "gain": [0, 1, 2]}',
        '{"seconds": {"64": {"int8": 1}}, "more": 1}',
    ],
)
def test_what_is_no_measurement_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Speeds.model_validate_json(text)


# The turns.


class Clock:
    """A clock that only the timed runs move; it notes them."""

    def __init__(self, cost: Callable[[str, int], float]) -> None:
        self.now, self.cost, self.asked = 0.0, cost, list[tuple[str, int]]()

    def __call__(self) -> float:
        return self.now

    def runs(self, *names: str) -> dict[str, Callable[[int], None]]:
        return {name: partial(self._run, name) for name in names}

    def _run(self, name: str, tokens: int) -> None:
        self.asked.append((name, tokens))
        self.now += self.cost(name, tokens)


def turns(clock: Clock, lengths: Sequence[int] = (64, 256), **options: Any) -> Any:
    return take_turns(clock.runs("fp32", "int8"), lengths, clock=clock, **options)


def test_what_is_timed_takes_turns_in_changing_order() -> None:
    clock = Clock(lambda name, tokens: tokens * (4e-5 if name == "fp32" else 1e-5))
    seconds = turns(clock)
    assert seconds[64]["fp32"] == pytest.approx([64 * 4e-5] * MOST_ROUNDS)
    assert seconds[256]["int8"] == pytest.approx([256 * 1e-5] * MOST_ROUNDS)
    rounds = [clock.asked[start : start + 4] for start in range(6, len(clock.asked), 4)]
    ahead = [("fp32", 64), ("int8", 64), ("fp32", 256), ("int8", 256)]
    behind = [("int8", 64), ("fp32", 64), ("int8", 256), ("fp32", 256)]
    assert rounds == [ahead if number % 2 == 0 else behind for number in range(MOST_ROUNDS)]


def test_the_budget_ends_the_rounds() -> None:
    clock = Clock(lambda _, tokens: tokens * 1e-4)
    seconds = turns(clock, budget_s=1.0)
    assert LEAST_ROUNDS <= len(seconds[64]["int8"]) < MOST_ROUNDS
    assert 1.0 <= clock.now < 1.0 + 640e-4


def test_a_large_graph_is_timed_at_the_short_length_only() -> None:
    clock = Clock(lambda _, tokens: tokens * 1e-2)
    seconds = turns(clock)
    assert (list(seconds), len(seconds[64]["int8"])) == ([64], LEAST_ROUNDS)


def test_a_model_with_few_tokens_is_timed_at_its_own_length() -> None:
    assert [lengths_for(tokens) for tokens in (8, 64, 100, 512)] == [[8], [64], [64, 100], [64, 256]]


def test_a_clock_that_stands_still_ends_the_rounds_too() -> None:
    assert len(turns(Clock(lambda *_: 0.0))[64]["int8"]) == MOST_ROUNDS
