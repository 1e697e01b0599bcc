"""Runs long pieces of work in threads of their own, so that an event loop serves other callers meanwhile.

A piece of Python code gives the interpreter's lock back every few milliseconds, but one call of a function in
C, such as ``json.loads``, keeps it to its end. So what is given to these threads is bounded, and what is long
is cut into several calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from .forks import in_every_child

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 2
"""Threads for such work. They are not those of ``asyncio.to_thread``, which models keep busy for seconds."""

LARGE_VALUES = 2_000
"""A JSON value with more values in it counts as large: to write 2,000 takes about a millisecond."""

LARGE_CHARACTERS = 1 << 17
"""A text, or a JSON value whose texts are longer together, counts as large."""


class _Threads:
    """The threads of this process. A forked child has none of its parent's, and makes its own."""

    def __init__(self) -> None:
        self.forget()
        in_every_child(self.forget)

    def forget(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def get(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, "es-rerank-off-loop")
        return self._pool


_threads = _Threads()


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``work``, run in a thread with the context variables of the caller.

    If the caller is cancelled before a thread is free, the work is not done at all. A piece that has begun
    ends in its own time, so it must be short.
    """
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _threads.get(), lambda: context.run(work, *args, **kwargs)
    )


async def off_loop_if(large: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: FBT001 what decides comes first
    """Return the result of ``work``: what is ``large`` runs as in ``off_loop``, all else at once."""
    return await off_loop(work, *args, **kwargs) if large else work(*args, **kwargs)


def is_large(value: Any) -> bool:  # noqa: ANN401 any JSON value
    """Whether a JSON value is so large that work on it may take over a millisecond.

    Looks at ``LARGE_VALUES`` values at most.
    """
    waiting, seen, characters = [value], 0, 0
    while waiting:
        part = waiting.pop()
        if isinstance(part, (str, bytes)):
            characters += len(part)
        elif isinstance(part, (dict, list, tuple)):
            seen += len(part)
            if seen > LARGE_VALUES:
                return True
            waiting.extend(part.values() if isinstance(part, dict) else part)
        if characters > LARGE_CHARACTERS:
            return True
    return False
