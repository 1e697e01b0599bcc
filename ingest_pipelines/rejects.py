"""Rejects are documents that could not be indexed. A file keeps them until somebody corrects them.

A rejects file is JSONL: one object per document, with the keys ``id``, ``reason``, ``file``, ``line`` and
``document``. ``document`` is the source record. Where the source line was not JSON, it is that line as a
string. It is null where a whole file cannot be read. The file is itself a source: correct the documents in
it, and the files that it names, and ingest it.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, NamedTuple

from es_rerank.collection import Document
from es_rerank.errors import IngestError, SettingsError


class Reject(NamedTuple):
    """A document that could not be indexed, and the reason.

    ``file`` and ``line`` (from 1) say where the document was read. They are None for a document that a Python
    program passed in. ``document`` is None where a whole file cannot be read, or the rest of it: ``id`` is
    then its name within its source.
    """

    reason: str
    document: dict[str, Any] | str | None
    id: str | None = None
    file: str | None = None
    line: int | None = None


def rejected(document: Document, reason: str) -> Reject:
    """Return the reject for a document that was read without an error but cannot be indexed."""
    record = {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": document.metadata,
        **({"format": document.format} if document.format != "text" else {}),
    }
    return Reject(reason, record, document.id)


def is_reject(record: dict[str, Any]) -> bool:
    """Return whether a JSON object is a line of a rejects file: it has exactly the keys of such a line."""
    return record.keys() == set(Reject._fields)


def _may_be_overwritten(path: Path) -> bool:
    """Return whether a file does not exist yet, is empty or no regular file, or begins with a reject."""
    with suppress(OSError, ValueError, RecursionError):
        if not path.is_file():
            return True
        with path.open("rb") as file:
            first = json.loads(file.readline(_MOST_LINE) or json.dumps(Reject("", None)._asdict()))
        return isinstance(first, dict) and is_reject(first)
    return False


_MOST_LINE = 1 << 27
"""Most bytes of a line that is looked at."""


class RejectsFile:
    """Writes rejects to a file. The file is created with the first reject.

    A file of rejects at ``path`` is overwritten. Without ``path`` the file is ``<index>.rejects.jsonl`` in
    the working folder. If that exists, it is the first of ``<index>.rejects-2.jsonl`` and so on that does not
    exist, so that the files of earlier runs stay. After the first reject, the attribute ``path`` is the path
    of the file.
    """

    def __init__(self, index: str, path: Path | None = None) -> None:
        """Raise SettingsError where ``path`` is a file that holds something else."""
        if path is not None and not _may_be_overwritten(path):
            raise SettingsError(
                f"--rejects {path} exists and holds no rejects, so it is not overwritten; name another file"
            )
        self._index = index
        self._named = path
        self._file: IO[str] | None = None
        self.path: Path | None = None

    def write(self, reject: Reject) -> None:
        """Append one reject. It is in the file when this returns, so an interrupted run loses no reject.

        Raises IngestError when the file cannot be written.
        """
        # A document may be rejected because JSON in UTF-8 cannot hold it. Therefore the text is escaped to
        # ASCII, and a value of a foreign type is written as its str().
        try:
            line = json.dumps(reject._asdict(), default=_text, allow_nan=False) + "\n"
        except (ValueError, TypeError, RecursionError):
            line = json.dumps(reject._replace(document=_writable(reject.document))._asdict()) + "\n"
        try:
            file = self._file or self._open()
            file.write(line)
            file.flush()
        except OSError as error:
            raise IngestError(
                f"the file of rejects {self.path} cannot be written ({error.strerror}), so the run ends; "
                "repeat it with another --rejects: it skips what is indexed, and meets the others again"
            ) from error

    def close(self) -> None:
        """Close the file if there is one."""
        if self._file:
            with suppress(OSError):  # ``write`` has told it; the rest of its line is still in the buffer
                self._file.close()

    def _open(self) -> IO[str]:
        self._file = self._unused() if self._named is None else self._opened(self._named, "w")
        return self._file

    def _unused(self) -> IO[str]:
        for ending in chain([""], (f"-{number}" for number in count(2))):
            with suppress(FileExistsError):  # another run may make a file at the same time
                return self._opened(Path(f"{self._index}.rejects{ending}.jsonl"), "x")
        raise AssertionError("there is always a next number")

    def _opened(self, path: Path, mode: str) -> IO[str]:
        self.path = path
        return path.open(mode, encoding="utf-8")


_DEEPEST = 200
_MOST_BITS = 13_000
"""Python does not write a whole number of more than 4,300 digits, except in hexadecimal."""


def _writable(value: Any, depth: int = _DEEPEST) -> Any:  # noqa: ANN401 any value
    """Return a value as JSON can hold it: what is nested deeper than ``_DEEPEST`` levels is ``…``."""
    if isinstance(value, dict | list | tuple) and depth < 0:
        return "…"
    if isinstance(value, dict):
        return {_text(key): _writable(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(inner, depth - 1) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value.bit_length() <= _MOST_BITS else hex(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | bool | float) else _text(value)


def _text(value: Any) -> str:  # noqa: ANN401 any value
    """Return what an object says of itself, or its type where it fails to."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 an object of the caller's may fail in any way
        return hex(value) if isinstance(value, int) else f"<{type(value).__qualname__}>"
