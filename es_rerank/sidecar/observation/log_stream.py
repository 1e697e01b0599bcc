"""Standard error as the sidecar's log writes to it: a thread of its own writes, so that no request waits.

A pipe that nobody reads and a full disk hold up that thread alone. What does not fit into its queue is
dropped and counted.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable

_MOST_LINES = 10_000
"""Most entries that wait to be written. An entry of a request takes about 1 kB."""

_CLOSE_S = 2.0
"""Most seconds that the end of the process waits for the entries that are left."""

Entry = str | Callable[[], str]
"""A text, or a function that makes it in the thread that writes."""


class LogStream:
    """A stream for log entries. ``write`` never waits and never raises."""

    def __init__(self, most: int = _MOST_LINES) -> None:
        self._entries: queue.Queue[Entry | None] = queue.Queue(most)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """How many entries were dropped because the queue was full or they could not be written."""

    def write(self, entry: Entry) -> int:
        """Write a text, or what a function returns."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="es-rerank-log", daemon=True)
                    self._thread.start()
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self.dropped += 1
        return len(entry) if isinstance(entry, str) else 0

    def flush(self) -> None:
        """Do nothing: the thread writes each entry at once."""

    def close(self, within_s: float = _CLOSE_S) -> None:
        """Wait until all entries are written, at most ``within_s`` seconds."""
        if self._thread is None:
            return
        try:
            self._entries.put(None, timeout=within_s)
        except queue.Full:
            return
        self._thread.join(within_s)

    def _run(self) -> None:
        while (entry := self._entries.get()) is not None:
            try:
                _write(entry if isinstance(entry, str) else entry())
            except Exception:  # noqa: BLE001 a log that cannot be written ends nothing
                self.dropped += 1


def _write(text: str) -> None:
    """Write a text to standard error.

    The descriptor is written to, past the lock of ``sys.stderr``: Python would wait for that at its end, and
    abort. Raises OSError when the pipe is closed or the disk is full.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no standard error, or one that is no file
        sys.stderr.write(text)
        return
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[os.write(descriptor, left) :]
