"""When a connection has taken too long: clocks without I/O, which are told what happens and when.

Every time is in seconds, of a clock that never goes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...defaults import (
    BODY_BYTES_PER_S,
    BODY_TIMEOUT_MS,
    HEADER_TIMEOUT_MS,
    IDLE_TIMEOUT_MS,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    WRITE_TIMEOUT_MS,
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be.

    ``connections``: most open connections. ``header_s``: from the opening of the connection, or the first
    byte of a later request, to the end of its headers. ``body_s``: longest time without a byte of a body.
    ``body_bytes_per_s``: least rate of a body, after ``body_s``. ``write_s``: longest time in which the
    caller takes no byte of its answer. ``idle_s``: longest time between two requests. ``header_bytes`` and
    ``headers``: most bytes of request line and headers, and most headers (Elasticsearch allows 16 kB).
    """

    connections: int = MAX_CONNECTIONS
    header_s: float = HEADER_TIMEOUT_MS / 1000
    body_s: float = BODY_TIMEOUT_MS / 1000
    body_bytes_per_s: float = BODY_BYTES_PER_S
    write_s: float = WRITE_TIMEOUT_MS / 1000
    idle_s: float = IDLE_TIMEOUT_MS / 1000
    header_bytes: int = MAX_HEADER_BYTES
    headers: int = MAX_HEADERS

    @property
    def busy(self) -> int:
        """Most connections that have a request. The others are kept for health checks and for refusals."""
        return self.connections - min(16, self.connections // 4)

    @property
    def batch(self) -> int:
        """How many connections are closed at once to make room, so that a flood of them costs little each."""
        return max(1, self.connections // 32)

    @property
    def look_s(self) -> float:
        """How often the clocks are looked at, in seconds: a connection is closed at most that much later."""
        return min(1.0, min(self.header_s, self.body_s, self.write_s) / 4)


class BodyClock:
    """Says until when the body of a request must go on, or be there.

    The time in which the sidecar does not read is not the caller's: ``pause`` and ``go_on`` tell of it.
    """

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self._limits = limits
        self._began = self._last = now
        self._bytes = 0
        self._paused: float | None = None

    def arrived(self, size: int, now: float) -> None:
        """Note that ``size`` bytes arrived."""
        self._bytes += size
        self._last = now

    def pause(self, now: float) -> None:
        """Note that the sidecar reads no more for now."""
        if self._paused is None:
            self._paused = now

    def go_on(self, now: float) -> None:
        """Note that the sidecar reads again."""
        if self._paused is not None:
            self._began += now - self._paused
            self._last = now
            self._paused = None

    def deadline(self) -> float:
        """Return when the body is too slow: no byte for ``body_s``, or less than the least rate in all."""
        if self._paused is not None:
            return math.inf
        limits = self._limits
        rate = self._began + limits.body_s + self._bytes / limits.body_bytes_per_s
        return min(rate, self._last + limits.body_s)


class WriteClock:
    """Says until when the caller must take a byte of what waits to be sent."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._write_s = limits.write_s
        self._waiting = 0
        self._since = 0.0

    def took(self) -> None:
        """Note that the caller took bytes."""
        self._waiting = 0

    def is_late(self, waiting: int, now: float) -> bool:
        """Return whether ``waiting`` bytes wait since ``write_s`` seconds, and none of them was taken."""
        if waiting == 0 or waiting != self._waiting:
            self._waiting, self._since = waiting, now
            return False
        return now - self._since >= self._write_s
