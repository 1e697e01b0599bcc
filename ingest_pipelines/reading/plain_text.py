"""Reads a text file as one document."""

from __future__ import annotations

from collections.abc import Iterator

from es_rerank.collection import Document

from ..rejects import Reject
from .encodings import read_text
from .files import FoundFile


def read_plain_text(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the text of a file as one document. Its title is the name of the file without the suffix.

    Raises SourceError where it is binary, empty or too long, or where its encoding is not found.
    """
    text = read_text(file)
    yield file.document(text, title=file.stem)
