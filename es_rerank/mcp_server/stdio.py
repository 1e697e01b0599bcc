"""MCP over stdin and stdout: the program that started this process is the caller."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from ..errors import RequestError
from .messages import read_message

_WAITING = 64
"""Most lines that were read and not taken yet."""


def run_stdio(server: Server[Any], close: Callable[[], Awaitable[None]]) -> None:
    """Serve until stdin ends. ``close`` is called at the end.

    Only the protocol is written to stdout: meanwhile, all else that writes to stdout goes to stderr. Raises
    RequestError when stdin or stdout is closed at the start, and the OSError of a stdout that cannot be
    written: BrokenPipeError when nobody reads it.
    """
    if sys.stdin is None or sys.stdout is None:
        raise RequestError(
            "the MCP server speaks on stdin and stdout, and one of them is closed; let a host start it, or "
            "use --http"
        )
    fault: OSError | None = None
    try:
        asyncio.run(_serve(server, close))
    except* OSError as group:
        fault = _first(group)
    if fault is not None:
        raise fault


def _first(group: ExceptionGroup[OSError]) -> OSError:
    """Return the first error of a group and of the groups in it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


async def _serve(server: Server[Any], close: Callable[[], Awaitable[None]]) -> None:
    try:
        lines = _Lines()
        async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
            lines.answer.set_result(outgoing.send)
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        await close()


class _Lines:
    """The lines of stdin that are messages. The others are answered, empty ones apart.

    The SDK's own reader would hold up an end that stdin does not cause, such as that of a host which reads
    stdout no more: no read can be cancelled, so a thread reads that nothing waits for. ``answer`` becomes
    what sends an answer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Callable[[SessionMessage], Awaitable[None]]] = self._loop.create_future()
        self._read: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        # A copy with a buffer of its own: the interpreter's end would wait for the buffer of sys.stdin.
        with suppress(RuntimeError):  # the event loop has ended before stdin
            with suppress(OSError), os.fdopen(os.dup(sys.stdin.fileno()), "rb") as stdin:
                for line in stdin:
                    self._hand_on(line.decode("utf-8", "replace"))
            self._hand_on(None)

    def _hand_on(self, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._read.put(line), self._loop).result()

    async def __aiter__(self) -> AsyncIterator[str]:
        while (line := await self._read.get()) is not None:
            if not line.strip():
                continue
            message, refusals = read_message(line)
            for refusal in refusals:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended
                    await (await self.answer)(SessionMessage(refusal))
            if not refusals:
                yield message
