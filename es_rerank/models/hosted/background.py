"""An event loop in its own thread: a reranker over HTTP is written once, as async code, for all callers."""

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
"""A function that creates the coroutine. The event loop calls it, so work that is cancelled early never
starts."""


class BackgroundLoop:
    """Runs coroutines for callers in any thread and any event loop, over the same connections.

    The thread starts with the first call. A connection belongs to the event loop that opened it. A client
    that is shared by several ``asyncio.run`` would use connections of a closed loop; here the connections
    outlive the caller's loop. After ``close`` every call raises ModelError, and so does every call that was
    waiting. A forked child gets its own loop and its own thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._closed = False
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        # A child does not close the parent's loop: that would remove the parent's sockets from the selector,
        # which both processes share.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Work[T]) -> T:
        """Return the result of ``work``; an interrupt while waiting cancels ``work``."""
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
        """Cancel the calls that wait, run ``last`` and end the thread. Without a call before, nothing is
        done.
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
        """Return the result of ``work``. When ``close`` cancels it, raise ModelError: the caller did not
        cancel the call.
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
