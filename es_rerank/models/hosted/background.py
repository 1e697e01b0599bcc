"""An event loop in a thread of its own, so that a networked reranker is written once, asynchronously."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ...errors import ModelError
from ...forks import in_every_child

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]
"""Begins a piece of work; called in the loop, so that what is cancelled before is not even begun."""


class BackgroundLoop:
    """Runs coroutines of callers in any thread and any event loop, over the same connections.

    The thread starts with the first call. Connections belong to the loop that opened them, so that a client
    shared by several ``asyncio.run`` would use those of a loop that is gone; here they outlive the caller's
    loop. After ``close`` every call raises ModelError, and so do those that it finds waiting. A forked child
    gets a loop and a thread of its own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._closed = False
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        # A child leaves the parent's loop as it is. Closing it would take the parent's sockets from the
        # selector that both share.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Work[T]) -> T:
        """Return the result of ``work``; an interrupt of the wait cancels it."""
        future = self._submit(work)
        try:
            return future.result()
        finally:
            future.cancel()

    async def arun(self, work: Work[T]) -> T:
        """Return the result of ``work`` without blocking the caller's loop.

        Cancelling the call cancels ``work``.
        """
        return await asyncio.wrap_future(self._submit(work))

    def close(self, last: Work[None]) -> None:
        """Cancel what is waiting, run ``last`` and end the thread; without a call before, there is nothing to
        end.
        """
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(_end(last), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _submit(self, work: Work[T]) -> Future[T]:
        with self._lock:
            if self._closed:
                raise ModelError("the model is closed; load it again")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(self._unless_closed(work), self._loop)

    async def _unless_closed(self, work: Work[T]) -> T:
        """Return the result of ``work``; what ``close`` cancels is an error, for its caller was not
        cancelled.
        """
        try:
            return await work()
        except asyncio.CancelledError:
            if self._closed:
                raise ModelError(
                    "the model was closed while passages were waiting; keep it open until its last call has "
                    "returned"
                ) from None
            raise


async def _end(last: Work[None]) -> None:
    """Cancel every other task of the loop, wait for them, and run ``last``."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await last()
