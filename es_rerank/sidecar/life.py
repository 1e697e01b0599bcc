"""The web server of the sidecar: uvicorn, with bounded connections, and an end that answers everybody.

On SIGTERM ``/readyz`` answers 503 while the sidecar serves on, for ``delay_s`` seconds, so that load
balancers see it. SIGINT skips this. Then nobody can connect any more, new requests on open connections are
answered with 503, and running ones may take ``drain_s`` seconds. What still runs then is answered with 503;
an answer that has begun is cut, so that the caller sees it. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from ..defaults import DRAIN_DELAY_MS, DRAIN_MS
from ..errors import EsRerankError, outcome_of
from .server.connections import Connections
from .server.listener import Listener
from .server.progress import ConnectionLimits
from .server.protocol import Connection

_LOOK_S = 0.05
"""How often a stopping sidecar looks whether requests are still running, in seconds."""

_FLUSH_S = 1.0
"""How long the last answers may take to be read, in seconds."""

_CLOSE_S = 2.0
"""How long the process may take to end after its last answer, in seconds: a thread that loads or runs a model
cannot be ended, and Python waits for it."""

END_S = _FLUSH_S + _CLOSE_S
"""How long a stopping process may take beyond both times of ``Drain``, in seconds."""


@dataclass(frozen=True, slots=True)
class Drain:
    """How long a stopping sidecar serves on, and how long it then waits for running requests, in seconds."""

    delay_s: float = DRAIN_DELAY_MS / 1000
    drain_s: float = DRAIN_MS / 1000


class Served(Protocol):
    """What the web server and the application that it serves tell each other.

    ``connections``: those of the web server. ``stopping``: whether it ends soon. ``load_error``: why the
    application will never serve, None if it does.
    """

    connections: Connections | None
    stopping: bool
    load_error: EsRerankError | None


class Server(uvicorn.Server):
    """Serves an application until a signal, or until the models of ``service`` cannot be loaded.

    ``tls``: with it, connections are encrypted.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Served,
        limits: ConnectionLimits,
        drain: Drain,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                log_config=None,
                log_level="error",  # uvicorn warns of each request that is not HTTP
                access_log=False,
                server_header=False,
                timeout_keep_alive=limits.idle_s,  # type: ignore[arg-type] # loop.call_later takes parts of a second
                h11_max_incomplete_event_size=limits.header_bytes,
            )
        )
        self._service = service
        self._limits = limits
        self._drain = drain
        self._tls = tls
        self._signal: int | None = None
        self._end: threading.Timer | None = None
        self._listeners: list[Listener] = []
        self.connections = service.connections = Connections(limits)

    def run(self, sockets: list[socket.socket] | None = None, *, last: bool = False) -> None:
        """Serve on listening sockets until the end.

        ``last``: the process has nothing to do afterwards, so that it may be ended although threads still
        run. Raises the error of models that cannot be loaded.
        """
        try:
            # Of all loops, this one can wait for a listening socket on every system.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self.serve(sockets))
        finally:
            if self._end is not None and not last:
                self._end.cancel()
        if self._service.load_error is not None:
            raise self._service.load_error

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Begin to load the models, and listen."""
        await self.lifespan.startup()

        def protocol() -> asyncio.Protocol:
            return Connection(
                connections=self.connections,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        self.servers = []
        self._listeners = [
            Listener(listening, self.connections, protocol, self._tls) for listening in sockets or ()
        ]
        self._watching = asyncio.create_task(self._watch())
        self.started = True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.look_s)
            self.connections.look()

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server should end. uvicorn asks ten times a second."""
        return await super().on_tick(counter) or self._service.load_error is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 they are with the listeners
        """Answer what runs, refuse what comes, and close everything."""
        self._service.stopping = self.connections.leaving = True
        if self._signal == signal.SIGTERM:
            await asyncio.sleep(self._drain.delay_s)
        failed = self._service.load_error is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if failed else self._drain.drain_s)
        for listener in self._listeners:
            await listener.close(max(0.0, until - loop.time()))
        self.connections.stopping = True
        await _while(self.connections.running, until - loop.time())
        self.connections.end()
        await _while(lambda: bool(self.connections.open), _FLUSH_S)
        self._watching.cancel()
        for connection in list(self.connections.open):
            connection.drop()
        error = self._service.load_error
        self._end = _end_soon(0 if error is None else outcome_of(error).exit_code)
        await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. With uvicorn's own, the signal would end the process, not code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 signal's own arguments
        """Begin to stop; at the second signal, end at once."""
        if self._signal is not None:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._signal = sig
        self._service.stopping = self.connections.leaving = True
        self.should_exit = True


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def _while(holds: Callable[[], bool], most_s: float) -> None:
    """Wait until something holds no more, at most ``most_s`` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + most_s
    while holds() and loop.time() < deadline:  # noqa: ASYNC110 many things change it
        await asyncio.sleep(_LOOK_S)


def _end_soon(code: int) -> threading.Timer:
    """End the process with ``code`` in a few seconds, if threads that cannot be ended keep it."""
    timer = threading.Timer(_CLOSE_S, os._exit, [code])
    timer.daemon = True
    timer.start()
    return timer
