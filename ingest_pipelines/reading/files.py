"""A file that holds documents: where it lies, its name within its source, and how it is opened."""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from es_rerank.collection import Document, DocumentFormat
from es_rerank.errors import SourceError

from ..rejects import Reject
from .fields import Fields
from .meter import Meter
from .notes import Notes

STDIN = Path("-")
"""The source that is read from standard input."""

TABLES = (".csv", ".tsv")
"""Ends of the names of tables."""

MOST_CHARACTERS = 10_000_000
"""Most characters of one document's text. The text is stored twice, whole and as passages, each with a
vector: a longer one gives a request over Elasticsearch's default limit of 100 MB."""

MOST_RECORD = 64 * 1024 * 1024
"""Most bytes or characters of one record: 10,000,000 characters are 60 MB if all are ``\\uXXXX``."""

_ID_BYTES = 512
"""Elasticsearch's limit for an id, in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a source.

    ``name`` is its path relative to the source, with "/" on every system. ``fields`` says which fields of
    a record are its text, title, id and metadata. ``encoding`` is the encoding of text that the caller
    named; None: it is detected. ``elsewhere``: whether files to convert are left to another machine.
    """

    path: Path
    name: str
    fields: Fields = field(default_factory=Fields)
    encoding: str | None = None
    notes: Notes = field(default_factory=Notes)
    meter: Meter = field(default_factory=Meter)
    elsewhere: bool = False

    @property
    def suffix(self) -> str:
        """The end of the name that tells the kind, in lower case and without ``.gz``: ``.jsonl``."""
        return kind_of(self.path.name)

    @property
    def stem(self) -> str:
        """The last part of the name without the suffix: the title of a file that says none."""
        last = _encodable(self.name).rpartition("/")[2]
        return last[: len(last) - len(self.suffix) - (3 if last.lower().endswith(".gz") else 0)] or last

    @property
    def id(self) -> str:
        """The id of a document that is the whole file: its name, or a hash where that is too long."""
        encoded = _encodable(self.name).encode()
        return encoded.decode() if len(encoded) <= _ID_BYTES else hashlib.sha256(encoded).hexdigest()[:32]

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """Open the file for reading bytes; a file whose name ends in ``.gz`` is decompressed."""
        if self.path == STDIN:
            if sys.stdin is None:  # as the shell's <&- leaves it
                raise self.fault("it is closed; nothing can be read from it")
            return _stdin()
        if self.path.suffix.lower() == ".gz":
            return self._decompressed()
        return self.meter.open(self.path)

    @contextmanager
    def _decompressed(self) -> Iterator[IO[bytes]]:
        with self.meter.open(self.path) as stored, gzip.open(stored, "rb") as stream:
            yield cast("IO[bytes]", stream)

    def document(
        self,
        text: str,
        *,
        title: str = "",
        metadata: dict[str, Any] | None = None,
        format: DocumentFormat = "text",  # noqa: A002 the name of the document's field
    ) -> Document:
        """Return the document that is the whole file. Its metadata get ``path`` and ``file_type``."""
        of_file = {"path": _encodable(self.name), "file_type": self.suffix.removeprefix(".")}
        return Document(self.id, title, text, {**of_file, **(metadata or {})}, format)

    def at(self, path: Path, name: str) -> FoundFile:
        """Return another file that is read in the same way."""
        return replace(self, path=path, name=name)

    @property
    def shown(self) -> Path:
        """The path as messages name it."""
        return Path("standard input" if self.path == STDIN else _printable(_encodable(str(self.path))))

    def place(self, line: int | None = None) -> str:
        """Return how messages name the file, and a line of it."""
        return f"{self.shown}, line {line}" if line else str(self.shown)

    def fault(self, reason: str, line: int | None = None) -> SourceError:
        """Return the error that ends the reading of this file. It becomes the reject of the file."""
        return SourceError(f"{self.place(line)}: {reason}", path=str(self.path), line=line)

    def reject(self, reason: str, line: int | None = None) -> Reject:
        """Return the reject of this file. Reading the rejects file again reads this file again."""
        return self.rejected(self.fault(reason, line))

    def rejected(self, fault: SourceError) -> Reject:
        """Return the reject of this file for an error of ``fault``."""
        return Reject(
            fault.message,
            None,
            self.name,
            str(self.path if self.path == STDIN else self.path.absolute()),
            fault.line,
        )

    def tell(self, note: str) -> None:
        """Tell the person who reads this file something that is no fault."""
        self.notes.tell(self.place(), note)


Reader = Callable[[FoundFile], Iterator[Document | Reject]]
"""Reads the documents of one file. An error that it raises becomes a reject of the file."""


def _stdin() -> AbstractContextManager[IO[bytes]]:
    """Return a reader of stdin of our own: with Python's own one, a program that ends while a thread still
    waits for a line is aborted.
    """
    try:
        number = sys.stdin.fileno()
    except (OSError, ValueError):  # it is no file of the system, as in a program that has replaced it
        return nullcontext(sys.stdin.buffer)
    return open(number, "rb", closefd=False)


def _encodable(name: str) -> str:
    """Return a file name that UTF-8 can write: bytes of it that are no text become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _printable(name: str) -> str:
    """Return a file name without characters that would control the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name
    )


def kind_of(name: str) -> str:
    """Return the suffix of a file name that tells its kind: in lower case, without ``.gz``."""
    return Path(name.lower().removesuffix(".gz")).suffix
