"""The end of a long command on a signal: the first lets it finish what it does, a second ends it at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ..addresses import masked_in
from ..errors import EsRerankError, UnreachableError
from .output import as_known

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, the end of a service or container, and a terminal that is closed."""

_ONE_S = 1.0
"""Signals within so many seconds are one: ``timeout`` and ``uv run`` send theirs twice."""

_CURSOR = "\x1b[?25h" if sys.platform != "win32" else ""
"""Shows the cursor, which a progress bar hides."""


class Stopping:
    """What a signal does. ``signal`` is the first one that came, None before that; ``came`` is its moment of
    ``time.monotonic()``.
    """

    def __init__(self, finishing: str, at_once: str) -> None:
        self.signal: int | None = None
        self.came = 0.0
        self._stop: Callable[[], None] | None = None
        self._finishing, self._at_once = finishing, at_once

    @property
    def exit_code(self) -> int:
        """The exit code of a command that a signal ended, as shells give it."""
        return 128 + (self.signal or 0)

    def by(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` when a signal comes. Before that, a signal ends the command by SystemExit."""
        self._stop = stop

    def arrived(self, number: int, _frame: FrameType | None = None) -> None:
        """Do what the signal of this number asks for."""
        if self.signal is not None:
            if time.monotonic() < self.came + _ONE_S:
                return
            _say(self._at_once)
            os._exit(128 + number)
        self.signal, self.came = number, time.monotonic()
        if self._stop is None:
            raise SystemExit(self.exit_code)
        _say(self._finishing)
        self._stop()


@contextmanager
def stoppable(finishing: str, at_once: str) -> Iterator[Stopping]:
    """Handle SIGINT, SIGTERM and SIGHUP inside the block, each unless it is ignored, as after ``nohup``.

    ``finishing`` and ``at_once`` are what is said on stderr at the first and at the second signal.
    """
    stopping = Stopping(finishing, at_once)
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stopping.arrived) for number in handled}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_as_exit() -> Iterator[None]:
    """End the block on SIGTERM and SIGHUP as on Ctrl-C: processes that were started end, and files that were
    made are removed. A signal that is ignored, as SIGHUP after ``nohup``, stays so.

    What handled the signals before handles them afterwards, in the process that ran the command in itself.
    """
    ends = [number for number in _SIGNALS if number != signal.SIGINT]
    handled = [number for number in ends if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _leave) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_way_on(error: Exception) -> EsRerankError:
    """Return ``error`` as ``as_known`` does. That of an Elasticsearch which is busy or away names the command
    that goes on.
    """
    from ingest_pipelines.patience import BUSY

    known = as_known(error)
    busy = getattr(error, "status_code", None) in BUSY
    if known is not error and (busy or isinstance(known, UnreachableError)):
        known.message += f"; when it answers again, go on with: {again()}"
        known.args = (known.message,)
    return known


def again() -> str:
    """Return the command that was given, to be given again. A password in it is masked."""
    return masked_in(shlex.join(["es-rerank", *sys.argv[1:]]))


_OF_RECORDS = (
    "--text-field",
    "--title-field",
    "--id-field",
    "--metadata",
    "--encoding",
    "--embedder",
    "--tokenizer",
    "--passage-tokens",
    "--overlap-tokens",
    "--elasticsearch-url",
)
"""Options of an ingest, each with a value, that decide what a record becomes."""


def ingest_of(index: str, source: str) -> str:
    """Return the command that ingests a further source as this one was. A password in it is masked."""
    kept: list[str] = []
    words = iter(sys.argv[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in _OF_RECORDS:
            kept += [word] if equals else [word, next(words, "")]
    return masked_in(shlex.join(["es-rerank", "ingest", index, source, *kept]))


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _say(text: str) -> None:
    """Write a line to stderr without its buffer, which the program may be writing into."""
    with suppress(OSError):
        shown = _CURSOR if os.isatty(2) else ""
        os.write(2, f"{shown}{text}\n".encode())
