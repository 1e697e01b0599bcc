"""Remembers which documents an estimate has read, in a temporary file, so that the memory does not grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from es_rerank.errors import IngestError

_CACHE_KB = 16_384
"""Most memory that the file takes."""


class SeenIds:
    """The ids that were read, each with the hash of the last document that had it. A context manager.

    Raises IngestError when the temporary file cannot be written.
    """

    def __enter__(self) -> Self:
        # An empty name is a file without a name in the folder for temporary files: it goes with the process.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        with _told():
            self._file.execute("PRAGMA journal_mode = OFF")
            self._file.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            self._file.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, hash TEXT) WITHOUT ROWID")
            self._file.execute("BEGIN")  # one transaction, which ends with the file
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def among(self, hashes: Mapping[str, str]) -> dict[str, str]:
        """Return those ids that were read before, each with its hash then. ``hashes``: id to hash now."""
        found: dict[str, str] = {}
        with _told():
            for identifier in hashes:
                row = self._file.execute("SELECT hash FROM seen WHERE id = ?", (identifier,)).fetchone()
                if row is not None:
                    found[identifier] = row[0]
        return found

    def add(self, hashes: Mapping[str, str]) -> None:
        """Remember these ids with their hashes."""
        with _told():
            self._file.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", hashes.items())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IngestError(
            f"the ids cannot be kept in the folder for temporary files ({error}); make room or set TMPDIR, "
            "and repeat the run"
        ) from error
