"""Ends work in a thread at a deadline, or when its caller has left."""

from __future__ import annotations

import time
from typing import Self


class TimeUpError(Exception):
    """Raised by ``Watch`` when the work must end."""


class Watch:
    """Ends work in a thread at a deadline, or when nobody waits for the result any more.

    ``deadline`` is absolute, in seconds of ``time.monotonic()``. The work must call the watch often. A
    ``with`` block ends the work when it is left: if the caller is cancelled, the thread would go on.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._deadline = deadline
        self._ended = False

    def end(self) -> None:
        """Make the work end at its next call of the watch. Any thread may call this."""
        self._ended = True

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the work."""
        self.end()

    def __call__(self) -> None:
        """Return while the work may go on. Raises TimeUpError when it must end."""
        if self._ended or (self._deadline is not None and time.monotonic() >= self._deadline):
            raise TimeUpError
