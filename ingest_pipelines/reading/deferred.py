"""Files that are to be converted elsewhere: by another machine that sees them at the same path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from es_rerank.collection import Document
from es_rerank.errors import EsRerankError

from ..rejects import Reject
from .converted import read_converted
from .fields import Fields
from .files import FoundFile
from .notes import Notes, OnNote


class DeferredDocument(Document):
    """A document that is not read yet: of its values only the id is known. ``file``: where it is read."""

    place: tuple[str, str, Fields, str | None]


def defer(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of a file without opening it."""
    document = DeferredDocument(file.id, "", "", {}, "markdown")
    document.place = (str(file.path.absolute()), file.name, file.fields, file.encoding)
    yield document


def read_deferred(document: DeferredDocument, on_note: OnNote, where: str) -> Iterator[Document | Reject]:
    """Yield the document as ``read_converted`` does. ``where``: the machine on which this runs."""
    path, name, fields, encoding = document.place
    file = FoundFile(Path(path), name, fields, encoding, Notes(on_note))
    if not file.path.exists():
        yield file.reject(
            f"the machine {where} does not find it; with several machines, files to convert must lie at the "
            "same path on each of them, as on a shared file system"
        )
        return
    try:
        yield from read_converted(file)
    except EsRerankError as error:
        yield file.reject(error.message)
    except OSError as error:
        yield file.reject(f"it cannot be read: {error.strerror or error}")
