"""Runs ``es-rerank serve`` and measures how long each callback of its event loop keeps it busy.

    python tests/support/loop_times.py --port 8080 --elasticsearch-url http://localhost:9200

takes the arguments of ``es-rerank serve``. SIGUSR1 prints the longest callbacks so far as one line of JSON to
standard output, SIGUSR2 prints them and starts anew, and the end of the server prints them too. With the
variable ``LOOP_TIMES_FILE`` the lines are appended to that file instead. With ``LOOP_TIMES_STACKS=0`` nobody
looks at the thread: in Python 3.11 a look at the frames of another thread may end the process (seen once in
some hundred thousand requests).

``largest`` lists the longest callbacks: ``cpu_ms`` is the CPU time of the event loop's thread (what matters
on a busy machine), ``wall_ms`` the time that passed, ``task`` the coroutine, ``from`` and ``to`` where it was
before and where it waited after, and ``stack`` where a look at the thread found it. A call that holds the
interpreter's lock, such as ``json.loads``, cannot be looked into: the look comes right after it.
``callbacks`` counts all, ``over_50_ms`` those with more CPU time. ``rss_mb`` is the resident memory.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from asyncio import events
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

_KEPT = 20
"""How many of the longest callbacks are told."""

_TOLD_S = 0.002
"""Callbacks with less CPU time than this are counted only, in seconds."""

_LONG_S = 0.05
"""The aim: no callback takes more CPU time, in seconds."""

_LOOK_S = 0.01
"""Time between two looks at the event loop's thread, in seconds."""

_ROOT = str(Path(__file__).parents[2])


class LoopTimes:
    """The CPU time of each callback of the event loop, and the longest of them."""

    def __init__(self) -> None:
        self._number = itertools.count()
        self._began: float | None = None
        self._thread = threading.main_thread().ident
        self._stacks: dict[str, int] = {}
        self._after: Callable[[], None] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all callbacks so far."""
        self._longest: list[tuple[float, int, dict[str, Any]]] = []
        self._callbacks = self._over = 0

    def install(self) -> None:
        """Measure every callback of every event loop from now on."""
        run: Callable[[events.Handle], None] = events.Handle._run  # noqa: SLF001 asyncio has no other hook

        def measured(handle: events.Handle) -> None:
            task = getattr(getattr(handle, "_callback", None), "__self__", None)
            before = _place(task) if isinstance(task, asyncio.Task) else ""
            self._stacks = {}
            self._began, cpu = time.perf_counter(), time.thread_time()
            try:
                run(handle)
            finally:
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - self._began
                self._began = None
                self._note(handle, task, before, cpu, wall)
            if (after := self._after) is not None:
                self._after = None
                after()

        events.Handle._run = measured  # type: ignore[assignment, method-assign] # noqa: SLF001
        if os.environ.get("LOOP_TIMES_STACKS") != "0":
            threading.Thread(target=self._look, daemon=True).start()

    def _note(
        self,
        handle: events.Handle,
        task: object,
        before: str,
        cpu: float,
        wall: float,
    ) -> None:
        self._callbacks += 1
        self._over += cpu > _LONG_S
        if cpu < _TOLD_S or (len(self._longest) == _KEPT and cpu <= self._longest[0][0]):
            return
        named = isinstance(task, asyncio.Task)
        found = {
            "cpu_ms": round(cpu * 1000, 1),
            "wall_ms": round(wall * 1000, 1),
            "task": _name(task) if named else repr(getattr(handle, "_callback", None))[:200],
            "from": before,
            "to": _place(task) if named else "",
            "stack": max(self._stacks, key=self._stacks.__getitem__, default=""),
        }
        put = heapq.heappush if len(self._longest) < _KEPT else heapq.heappushpop
        put(self._longest, (cpu, next(self._number), found))

    def after_this(self, call: Callable[[], None]) -> None:
        """Call a function after the callback that runs, so that it is counted; at once if none runs."""
        if self._began is None:
            call()
        else:
            self._after = call

    def _look(self) -> None:
        """Look at the event loop's thread now and then, while it is in one callback for long."""
        while True:
            time.sleep(_LOOK_S)
            began, stacks = self._began, self._stacks
            if began is None or time.perf_counter() - began < _LOOK_S or self._thread is None:
                continue
            where = _stack(sys._current_frames().get(self._thread))  # noqa: SLF001
            stacks[where] = stacks.get(where, 0) + 1

    def report(self) -> str:
        """Return what was measured so far, as one line of JSON."""
        longest = [found for _, _, found in sorted(self._longest, reverse=True, key=lambda entry: entry[:2])]
        return json.dumps(
            {
                "callbacks": self._callbacks,
                "over_50_ms": self._over,
                "largest_cpu_ms": longest[0]["cpu_ms"] if longest else 0.0,
                "rss_mb": round(psutil.Process().memory_info().rss / 1e6, 1),
                "largest": longest,
            }
        )


def _name(task: Any) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", repr(coroutine)[:200])


def _place(task: Any) -> str:
    """Return where the innermost coroutine of a task waits, with the lines of this project that led there."""
    coroutine, lines = task.get_coro(), []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            lines.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return _shown(lines)


def _stack(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return _shown([(part.filename, part.lineno, part.name) for part in traceback.extract_stack(frame)])


def _shown(lines: list[tuple[str, int | None, str]]) -> str:
    ours = [line for line in lines if line[0].startswith(_ROOT) and ".venv" not in line[0]]
    ours = [line for line in ours if line[0] != __file__]
    shown = ours[-3:] + [line for line in lines[-1:] if line not in ours]
    return " > ".join(f"{os.path.relpath(file, _ROOT)}:{number} {name}" for file, number, name in shown)


def main() -> None:
    """Run ``es-rerank serve`` with the arguments of this command."""
    from es_rerank.cli.app import main as es_rerank  # noqa: PLC0415 measured from here on

    times = LoopTimes()
    times.install()

    def tell(number: int = 0) -> None:
        line = times.report() + "\n"
        if path := os.environ.get("LOOP_TIMES_FILE"):
            with Path(path).open("a") as file:
                file.write(line)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()
        if number == signal.SIGUSR2:
            times.clear()

    def asked(number: int, _frame: FrameType | None) -> None:
        times.after_this(lambda: tell(number))

    signal.signal(signal.SIGUSR1, asked)
    signal.signal(signal.SIGUSR2, asked)
    sys.argv[1:1] = ["serve"]
    try:
        es_rerank()
    finally:
        tell()


if __name__ == "__main__":
    main()
