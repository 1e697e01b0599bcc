"""What a converted file gives, and the error of one that cannot be converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Converted(NamedTuple):
    """A file as Markdown. ``title`` is empty when the file says none. ``metadata`` is what it says of itself.
    ``notes`` are for the person who has it read.
    """

    text: str
    title: str
    metadata: dict[str, Any]
    notes: Sequence[str] = ()


class UnreadableError(Exception):
    """The file cannot be converted. The message says why, and where in the file."""


MOST_CHARACTERS = 10_000_000
"""Most characters of text: the pipeline indexes no longer document."""

OnPage = Callable[[int], None]
"""Is called with the number of each page (from 1) before it is read."""
