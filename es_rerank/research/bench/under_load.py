"""Servers side by side under load: each at its best batch size, asked the same requests at the same moments, alone while it is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from .engine import difference
from .load import Reply, Seconds, Step, arrivals, capacity, offer, step_of, without_collection
from .peers import System
from .servers import Server
from .workers import Lists, Values, WorkerError

REQUESTS = 200
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""Offered rates, as shares of a server's own capacity."""

TIMEOUT_S = 10.0
"""After which a request is late: the official Elasticsearch client's default."""

BATCHES = (4, 8, 16, 32)
"""Batch sizes that are tried for a server that has one; 32 is infinity's default."""

_CAPACITY_REQUESTS = 60
_WARM_UP = 8
_SIDE_BY_SIDE = 8
"""Requests under way when capacity is measured: more than any machine of a few cores needs to be busy."""

_CHECKED = 3
"""Requests whose scores are held to the reference."""

_LEFT_S = 600.0
"""How long the work that a step left behind may take."""

Told = Callable[[str], None]
"""Told what is being done, once for each step."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, the version of its package, and how it is started at a batch size, which raises WorkerError where that cannot be.

    ``batches``: the sizes that are tried; None alone where the caller has no choice.
    """

    system: System
    version: str
    start: Callable[[int | None], Server]
    batches: Sequence[int | None] = (None,)


@dataclass(slots=True)
class Row:
    """What was found of one server; ``reason`` says why the rest is missing. ``capacity`` in requests per second."""

    contender: Contender
    batch: int | None = None
    capacity: float | None = None
    steps: list[Step] = field(default_factory=list)
    peak_rss_mb: float | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row, null where nothing was measured."""
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
    """The contenders, asked the same ``requests``. Call ``prepare``, then ``time``; servers end with the block.

    ``expected``: torch's or our fp32 logits of the first requests' texts, which the scores are held to as ``bench engine``
    holds them; None leaves that out.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        requests: Lists,
        expected: Sequence[Values] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.rows = [Row(each) for each in contenders]
        self._servers: dict[int, Server] = {}
        self._requests, self._expected, self._timeout_s = requests, expected, timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()

    def prepare(self, told: Told) -> None:
        """Start every contender at each of its batch sizes, check its scores, measure its capacity, and keep the best one asleep."""
        for place, row in enumerate(self.rows):
            for batch in row.contender.batches:
                told(row.contender.system.name)
                if row.reason is None:
                    with self._kept(place):
                        self._try(place, batch)

    def preparations(self) -> int:
        """Return how many steps ``prepare`` takes."""
        return sum(len(row.contender.batches) for row in self.rows)

    def time(
        self, told: Told, *, rates: Sequence[float] | None = None, shares: Sequence[float] = SHARES
    ) -> None:
        """Offer every server each of the ``rates``, in requests per second, or each of the ``shares`` of its own capacity."""
        for turn in range(len(rates or shares)):
            for place, row in enumerate(self.rows):
                told(row.contender.system.name)
                if row.capacity is not None and place in self._servers:
                    with self._kept(place):
                        row.steps.append(
                            self._step(
                                self._servers[place], rates[turn] if rates else shares[turn] * row.capacity
                            )
                        )
                        row.peak_rss_mb = self._servers[place].process_tree.peak_rss_mb()

    def _try(self, place: int, batch: int | None) -> None:
        """Start a server, and keep it where it is quicker than the one of the sizes before."""
        row, server = self.rows[place], self.rows[place].contender.start(batch)
        try:
            self._check(row.contender.system, server)
            found = asyncio.run(self._capacity(server))
            if row.capacity is not None and found <= row.capacity:
                server.close()
                return
            server.process_tree.sleep()
        except BaseException:
            server.close()
            raise
        if place in self._servers:
            self._servers.pop(place).close()
        self._servers[place], row.batch, row.capacity = server, batch, found

    def _check(self, system: System, server: Server) -> None:
        for (query, texts), expected in zip(self._requests[:_CHECKED], self._expected or (), strict=False):
            difference(system, server.scores(query, texts), expected)

    async def _capacity(self, server: Server) -> float:
        async with server.asked(self._requests) as ask:
            await capacity(ask, min(_WARM_UP, len(self._requests)), side_by_side=_SIDE_BY_SIDE)
            found = await capacity(
                ask, min(_CAPACITY_REQUESTS, len(self._requests)), side_by_side=_SIDE_BY_SIDE
            )
        if not found:
            raise WorkerError(f"answered none of {_SIDE_BY_SIDE} requests that were under way at a time")
        return found

    def _step(self, server: Server, rate: float) -> Step:
        due = arrivals(rate, len(self._requests))
        with server.process_tree.awake():
            with without_collection():
                replies = asyncio.run(self._offered(server, due))
            server.scores(
                *self._requests[0], timeout_s=_LEFT_S
            )  # behind what was given up, so that the next step finds no queue
        return step_of(rate, due, replies)

    async def _offered(self, server: Server, due: Seconds) -> list[Reply]:
        async with server.asked(self._requests) as ask:
            return await offer(ask, due, timeout_s=self._timeout_s)

    @contextmanager
    def _kept(self, place: int) -> Iterator[None]:
        """Keep why something failed instead of raising it: it becomes the row."""
        try:
            yield
        except WorkerError as error:
            self.rows[place].reason = str(error)
            if place in self._servers:
                self._servers.pop(place).close()


def reference(score: Callable[[str, Sequence[str]], Any], requests: Lists) -> list[Values]:
    """Return what the servers' scores are held to, as ``score`` gives it for the first requests."""
    return [np.asarray(score(query, texts), dtype=np.float64) for query, texts in requests[:_CHECKED]]
