"""Standard error as a log writes to it."""

from __future__ import annotations

import sys


class Stderr:
    """Standard error for the log. A closed pipe or a full disk does not make a request fail."""

    def write(self, text: str) -> int:
        """Write a text. The text is lost if stderr cannot be written."""
        try:
            return sys.stderr.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write the buffered text. It is lost if stderr cannot be written."""
        try:
            sys.stderr.flush()
        except OSError:
            return
