"""All connections of a sidecar: how many there may be, and which make room for others."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ...errors import EsRerankError, UnavailableError
from .progress import ConnectionLimits

if TYPE_CHECKING:
    from .protocol import Connection

PROBES = frozenset(
    {b"/health", b"/healthz", b"/readyz", b"/metrics", b"/_rerank/metrics", b"/_rerank/status"}
)
"""Paths that say how the sidecar is. They are answered when all connections are busy, and when it stops."""

RETRY_BUSY_S = 1
"""Seconds in ``Retry-After`` when all connections are busy."""

RETRY_STOPPING_S = 5
"""Seconds in ``Retry-After`` of a sidecar that stops: another one takes its place in a few seconds."""


class ConnectionFigures(NamedTuple):
    """Open connections, those with a request, and why connections were ended since the start.

    ``ended`` has the keys ``slow``, ``unread``, ``evicted``, ``refused`` and ``cut``.
    """

    open: int
    busy: int
    ended: dict[str, int]


class Connections:
    """All connections of a sidecar. ``clock`` gives seconds that never go back.

    ``leaving``: answers end their connection, so that callers go elsewhere. ``stopping``: requests that come
    now are refused.
    """

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.clock = clock
        self.open: set[Connection] = set()
        self.busy = 0
        self.leaving = self.stopping = False
        self.ended: Counter[str] = Counter()

    def figures(self) -> ConnectionFigures:
        """Return what metrics show."""
        return ConnectionFigures(len(self.open), self.busy, dict(self.ended))

    def look(self) -> None:
        """End what takes too long. Call it every ``limits.look_s`` seconds."""
        now = self.clock()
        for connection in list(self.open):
            connection.look(now)

    def make_room(self) -> bool:
        """Close connections without a whole request; return whether there was one.

        Their descriptors are free in the next turn of the event loop.

        First come those of the address that has most, among them the longest idle, then the slowest to send
        its request. Several are closed at once, so that a flood of connections costs little each.
        """
        return self._evict([connection for connection in self.open if connection.is_free()])

    def _make_room_for_work(self) -> bool:
        return self._evict([connection for connection in self.open if connection.sends_body()])

    def _evict(self, free: list[Connection]) -> bool:
        shares = Counter(connection.address for connection in free)
        now = self.clock()
        for connection in heapq.nlargest(
            self.limits.batch, free, key=lambda one: (shares[one.address], one.is_idle(), one.waited(now))
        ):
            connection.evict()
        return bool(free)

    def running(self) -> bool:
        """Return whether a request is being answered, or an answer waits to be read."""
        return any(connection.is_running() for connection in self.open)

    def end(self) -> None:
        """End all connections; what is not answered yet is answered with 503."""
        for connection in list(self.open):
            connection.end()

    def refusal(self, path: bytes) -> EsRerankError | None:
        """Return why a new request is refused, None if it is not. Health checks never are."""
        if path in PROBES:
            return None
        if self.stopping:
            return UnavailableError(
                "the sidecar is stopping; send the request again", retry_after_s=RETRY_STOPPING_S
            )
        if self.busy >= self.limits.busy and not self._make_room_for_work():
            return UnavailableError(
                f"{self.busy} requests are being answered, which is the most (setting max_connections)",
                retry_after_s=RETRY_BUSY_S,
            )
        return None
