"""Comparison of servers under load.

Every server runs at its best batch size and gets the same requests at the same times. While one server is
timed, the others are stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from .engine import OnStep, difference_from_torch
from .load import RateResult, Reply, Seconds, arrivals, capacity, offer, rate_result, without_collection
from .peers import System
from .servers import Server
from .workers import Lists, ScoreArray, WorkerError

REQUESTS = 200
CAPACITY_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""Offered rates, as shares of a server's own capacity."""

LATE_AFTER_S = 10.0
"""A request is late after this time, the default of the official Elasticsearch client."""

SERVER_BATCH_SIZES = (4, 8, 16, 32)
"""Batch sizes that are tried for a server that has a batch size; 32 is infinity's default."""

_CAPACITY_REQUESTS = 60
WARM_UP = 8
SIDE_BY_SIDE = 8
"""Open requests while capacity is measured: more than a machine with a few cores needs to be busy."""

_CHECKED_REQUESTS = 3
"""Number of requests whose scores are compared with the reference."""

DRAIN_TIMEOUT_S = 600.0
"""Time that a server has for the work that is left after a step."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, the version of its package, and the function that starts it at a batch size.

    ``start`` raises WorkerError when the server cannot be started. ``batches`` are the sizes that are tried;
    ``(None,)`` when the caller cannot choose a size.
    """

    system: System
    version: str
    start: Callable[[int | None], Server]
    batches: Sequence[int | None] = (None,)


@dataclass(slots=True)
class ServerRow:
    """The measurements of one server. When ``reason`` is given, it says why the others are missing.

    ``capacity`` is in requests per second.
    """

    contender: Contender
    batch: int | None = None
    capacity: float | None = None
    steps: list[RateResult] = field(default_factory=list)
    peak_rss_mb: float | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row; what was not measured is null."""
        return {
            "name": self.contender.system.name,
            "precision": self.contender.system.precision,
            "version": self.contender.version,
            "batch": self.batch,
            "capacity": None if self.capacity is None else round(self.capacity, 3),
            "steps": [step.as_json() for step in self.steps],
            "peak_rss_mb": None if self.peak_rss_mb is None else round(self.peak_rss_mb),
            "reason": self.reason,
        }


class UnderLoad:
    """The measurement of all contenders with the same ``requests``.

    Call ``prepare``, then ``time``. The servers end when the ``with`` block ends. ``expected`` has the fp32
    logits of torch or of this project for the first requests; the servers' scores are compared with them as
    in ``bench engine``. None leaves the comparison out.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        requests: Lists,
        expected: Sequence[ScoreArray] | None = None,
        *,
        timeout_s: float = LATE_AFTER_S,
    ) -> None:
        self.rows = [ServerRow(contender) for contender in contenders]
        self.servers: dict[int, Server] = {}
        """The servers that run, by the place of their row."""
        self._requests, self._expected, self._timeout_s = requests, expected, timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.close()

    def prepare(self, on_step: OnStep) -> None:
        """Start every contender at each of its batch sizes, check its scores and measure its capacity.

        The fastest one is kept, and stopped until ``time``.
        """
        for place, row in enumerate(self.rows):
            for batch in row.contender.batches:
                on_step(row.contender.system.name)
                if row.reason is None:
                    with self.failure_recorded(place):
                        self._start_and_measure(place, batch)

    def preparations(self) -> int:
        """Return how many steps ``prepare`` takes."""
        return sum(len(row.contender.batches) for row in self.rows)

    def time(
        self,
        on_step: OnStep,
        *,
        rates: Sequence[float] | None = None,
        shares: Sequence[float] = CAPACITY_SHARES,
    ) -> None:
        """Offer every server each rate. ``rates`` are in requests per second, ``shares`` are of the server's
        own capacity.
        """
        for turn in range(len(rates or shares)):
            for place, row in enumerate(self.rows):
                on_step(row.contender.system.name)
                if row.capacity is not None and place in self.servers:
                    rate = rates[turn] if rates else shares[turn] * row.capacity
                    with self.failure_recorded(place):
                        row.steps.append(self._step(self.servers[place], rate))
                        row.peak_rss_mb = self.servers[place].process_tree.peak_rss_mb()

    def _start_and_measure(self, place: int, batch: int | None) -> None:
        """Start a server with a batch size; keep it if it is faster than with the sizes before."""
        row, server = self.rows[place], self.rows[place].contender.start(batch)
        try:
            self._check(row.contender.system, server)
            rate = asyncio.run(self._capacity(server))
            if row.capacity is not None and rate <= row.capacity:
                server.close()
                return
            server.process_tree.sleep()
        except BaseException:
            server.close()
            raise
        if place in self.servers:
            self.servers.pop(place).close()
        self.servers[place], row.batch, row.capacity = server, batch, rate

    def _check(self, system: System, server: Server) -> None:
        for (query, texts), expected in zip(
            self._requests[:_CHECKED_REQUESTS], self._expected or (), strict=False
        ):
            difference_from_torch(system, server.scores(query, texts), expected)

    async def _capacity(self, server: Server) -> float:
        warm_up, counted = (min(number, len(self._requests)) for number in (WARM_UP, _CAPACITY_REQUESTS))
        async with server.sender(self._requests) as send:
            await capacity(send, warm_up, side_by_side=SIDE_BY_SIDE)
            rate = await capacity(send, counted, side_by_side=SIDE_BY_SIDE)
        if not rate:
            raise WorkerError(f"answered none of {SIDE_BY_SIDE} requests that were open at the same time")
        return rate

    def _step(self, server: Server, rate: float) -> RateResult:
        due = arrivals(rate, len(self._requests))
        with server.process_tree.awake():
            with without_collection():
                replies = asyncio.run(self._offered(server, due))
            # Waits for the work of cancelled requests, so that the next step starts with an empty queue.
            server.scores(*self._requests[0], timeout_s=DRAIN_TIMEOUT_S)
        return rate_result(rate, due, replies)

    async def _offered(self, server: Server, due: Seconds) -> list[Reply]:
        async with server.sender(self._requests) as send:
            return await offer(send, due, timeout_s=self._timeout_s)

    @contextmanager
    def failure_recorded(self, place: int) -> Iterator[None]:
        """Store the reason of a WorkerError in the row instead of raising it."""
        try:
            yield
        except WorkerError as error:
            self.rows[place].reason = str(error)
            if place in self.servers:
                self.servers.pop(place).close()


def reference(score: Callable[[str, Sequence[str]], Any], requests: Lists) -> list[ScoreArray]:
    """Return the scores that the servers' scores are compared with: those of ``score`` for the first
    requests.
    """
    return [
        np.asarray(score(query, texts), dtype=np.float64) for query, texts in requests[:_CHECKED_REQUESTS]
    ]
