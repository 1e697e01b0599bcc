"""Sends requests as raw bytes and reads the answers strictly, each on a connection of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import h11

from .attacks import Attack

GUARD_S = 90.0
"""Longest time to an answer: several times the longest deadline (``target.LONGEST_S``)."""

_UNFRAMED_S = 0.5
"""How long an answer to a request is awaited whose body may lack bytes. Then the caller closes its side."""

End = Literal["answered", "left", "cut", "late", "broken"]


@dataclass(frozen=True)
class Answer:
    """How an exchange ended, and the answer if there is one.

    "left": the caller left. "cut": the connection was closed without a whole answer. "late": no answer came
    in ``GUARD_S``. "broken": what came is not HTTP.
    """

    end: End
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def send(address: str, attack: Attack) -> Answer:
    """Send one request and return what came of it."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        return await asyncio.wait_for(_exchange(reader, writer, attack), GUARD_S)
    except TimeoutError:
        return Answer("late")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, attack: Attack) -> Answer:
    data = attack.data
    if attack.leaves == "after half":
        await _write(writer, data[: len(data) // 2])
        return Answer("left")
    writing = asyncio.ensure_future(_write(writer, data))
    if attack.leaves:
        await writing
        return Answer("left")
    try:
        reading = asyncio.ensure_future(_read(reader, attack.method))
        if not attack.framed:
            await asyncio.wait({reading}, timeout=_UNFRAMED_S)
            if not reading.done():
                writing.cancel()
                writer.transport.abort()
        return await reading
    finally:
        writing.cancel()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(OSError):
        writer.write(data)
        await writer.drain()


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    """Return the answer to a request with this method."""
    client = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(
        h11.Request(method="HEAD" if method == "HEAD" else "GET", target="/", headers=[("Host", "x")])
    )
    client.send(h11.EndOfMessage())
    status, headers, body = 0, {}, bytearray()
    try:
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(1 << 16)
                if not data and not status:
                    return Answer("cut")
                client.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer("answered", status, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                return Answer("cut", status, headers, bytes(body))
    except h11.RemoteProtocolError as error:
        short = "peer" in str(error) and "closed" in str(error)
        return Answer("cut" if short else "broken", status, headers, bytes(body))
    except OSError:
        return Answer("cut", status, headers, bytes(body))
