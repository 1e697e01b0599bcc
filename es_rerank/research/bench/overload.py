"""Servers that are offered more than they can answer: what they still answer in time, and how they refuse the
rest.

A server is bound to its cores, and the bench sends from another core. The capacity of each server is measured
in the same run. Requests arrive as a Poisson stream, whether or not earlier ones were answered, and each has
a deadline. After each overload the server gets half of its capacity, until it is seen how fast it recovers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from .engine import OnStep
from .load import Reply, Seconds, arrivals, capacity, finite, offer, without_collection
from .machine import bound_to
from .overload_step import Busy, Criterion, OverloadStep, criteria, recovery_s, step_result
from .servers import Server
from .under_load import DRAIN_TIMEOUT_S, LATE_AFTER_S, SIDE_BY_SIDE, WARM_UP, Contender, UnderLoad
from .workers import Lists, ScoreArray, WorkerError

OVERLOADS = (1.2, 2.0, 3.0)
"""Offered rates, as shares of a server's own capacity."""

SECONDS = 60.0
"""Seconds of each overload."""

DEADLINE_S = 2.0
"""Seconds that a caller waits for a window of 20 passages: a few times what one core needs for it."""

USUAL_SHARE = 0.5
"""Offered rate before and after an overload, as a share of capacity."""

MOST_CALM_S = 20.0
"""Most seconds in which the usual rate is offered, and in which capacity is measured."""

_FIRST_NUMBER = 10_000
_MORE_THAN_ESTIMATED = 1.5
"""The capacity that batch sizes are chosen by is this inexact at most."""


class UniqueRequests:
    """An endless series of requests in which no pair of query and passage occurs twice.

    The query of each request ends with a number of its own, so that no cache of scores can answer, although
    the texts are natural ones of ``windows``.
    """

    def __init__(self, windows: Lists) -> None:
        self._windows, self._taken = windows, 0

    def take(self, count: int) -> list[tuple[str, Sequence[str]]]:
        """Return the next ``count`` requests. Each time they begin with the first window, so that two loads
        of the same rate are alike.
        """
        first = _FIRST_NUMBER + self._taken
        self._taken += count
        windows = (self._windows[place % len(self._windows)] for place in range(count))
        return [(f"{query} {number}", texts) for number, (query, texts) in enumerate(windows, first)]


@dataclass(slots=True)
class OverloadRow:
    """The measurements of one server. When ``reason`` is given, it says why the others are missing.

    ``capacity`` and ``capacity_after``, measured when all is over, are in requests per second. ``usual`` is
    the step at half of the capacity, before any overload.
    """

    contender: Contender
    batch: int | None = None
    capacity: float | None = None
    capacity_after: float | None = None
    usual: OverloadStep | None = None
    steps: list[OverloadStep] = field(default_factory=list)
    peak_rss_mb: float | None = None
    reason: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the bench could keep up at every rate."""
        return all(step.is_valid for step in self.steps)

    def criteria(self, deadline_s: float) -> list[Criterion]:
        """Return what the server must hold; nothing when it was not measured at every overload."""
        return criteria(self.steps, deadline_s) if self.reason is None and self.steps else []

    def as_json(self, deadline_s: float) -> dict[str, Any]:
        """Return the row; what was not measured is null."""
        rates = {name: getattr(self, name) for name in ("capacity", "capacity_after")}
        return {
            "name": self.contender.system.name,
            "precision": self.contender.system.precision,
            "version": self.contender.version,
            "batch": self.batch,
            **{name: finite(rate) for name, rate in rates.items()},
            "usual": None if self.usual is None else self.usual.as_json(),
            "steps": [step.as_json() for step in self.steps],
            "valid": self.is_valid,
            "criteria": {each.name: each.met for each in self.criteria(deadline_s)},
            "peak_rss_mb": None if self.peak_rss_mb is None else round(self.peak_rss_mb),
            "reason": self.reason,
        }


class Overload:
    """The measurement of all contenders with requests made of the same ``windows``.

    Call ``prepare``, then ``time``. The servers end when the ``with`` block ends. Each is bound to
    ``server_cores``; the bench is bound to ``own_core`` while it sends. None binds nothing. ``expected`` is
    that of UnderLoad. Each overload lasts ``seconds``.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        windows: Lists,
        expected: Sequence[ScoreArray] | None = None,
        *,
        seconds: float = SECONDS,
        deadline_s: float = DEADLINE_S,
        server_cores: frozenset[int] | None = None,
        own_core: int | None = None,
    ) -> None:
        self.rows = [OverloadRow(contender) for contender in contenders]
        self._windows, self._seconds, self._deadline_s = windows, seconds, deadline_s
        self._calm_s = min(seconds, MOST_CALM_S)
        self._own_core = None if own_core is None else frozenset({own_core})
        self._contest = UnderLoad(
            [_bound(contender, server_cores) for contender in contenders],
            windows,
            expected,
            timeout_s=LATE_AFTER_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exit_: object) -> None:
        self._contest.__exit__(*exit_)

    def prepare(self, on_step: OnStep) -> None:
        """Start every contender at its best batch size, and check its scores."""
        with bound_to(self._own_core):
            self._contest.prepare(on_step)

    def preparations(self) -> int:
        """Return how many steps ``prepare`` takes."""
        return self._contest.preparations()

    def timings(self) -> int:
        """Return how many steps ``time`` takes."""
        return len(self.rows) * (len(OVERLOADS) + 3)

    def time(self, on_step: OnStep) -> None:
        """Measure one server after the other: its capacity, the usual rate, each overload, its capacity
        again.
        """
        for place, (row, prepared) in enumerate(zip(self.rows, self._contest.rows, strict=True)):
            row.batch, row.reason = prepared.batch, prepared.reason
            if prepared.capacity is not None and place in self._contest.servers:
                with self._contest.failure_recorded(place), bound_to(self._own_core):
                    self._timed(row, self._contest.servers[place], prepared.capacity, on_step)
                row.reason = prepared.reason

    def _timed(self, row: OverloadRow, server: Server, estimate: float, on_step: OnStep) -> None:
        requests, name = UniqueRequests(self._windows), row.contender.system.name
        with server.process_tree.awake():
            on_step(f"{name}: capacity")
            row.capacity = asyncio.run(self._capacity(server, requests, estimate))
            on_step(f"{name}: {USUAL_SHARE:g} times its capacity")
            due = self._due(row.capacity, USUAL_SHARE, self._calm_s)
            usual, failures, busy = self._offered(server, requests.take(len(due)), due, self._calm_s)
            row.usual = step_result(USUAL_SHARE, due, usual, self._calm_s, failures, busy)
            for share in OVERLOADS:
                on_step(f"{name}: {share:g} times its capacity")
                row.steps.append(self._overloaded(server, requests, row.capacity, share, usual))
            on_step(f"{name}: capacity again")
            row.capacity_after = asyncio.run(self._capacity(server, requests, row.capacity))
            row.peak_rss_mb = server.process_tree.peak_rss_mb()

    async def _capacity(self, server: Server, requests: UniqueRequests, estimate: float) -> float:
        first = requests.take(WARM_UP)
        counted = requests.take(math.ceil(estimate * self._calm_s * _MORE_THAN_ESTIMATED) + SIDE_BY_SIDE)
        async with server.sender(first) as send:
            await capacity(send, len(first), side_by_side=SIDE_BY_SIDE)
        async with server.sender(counted) as send:
            rate = await capacity(send, len(counted), side_by_side=SIDE_BY_SIDE, seconds=self._calm_s)
        if not rate:
            raise WorkerError(f"answered none of {SIDE_BY_SIDE} requests that were open at the same time")
        return rate

    def _due(self, rate: float, share: float, seconds: float) -> Seconds:
        return arrivals(share * rate, max(round(share * rate * seconds), 1))

    def _overloaded(
        self, server: Server, requests: UniqueRequests, rate: float, share: float, usual: Sequence[Reply]
    ) -> OverloadStep:
        """Offer an overload and, without a pause, the usual rate."""
        due, calm = self._due(rate, share, self._seconds), self._due(rate, USUAL_SHARE, self._calm_s)
        every, asked = (
            np.concatenate([due, self._seconds + calm]),
            [*requests.take(len(due)), *requests.take(len(calm))],
        )
        replies, failures, busy = self._offered(server, asked, every, self._seconds)
        step = step_result(share, due, replies[: len(due)], self._seconds, failures, busy)
        return replace(step, recovery_s=recovery_s(calm, replies[len(due) :], usual))

    def _offered(
        self, server: Server, requests: Lists, due: Seconds, seconds: float
    ) -> tuple[list[Reply], Counter[str], Busy]:
        """Offer requests and wait until the server has no work left; CPU time is measured for ``seconds``."""
        failures, used = Counter[str](), server.process_tree.clock()

        async def offered() -> tuple[list[Reply], Busy]:
            async with server.sender(requests, deadline_s=self._deadline_s, failures=failures) as send:
                return await asyncio.gather(
                    offer(send, due, timeout_s=self._deadline_s), _busy(used, seconds)
                )

        with without_collection():
            replies, busy = asyncio.run(offered())
        server.wait_until_idle(DRAIN_TIMEOUT_S)
        return replies, failures, busy


async def _busy(used: Callable[[], float], seconds: float) -> Busy:
    """Return the CPU time of the next ``seconds``; ``used`` tells that of the server."""
    began, own, served = time.monotonic(), time.process_time(), used()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    return Busy((time.process_time() - own) / passed, max(used() - served, 0.0) / passed)


def _bound(contender: Contender, cores: frozenset[int] | None) -> Contender:
    """Return the contender whose server is bound to cores: a process inherits them from who starts it."""

    def start(batch: int | None) -> Server:
        with bound_to(cores):
            return contender.start(batch)

    return replace(contender, start=start)
