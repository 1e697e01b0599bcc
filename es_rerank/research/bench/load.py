"""Latency under load, open loop: requests are sent when they are due, even if earlier ones are not answered.

Latency is counted from the time when a request was due. A caller that waits for an answer before the next
request never sees the queue of a slow server. Neither does a caller that counts from the time of sending.
This error is called coordinated omission (Gil Tene, "How NOT to measure latency"; wrk2 counts as this module
does).
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
RequestOutcome = Literal["answered", "rejected", "late", "failed"]
"""The outcome of a request: scores; a refusal because the queue is full (429, 503); no answer in time; or any
other answer, where the measurement counts it instead of ending.
"""

SendRequest = Callable[[int], Awaitable[RequestOutcome]]
"""Sends the request with a number. An error that it raises ends the measurement."""

_SEED = 20_260_103


class Reply(NamedTuple):
    """The outcome of one request.

    ``seconds`` is the time from when it was due until it was answered or refused, infinite when it was late.
    ``behind`` is the delay, in seconds, by which the bench itself sent it late; it is part of ``seconds``.
    """

    outcome: RequestOutcome
    seconds: float
    behind: float


@dataclass(frozen=True, slots=True)
class RateResult:
    """The measurements at one offered rate; rates in requests per second, latencies in milliseconds.

    Percentiles are by nearest rank over all requests that were not rejected. A percentile is infinite when it
    falls on a late request, and None when all requests were rejected. ``behind_ms`` is the longest delay of
    the bench itself.
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
        """Return the result; a percentile that falls on a late request is null."""
        latencies = {name: finite(getattr(self, name), 2) for name in ("p50_ms", "p95_ms", "p99_ms")}
        counts = {"requests": self.requests, "rejected": self.rejected, "late": self.late}
        return {
            "offered": round(self.offered, 3),
            "achieved": round(self.achieved, 3),
            **counts,
            **latencies,
            "behind_ms": round(self.behind_ms, 2),
        }


def arrivals(rate: float, requests: int, *, seed: int = _SEED) -> Seconds:
    """Return when the requests are due, in seconds from the start, ascending: a Poisson process of ``rate``
    per second.

    If the number of arrivals is fixed, the arrival times of a Poisson process are sorted uniform random
    numbers. So the offered rate is exact, and for one ``seed`` all rates have the same pattern, only
    stretched.
    """
    return np.sort(np.random.default_rng(seed).random(requests)) * (requests / rate)


def percentile(seconds: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile; None without values.

    It is the smallest value that at least ``share`` of the values do not exceed.
    """
    ordered = sorted(seconds)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else None


async def offer(send: SendRequest, due: Seconds, *, timeout_s: float) -> list[Reply]:
    """Send every request when it is due, and return the outcome of each.

    A request without an answer ``timeout_s`` after it was due is cancelled and counts as late. When ``send``
    raises an error, that error is raised and the other requests are cancelled.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> Reply:
        moment = began + float(due[number])
        behind = max(loop.time() - moment, 0.0)
        try:
            async with asyncio.timeout_at(moment + timeout_s):
                outcome = await send(number)
        except TimeoutError:
            outcome = "late"
        return Reply(outcome, math.inf if outcome == "late" else loop.time() - moment, behind)

    tasks = list[asyncio.Task[Reply]]()
    with _first_error():
        async with asyncio.TaskGroup() as group:
            # A task begins when its request is due: thousands that begin together would delay the first ones.
            for number, at in enumerate(due.tolist()):
                await asyncio.sleep(began + at - loop.time())
                tasks.append(group.create_task(one(number)))
    return [task.result() for task in tasks]


async def capacity(
    send: SendRequest, requests: int, *, side_by_side: int, seconds: float = math.inf
) -> float:
    """Return the requests answered per second when ``side_by_side`` requests are always open: the maximum
    rate.

    The measurement ends after ``requests`` requests, or after ``seconds``. Answers that come later do not
    count, and neither do rejected, late and failed requests. An error of ``send`` is raised.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    numbers, answered = iter(range(requests)), list[float]()

    async def caller() -> None:
        for number in numbers:
            outcome = await send(number)
            if outcome == "answered":
                answered.append(loop.time() - began)
            if loop.time() - began >= seconds:
                return

    with _first_error():
        async with asyncio.TaskGroup() as group:
            for _ in range(side_by_side):
                group.create_task(caller())
    return sum(at <= seconds for at in answered) / min(seconds, loop.time() - began)


def rate_result(rate: float, due: Seconds, replies: Sequence[Reply]) -> RateResult:
    """Return the measurements at an offered rate.

    The achieved rate is counted until the last answer, and at least until all requests were due.
    """
    answered = [
        at + reply.seconds
        for at, reply in zip(due.tolist(), replies, strict=True)
        if reply.outcome == "answered"
    ]
    outcomes = Counter(reply.outcome for reply in replies)
    waited = [reply.seconds * 1000 for reply in replies if reply.outcome != "rejected"]
    return RateResult(
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
    """Switch garbage collection off inside the block: a collection would delay the requests of the bench."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _first_error() -> Iterator[None]:
    """Raise the first error of a task group unchanged, instead of the group."""
    try:
        yield
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def finite(value: float | None, digits: int = 3) -> float | None:
    """Return a value rounded to ``digits``; None for an infinite one."""
    return None if value is None or math.isinf(value) else round(value, digits)
