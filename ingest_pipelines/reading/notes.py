"""What a person is told while sources are read: what was guessed, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

OnNote = Callable[[str], None]

_MOST = 20
"""Most different notes that are told one by one; there may be a million files."""


class Notes:
    """Tells each note with the first file that it concerns, and at the end how many further files there were.

    It also keeps which of the fields that the caller named were found in any record.
    """

    def __init__(self, on_note: OnNote = lambda _note: None) -> None:
        self._on_note = on_note
        self._files: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._others = 0
        self.found: set[str] = set()

    def tell(self, place: str, note: str) -> None:
        """Tell a note about the file ``place``."""
        if self._last.get(note) == place:
            return
        if note not in self._files:
            if len(self._files) == _MOST:
                self._others += 1
                return
            self._on_note(f"{place}: {note}")
        self._last[note] = place
        self._files[note] += 1

    def close(self, named: Iterable[str]) -> None:
        """Tell what is known at the end only. ``named`` are the fields that the caller named."""
        for note, files in self._files.items():
            if files > 1:
                self._on_note(f"{files - 1} more files: {note}")
        if self._others:
            self._on_note(f"{self._others} more notes about files are left out")
        for name in dict.fromkeys(named):
            if name not in self.found:
                self._on_note(f"no record has the field {name}")
