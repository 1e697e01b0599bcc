"""A file that holds documents: where it lies, its name within its source, and how it is opened."""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from es_rerank.collection import Document, DocumentFormat

from ..rejects import Reject
from .fields import Fields

STDIN = Path("-")
"""The source that is read from standard input."""

_ID_BYTES = 512
"""Elasticsearch's limit for an id, in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a source.

    ``name`` is its path relative to the source, with "/" on every system. ``fields`` says which fields of
    a record are its text, title, id and metadata. ``encoding`` is the encoding of text that the caller
    named; None: it is detected.
    """

    path: Path
    name: str
    fields: Fields = field(default_factory=Fields)
    encoding: str | None = None

    @property
    def suffix(self) -> str:
        """The end of the name that tells the kind, in lower case and without ``.gz``: ``.jsonl``."""
        return kind_of(self.path.name)

    @property
    def id(self) -> str:
        """The id of a document that is the whole file: its name, or a hash where that is too long."""
        encoded = self.name.encode("utf-8", "backslashreplace")
        name = encoded.decode()
        return name if len(encoded) <= _ID_BYTES else hashlib.sha256(encoded).hexdigest()[:32]

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """Open the file for reading bytes; a file whose name ends in ``.gz`` is decompressed."""
        if self.path == STDIN:
            return nullcontext(sys.stdin.buffer)
        if self.path.suffix.lower() == ".gz":
            return cast("IO[bytes]", gzip.open(self.path, "rb"))
        return self.path.open("rb")

    def document(
        self,
        text: str,
        *,
        title: str = "",
        metadata: dict[str, Any] | None = None,
        format: DocumentFormat = "text",  # noqa: A002 the name of the document's field
    ) -> Document:
        """Return the document that is the whole file. Its metadata get ``path`` and ``file_type``."""
        of_file = {"path": self.name, "file_type": self.suffix.removeprefix(".")}
        return Document(self.id, title, text, {**of_file, **(metadata or {})}, format)

    def reject(self, reason: str, line: int | None = None) -> Reject:
        """Return the reject of this file. Reading the rejects file again reads this file again."""
        place = f"{self.path}, line {line}" if line else str(self.path)
        return Reject(f"{place}: {reason}", None, self.name, str(self.path), line)


Reader = Callable[[FoundFile], Iterator[Document | Reject]]
"""Reads the documents of one file. An error that it raises becomes a reject of the file."""


def kind_of(name: str) -> str:
    """Return the suffix of a file name that tells its kind: in lower case, without ``.gz``."""
    return Path(name.lower().removesuffix(".gz")).suffix
