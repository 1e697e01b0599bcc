"""Standard error as a log and messages are written to it."""

from __future__ import annotations

import sys
from typing import Any


class Stderr:
    """Standard error for a log and for messages. A closed pipe or a full disk fails nothing else.

    Whatever else is asked of it, such as whether it is a terminal, is that of ``sys.stderr``.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever a stream has
        return getattr(sys.stderr, name)

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
