"""Accepts connections, so that there are never more than the process may have."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import sys
from collections.abc import Callable

import structlog

from ...errors import SettingsError
from .connections import Connections

_LOG = structlog.get_logger("es_rerank.sidecar")

_AT_ONCE = 32
"""Most connections that are accepted in one step of the event loop."""

_OTHER_FILES = 64
"""Descriptors for all but connections: models, logs, the event loop, libraries."""

_MOST_FILES = 65_536
"""The soft limit of descriptors is raised at most to this. Some systems have a hard limit of a billion."""

_LEAST = 8
"""Fewest connections that the sidecar starts with."""

_AGAIN_S = 0.1
"""Seconds until the next try when no descriptor was free."""

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
    """Accepts the connections of one listening socket.

    asyncio's own servers accept without a bound. When no descriptor is free, they log an error for each
    place of the backlog.

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
        self._opening: dict[asyncio.Task[None], None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._said = -_SAID_AGAIN_S
        listening.setblocking(False)
        listening.listen(2048)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept what waits already, so that it gets an answer, and listen no more."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        while self._accept():
            pass
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    async def opened(self) -> None:
        """Wait until the connections that were accepted are open, or have failed."""
        while self._opening:
            await asyncio.wait(self._opening)

    def _accept(self) -> bool:
        """Accept connections; return whether more may wait."""
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._wait(error)
                return False
            accepted.setblocking(False)
            if not self._has_room():
                accepted.close()
                self._connections.ended["evicted"] += 1
                continue
            task = self._loop.create_task(self._open(accepted))
            self._opening[task] = None
            task.add_done_callback(self._opening.pop)
        return True

    def _has_room(self) -> bool:
        most = self._connections.limits.connections
        if len(self._connections.open) + len(self._opening) < most:
            return True
        self._say("all connections are in use: some that have no request are closed")
        if len(self._opening) > most // 4:  # TLS handshakes that do not end
            next(iter(self._opening)).cancel()
            return True
        return self._connections.make_room()

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
        """Free a connection and try again soon. The reader is removed: the socket stays ready to be read."""
        self._say(f"no connection can be accepted: {error.strerror or error}")
        if error.errno in _FULL:
            self._connections.make_room()
        self._loop.remove_reader(self._listening)
        self._retry = self._loop.call_later(_AGAIN_S, self._again)

    def _again(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listening, self._accept)

    def _say(self, what: str) -> None:
        now = self._connections.clock()
        if now - self._said >= _SAID_AGAIN_S:
            self._said = now
            _LOG.warning(what, **self._connections.figures()._asdict())
