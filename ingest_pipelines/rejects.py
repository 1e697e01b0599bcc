"""Documents that could not be indexed: what they are, and the file that keeps them until they are mended.

A rejects file is JSONL, one object per document with the keys ``id``, ``reason``, ``file``, ``line`` and ``document``.
``document`` is the source record, or the source line as a string where the line was not JSON. The file is itself a
source: mend the documents in place and ingest it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, NamedTuple

from es_rerank.collection import Document


class Reject(NamedTuple):
    """A document that could not be indexed. ``file`` and ``line`` (from 1) are None for a document that came from Python."""

    reason: str
    document: dict[str, Any] | str
    id: str | None = None
    file: str | None = None
    line: int | None = None


def rejected(document: Document, reason: str) -> Reject:
    """Return the reject of a document that was read well but cannot be indexed."""
    record = {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": document.metadata,
    }
    return Reject(reason, record, document.id)


def is_reject(record: dict[str, Any]) -> bool:
    """Whether a record is a line of a rejects file."""
    return record.keys() == set(Reject._fields)


class RejectsFile:
    """Writes rejects; the file is made at the first one, so that its presence means that there is one.

    ``path`` is replaced when it exists; without it the name is ``<index>.rejects.jsonl`` in the working folder, or the
    first free of ``<index>.rejects-2.jsonl`` and so on, so that earlier rejects stay.
    """

    def __init__(self, index: str, path: Path | None = None) -> None:
        self._index = index
        self._named = path
        self._file: IO[str] | None = None
        self.path: Path | None = None

    def write(self, reject: Reject) -> None:
        """Append one reject; it is on disk when this returns, so that an interrupted run keeps what it refused."""
        file = self._file or self._open()
        # Escaped and with a stand-in for foreign objects: what JSON in UTF-8 cannot hold is one of the reasons for refusal.
        file.write(json.dumps(reject._asdict(), default=str) + "\n")
        file.flush()

    def close(self) -> None:
        """Close the file where there is one."""
        if self._file:
            self._file.close()

    def _open(self) -> IO[str]:
        self.path = self._named or self._free()
        self._file = self.path.open("w" if self._named else "x", encoding="utf-8")
        return self._file

    def _free(self) -> Path:
        path, number = Path(f"{self._index}.rejects.jsonl"), 1
        while path.exists():
            number += 1
            path = Path(f"{self._index}.rejects-{number}.jsonl")
        return path
