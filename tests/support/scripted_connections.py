"""Connections of the sidecar by a script: what arrives, when, and what is answered. There is no network, and
the clock stands still until it is moved.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from es_rerank.sidecar.server.connections import Connections
from es_rerank.sidecar.server.progress import ConnectionLimits
from es_rerank.sidecar.server.protocol import Connection

LIMITS = ConnectionLimits(
    connections=40, header_s=10, body_s=20, body_bytes_per_s=1000, write_s=30, idle_s=1_000_000
)


class Transport(asyncio.Transport):
    """What asyncio gives a protocol. ``unread`` bytes of what was written wait for the caller."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 5000), "sockname": ("127.0.0.1", 80)})
        self.written = b""
        self.unread = 0
        self.closed = self.aborted = self.paused = self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Script:
    """Connections of one server, with a clock that stands still until it is moved."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits = LIMITS) -> None:
        self.now = 1000.0
        self.all = Connections(limits, lambda: self.now)
        self._config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off")
        self._config.load()
        self._state = ServerState()

    def protocol(self) -> Connection:
        """Return the protocol of a connection that has no transport yet."""
        return Connection(connections=self.all, config=self._config, server_state=self._state, app_state={})

    def connection(self, address: str = "192.0.2.1") -> tuple[Connection, Transport]:
        transport = Transport(address)
        made = self.protocol()
        made.connection_made(transport)
        return made, transport

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.all.look()


def parsed(written: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = written.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def refused(transport: Transport, status: int, kind: str) -> str:
    """Return the reason of an answer in Elasticsearch's format, after which the connection ends."""
    found, headers, body = parsed(transport.written)
    error = json.loads(body)
    assert (found, error["status"], error["error"]["type"]) == (status, status, kind)
    assert headers["connection"] == "close"
    assert headers["x-elastic-product"] == "Elasticsearch"
    assert int(headers["content-length"]) == len(body)
    assert transport.ended or transport.aborted
    return str(error["error"]["reason"])


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the number of bytes in the body."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    await answered(send, str(size).encode())


async def gone(receive: Receive) -> None:
    """Return when an application is told that its caller left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def answered(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def settle() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def begun(script: Script, length: int) -> tuple[Connection, Transport]:
    connection, transport = script.connection()
    connection.data_received(b"POST /work HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length)
    return connection, transport


def asked(script: Script, path: bytes, address: str = "192.0.2.1", method: bytes = b"GET") -> Transport:
    connection, transport = script.connection(address)
    connection.data_received(method + b" " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    return transport


@asynccontextmanager
async def ending_tasks() -> AsyncIterator[None]:
    """End the applications that a script leaves running."""
    yield
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
