"""MCP over stdin and stdout: the program that started this process is the caller."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server


def run_stdio(server: Server[Any], close: Callable[[], Awaitable[None]]) -> None:
    """Serve until stdin ends. ``close`` is called at the end.

    Only the protocol is written to stdout: meanwhile, all else that writes to stdout goes to stderr. Raises
    BrokenPipeError when nobody reads stdout.
    """
    with _ended_by_signals():
        try:
            asyncio.run(_serve(server, close))
        except* BrokenPipeError as group:
            raise BrokenPipeError from group


async def _serve(server: Server[Any], close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        await close()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGINT end the process at once, as SIGTERM does: nothing is left to be written, and Python's own
    handler would wait for the thread that reads stdin.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
