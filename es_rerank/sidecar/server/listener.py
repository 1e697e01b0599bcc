"""Accepts connections, so that there are never more than the process may have."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import ssl
import sys
from collections.abc import Callable

import structlog

from ...errors import SettingsError
from .connections import Connections

_LOG = structlog.get_logger("es_rerank.sidecar")

_AT_ONCE = 32
"""Most connections that are accepted in one turn of the event loop."""

_BACKLOG = 2048
"""Most connections that wait to be accepted. Linux allows at most ``net.core.somaxconn``."""

_OTHER_FILES = 64
"""Descriptors for all but connections: models, logs, the event loop, libraries."""

_MOST_FILES = 65_536
"""The soft limit of descriptors is raised at most to this. Some systems have a hard limit of a billion."""

_LEAST = 8
"""Fewest connections that the sidecar starts with."""

_AGAIN_S = 0.1
"""Seconds until the next try when no descriptor was free, twice in a row."""

_SAID_AGAIN_S = 60.0
"""Least time between two log lines about the same pressure."""

_TLS_CLOSE_S = 5.0
"""How long TLS waits for the caller's good-bye, in seconds."""

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections(wanted: int) -> int:
    """Raise the soft limit of open files to the hard limit, and return how many connections there may be.

    That is ``wanted``, or as many as the limit allows: each request to the sidecar may take a connection to
    Elasticsearch too. Windows has no such limit. Raises SettingsError when too few files may be open.
    """
    if sys.platform == "win32":
        return wanted
    import resource  # noqa: PLC0415 it is not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    allowed = wanted if soft == resource.RLIM_INFINITY else (soft - _OTHER_FILES) // 2
    if allowed < min(wanted, _LEAST):
        raise SettingsError(
            f"this process may open {soft} files, which is too few to serve; raise the limit (ulimit -n, "
            "LimitNOFILE of systemd, --ulimit nofile of Docker)"
        )
    if allowed < wanted:
        _LOG.warning(
            "fewer connections than set: the process may not open as many files",
            max_connections=wanted,
            connections=allowed,
            open_files=soft,
        )
    return min(wanted, allowed)


class Listener:
    """Accepts the connections of one listening socket, and holds never more than there may be.

    asyncio's own servers accept without a bound. When no descriptor is free, they log an error for each
    place of the backlog.

    What is closed to make room frees its descriptor in the next turn of the event loop. So when all
    connections are in use, a turn makes room and accepts nothing, and the next one accepts into that room.

    ``protocol`` makes the protocol of a connection.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._connections = connections
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._held: list[socket.socket] = []
        self._opening: dict[asyncio.Task[None], None] = {}
        self._starved = False
        self._retry: asyncio.TimerHandle | None = None
        self._said = -_SAID_AGAIN_S
        listening.setblocking(False)
        listening.listen(_BACKLOG)
        self._loop.add_reader(listening, self._accept)

    async def close(self, most_s: float) -> None:
        """Accept what waits already, so that it gets an answer, and listen no more.

        At the return, the connections that were accepted are open, or have failed. TLS handshakes that take
        more than ``most_s`` seconds are ended.
        """
        self._stop_waiting()
        self._loop.remove_reader(self._listening)
        for _ in range(_BACKLOG):
            if not self._accept():
                break
            await asyncio.sleep(0)
        self._stop_waiting()
        self._listening.close()
        if self._opening:
            await asyncio.wait(self._opening, timeout=most_s)
        self._end_handshakes(len(self._opening))

    def _accept(self) -> bool:
        """Accept connections; return whether more may wait."""
        room = self._room()
        if not room and self._make_room():
            return True
        # Without room, all connections have requests: who comes now is closed at once.
        for _ in range(min(room, _AT_ONCE) or _AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._wait(error)
                return False
            self._starved = False
            if not room:
                accepted.close()
                self._connections.ended["evicted"] += 1
                continue
            accepted.setblocking(False)
            self._held.append(accepted)
            task = self._loop.create_task(self._open(accepted))
            self._opening[task] = None
            task.add_done_callback(self._opened)
        return True

    def _room(self) -> int:
        """Return how many more connections there may be. Each accepted socket counts until it is closed."""
        most = self._connections.limits.connections
        if len(self._held) >= most:
            self._held = [held for held in self._held if held.fileno() >= 0]
        return max(0, most - len(self._held))

    def _make_room(self) -> bool:
        """Free descriptors, as of the next turns of the event loop; return whether there will be any."""
        self._say("all connections are in use: some that have no request are closed")
        limits = self._connections.limits
        if self._tls is not None and len(self._opening) > limits.connections // 4:
            return self._end_handshakes(limits.batch)
        if self._connections.make_room():
            return True
        if self._tls is not None:
            return self._end_handshakes(limits.batch)
        return bool(self._opening)  # it takes two turns until they may make room themselves

    def _end_handshakes(self, most: int) -> bool:
        """End the oldest TLS handshakes, at most ``most``; return whether there was one."""
        oldest = list(itertools.islice(self._opening, most))
        for task in oldest:
            del self._opening[task]
            task.cancel()
            self._connections.ended["evicted"] += 1
        return bool(oldest)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.pop(task, None)

    async def _open(self, accepted: socket.socket) -> None:
        limits = self._connections.limits
        times = {"ssl_handshake_timeout": limits.header_s, "ssl_shutdown_timeout": _TLS_CLOSE_S}
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, accepted, ssl=self._tls, **(times if self._tls else {})
            )
        except OSError:  # of TLS too: the caller speaks another language, or left
            accepted.close()

    def _wait(self, error: OSError) -> None:
        """Free descriptors and try again in the next turn, or soon if that did not help.

        The reader is removed: the socket stays ready to be read.
        """
        self._say(f"no connection can be accepted: {error.strerror or error}")
        freed = error.errno in _FULL and self._connections.make_room()
        self._loop.remove_reader(self._listening)
        self._retry = self._loop.call_later(0 if freed and not self._starved else _AGAIN_S, self._again)
        self._starved = True

    def _again(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listening, self._accept)

    def _stop_waiting(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _say(self, what: str) -> None:
        now = self._connections.clock()
        if now - self._said >= _SAID_AGAIN_S:
            self._said = now
            _LOG.warning(what, **self._connections.figures()._asdict())
