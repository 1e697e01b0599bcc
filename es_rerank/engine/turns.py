"""Times several graphs in turns, so that whatever slows the machine meanwhile slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from .batch_runner import GraphRunner
from .pool import Pool

SHORT, LONG = 64, 256
"""Tokens of the sequences that are timed: a sentence, and a passage of an article."""

BUDGET_S = 1.0
"""Seconds that all turns together take, about."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 25
"""At least so many rounds are needed for quartiles. More than the second number would tell nothing new."""

_VOCABULARY = 8
"""Token ids are drawn below this number. Even the smallest vocabulary has them."""

K = TypeVar("K")

Clock = Callable[[], float]
"""Returns a moment in seconds."""

Seconds = Mapping[int, Mapping[K, Sequence[float]]]
"""The seconds of each round, by length in tokens and by what was timed; all sequences are equally long."""


def lengths_for(max_length: int) -> list[int]:
    """Return the lengths that are timed, in tokens, for a model that reads ``max_length`` at most."""
    return sorted({min(SHORT, max_length), min(LONG, max_length)})


def side_by_side(runner: GraphRunner, pool: Pool, together: int = 1) -> Callable[[int], None]:
    """Return a function from a length in tokens to a turn: each thread of the pool does one run.

    ``together``: how many sequences share a run. On a CPU it is one, as with passages of different lengths.
    """

    def turn(tokens: int) -> None:
        ids = np.random.default_rng(0).integers(0, _VOCABULARY, (together, tokens)).tolist()
        types = [[0] * tokens] * together
        pool.run(
            lambda _: runner.run(ids, types) is None, range(pool.threads), length=lambda _: float(tokens)
        )

    return turn


def take_turns(
    runs: Mapping[K, Callable[[int], None]],
    lengths: Sequence[int],
    *,
    budget_s: float = BUDGET_S,
    clock: Clock = time.perf_counter,
) -> Seconds[K]:
    """Return the seconds of the turns of each of ``runs``, for the ``lengths``, the shortest first.

    A round times all of ``runs`` at all lengths; every other round does so in the opposite order. Rounds go
    on until ``budget_s`` is used up. Longer lengths are left out when they would take more than twice that:
    the graph is so large that a second is not enough. Raises what ``runs`` raise.
    """
    started = clock()
    for run in runs.values():  # the first run reads the weights, and does not count
        run(lengths[0])
    trial = clock()
    for run in runs.values():
        run(lengths[0])
    per_token = (clock() - trial) / lengths[0]
    timed = list(lengths)
    while len(timed) > 1 and LEAST_ROUNDS * per_token * sum(timed) > 2 * budget_s:
        timed.pop()
    for tokens in timed[1:]:
        for run in runs.values():
            run(tokens)
    seconds: dict[int, dict[K, list[float]]] = {tokens: {key: [] for key in runs} for tokens in timed}
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and clock() - started >= budget_s:
            break
        for tokens in timed:
            for key in list(runs) if number % 2 == 0 else reversed(list(runs)):
                begun = clock()
                runs[key](tokens)
                seconds[tokens][key].append(clock() - begun)
    return seconds
