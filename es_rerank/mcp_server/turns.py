"""Bounds how many calls run and how many wait, with fair shares of callers (see ``caller.CALLER``)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..caller import CALLER
from ..errors import OverloadError


class Turns:
    """At most ``running`` calls run at a time, and at most ``waiting`` wait.

    The next turn is that of the caller of whom the fewest calls run, and of these the one that has waited
    longest. Where too many wait, the newest call of the caller with the most waiting ones is refused, so that
    one caller's calls do not keep out another's.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._most_running, self._most_waiting = running, waiting
        self._running: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises OverloadError when too many wait."""
        caller = CALLER.get().name
        if self._running.total() < self._most_running:
            self._running[caller] += 1
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._end(caller)

    async def _wait(self, caller: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = caller, turn
        self._waiting.append(mine)
        if len(self._waiting) > self._most_waiting:
            self._refuse_one()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._end(caller)  # it had got its turn already
            raise
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    def _refuse_one(self) -> None:
        waiting = Counter(caller for caller, _ in self._waiting)
        newest = max(range(len(self._waiting)), key=lambda place: (waiting[self._waiting[place][0]], place))
        _, turn = self._waiting.pop(newest)
        turn.set_exception(OverloadError(f"{self._most_waiting} calls wait already; call again in a second"))

    def _end(self, caller: str) -> None:
        self._running[caller] -= 1
        self._running += Counter()  # without those of whom none runs
        # A call that was cancelled may stand here still.
        waiting = [each for each in self._waiting if not each[1].done()]
        if waiting:
            following = min(waiting, key=lambda each: self._running[each[0]])  # the first of several
            self._waiting.remove(following)
            self._running[following[0]] += 1
            following[1].set_result(None)
