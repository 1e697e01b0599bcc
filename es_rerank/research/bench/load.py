"""Latency under load, open loop: requests arrive when they are due, whether or not earlier ones are answered.

Latency is counted from when a request was due. A caller that waits for one answer before it asks again, or counts from
when it got round to asking, never sees the queue that a slow server builds up (coordinated omission: Gil Tene, "How NOT
to measure latency"; wrk2 counts as this module does).
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
Outcome = Literal["answered", "rejected", "late"]
"""What became of a request: scores; a refusal for want of room (429, 503); no answer in time."""

Ask = Callable[[int], Awaitable[Outcome]]
"""Sends the request of a number. What it raises ends the measuring."""

_SEED = 20_260_103


class Reply(NamedTuple):
    """One request's outcome; seconds from when it was due until it was answered or refused, infinite where it was late.

    ``behind``: seconds by which the bench itself sent it late, which is part of ``seconds``.
    """

    outcome: Outcome
    seconds: float
    behind: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one offered rate gave; rates in requests per second, latencies in milliseconds.

    Percentiles are by nearest rank over all requests but the rejected: infinite where they fall on a late one, None
    where all were rejected. ``behind_ms`` is the most by which the bench itself was late.
    """

    offered: float
    achieved: float
    requests: int
    rejected: int
    late: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    behind_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return the step, null for a percentile that falls on a late request."""
        latencies = {name: _finite(getattr(self, name)) for name in ("p50_ms", "p95_ms", "p99_ms")}
        counts = {"requests": self.requests, "rejected": self.rejected, "late": self.late}
        return {
            "offered": round(self.offered, 3),
            "achieved": round(self.achieved, 3),
            **counts,
            **latencies,
            "behind_ms": round(self.behind_ms, 2),
        }


def arrivals(rate: float, requests: int, *, seed: int = _SEED) -> Seconds:
    """Return when so many requests are due, in seconds from the start, ascending: a Poisson stream of ``rate`` per second.

    Given how many there are, the arrivals of a Poisson stream are uniform draws, sorted; so the offered rate is exact, and
    one ``seed`` gives one pattern that other rates only stretch.
    """
    return np.sort(np.random.default_rng(seed).random(requests)) * (requests / rate)


def percentile(seconds: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile: the least value that at least ``share`` of the values do not pass; None without values."""
    ordered = sorted(seconds)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else None


async def offer(ask: Ask, due: Seconds, *, timeout_s: float) -> list[Reply]:
    """Send every request when it is due, and return what became of each.

    A request that is not answered ``timeout_s`` after it was due is given up and late. What ``ask`` raises is raised, and
    the other requests are dropped.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> Reply:
        moment = began + float(due[number])
        await asyncio.sleep(moment - loop.time())
        behind = max(loop.time() - moment, 0.0)
        try:
            async with asyncio.timeout_at(moment + timeout_s):
                outcome = await ask(number)
        except TimeoutError:
            outcome = "late"
        return Reply(outcome, math.inf if outcome == "late" else loop.time() - moment, behind)

    return await _together([one(number) for number in range(len(due))])


async def capacity(ask: Ask, requests: int, *, side_by_side: int) -> float:
    """Return how many requests per second are answered where ``side_by_side`` are under way at every moment: the most there is.

    Rejected and late ones do not count. What ``ask`` raises is raised.
    """
    numbers, outcomes = iter(range(requests)), Counter[Outcome]()

    async def caller() -> None:
        for number in numbers:
            outcomes[await ask(number)] += 1

    loop = asyncio.get_running_loop()
    began = loop.time()
    await _together([caller() for _ in range(side_by_side)])
    return outcomes["answered"] / (loop.time() - began)


def step_of(rate: float, due: Seconds, replies: Sequence[Reply]) -> Step:
    """Return what was found at an offered rate; achieved counts until the last answer, or until the last request could have come."""
    answered = [
        at + reply.seconds
        for at, reply in zip(due.tolist(), replies, strict=True)
        if reply.outcome == "answered"
    ]
    outcomes = Counter(reply.outcome for reply in replies)
    waited = [reply.seconds * 1000 for reply in replies if reply.outcome != "rejected"]
    return Step(
        rate,
        len(answered) / max([len(replies) / rate, *answered]),
        len(replies),
        outcomes["rejected"],
        outcomes["late"],
        percentile(waited, 0.50),
        percentile(waited, 0.95),
        percentile(waited, 0.99),
        max(reply.behind for reply in replies) * 1000,
    )


@contextmanager
def without_collection() -> Iterator[None]:
    """Let garbage lie for a block: collecting it would hold up what the bench sends."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _together(work: Sequence[Any]) -> list[Any]:
    """Return the results of coroutines; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else round(value, 2)
