"""Tells which share of the sources was read, in bytes of their files as they lie on the disk."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


class Meter:
    """Counts the bytes that are read of files, one file after the other. Other threads may ask ``share``.

    A file that is read twice, or by another process, counts once, at the latest when the next one begins.
    """

    def __init__(self) -> None:
        self._total: int | None = None
        self._before = self._size = self._here = 0

    def expect(self, files: Iterable[Path]) -> None:
        """Say which files will be read. A file that is no regular one, as a pipe, has no known end."""
        sizes = [_size(path) for path in files]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)

    def begin(self, path: Path) -> None:
        """Say that the reading of a file begins; that of the one before it has ended."""
        self._before += self._size
        self._size, self._here = _size(path) or 0, 0

    def open(self, path: Path) -> io.BufferedReader:
        """Open a file whose bytes are counted."""
        return io.BufferedReader(_Counted(self, path))

    def count(self, read: int | None) -> None:
        """Count bytes of the present file."""
        self._here += read or 0

    def share(self) -> float | None:
        """Return the share that was read, from 0 to 1; None if it is not known how much there is."""
        if not self._total:
            return None
        return min((self._before + min(self._here, self._size)) / self._total, 1.0)


class _Counted(io.FileIO):
    def __init__(self, meter: Meter, path: Path) -> None:
        super().__init__(path, "rb")
        self._meter = meter

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 any buffer
        read = super().readinto(buffer)
        self._meter.count(read)
        return read

    def readall(self) -> bytes:
        content = super().readall()
        self._meter.count(len(content))
        return content


def _size(path: Path) -> int | None:
    with suppress(OSError):
        if path.is_file():
            return path.stat().st_size
    return None
