"""The turns of MCP calls: how many run and wait, and that callers share them."""

from __future__ import annotations

import asyncio

import pytest

from es_rerank.caller import CALLER, Caller, during
from es_rerank.errors import OverloadError
from es_rerank.mcp_server.turns import Turns


class Calls:
    """Calls that run until they are ended, in the order in which they began."""

    def __init__(self, running: int, waiting: int) -> None:
        self.turns, self.began = Turns(running, waiting), list[str]()
        self.ends: dict[str, asyncio.Event] = {}

    async def _run(self, name: str) -> None:
        async with self.turns.turn():
            self.began.append(name)
            await self.ends[name].wait()

    async def call(self, *names: str) -> list[asyncio.Task[None]]:
        """Begin calls. The first letter of a name is the caller's."""
        tasks = []
        for name in names:
            self.ends[name] = asyncio.Event()
            with during(CALLER, Caller(name[0])):
                tasks.append(asyncio.create_task(self._run(name)))
            await settled()
        return tasks

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            await settled()


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_caller_with_many_calls_keeps_out_no_other() -> None:
    calls = Calls(running=2, waiting=3)
    many = await calls.call("a1", "a2", "a3", "a4", "a5", "a6")
    assert isinstance(many[5].exception(), OverloadError)  # it is one too many, and nobody else calls
    (other,) = await calls.call("b1")
    assert isinstance(many[4].exception(), OverloadError)  # it makes room
    await calls.end("a1")
    assert calls.began == ["a1", "a2", "b1"]
    await calls.end("b1", "a2", "a3", "a4")
    assert calls.began == ["a1", "a2", "b1", "a3", "a4"]
    await asyncio.gather(other, *many[:4])


async def test_callers_with_as_many_waiting_calls_are_served_in_their_order() -> None:
    calls = Calls(running=1, waiting=2)
    a1, b1, a2, c1 = await calls.call("a1", "b1", "a2", "c1")
    assert isinstance(c1.exception(), OverloadError)
    await calls.end("a1", "b1", "a2")
    await asyncio.gather(a1, b1, a2)
    assert calls.began == ["a1", "b1", "a2"]


@pytest.mark.parametrize("has_its_turn", [False, True])
async def test_a_call_that_is_cancelled_leaves_its_turn_to_the_next(*, has_its_turn: bool) -> None:
    calls = Calls(running=1, waiting=2)
    a1, b1, c1 = await calls.call("a1", "b1", "c1")
    if has_its_turn:
        a1.cancel()
        await asyncio.sleep(0)  # b1 has its turn now, and has not begun
    b1.cancel()
    await settled()
    assert calls.began == (["a1", "c1"] if has_its_turn else ["a1"])
    await calls.end("a1", "c1")
    assert calls.began == ["a1", "c1"]
    await c1
    await calls.call("d1")
    assert calls.began[-1] == "d1"
    await calls.end("d1")
