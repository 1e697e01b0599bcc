"""Reads HTML, PDF, DOCX and PPTX as Markdown, by libraries of the extra ``documents``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from es_rerank.collection import Document
from es_rerank.extras import missing_extra
from es_rerank.text.markdown import first_heading

from ..rejects import Reject
from .conversion.child import convert
from .conversion.converted import UnreadableError
from .files import FoundFile
from .plain_values import chosen_metadata

CONVERTED = (".html", ".htm", ".xhtml", ".pdf", ".docx", ".pptx")
"""Ends of the names of such files."""

_LIBRARIES = ("bs4", "lxml", "mammoth", "markdownify", "markitdown", "pdfplumber", "pptx")


def check_libraries() -> None:
    """Raise MissingExtraError when a library that reads these files is not installed."""
    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise missing_extra(
            f"HTML, PDF, DOCX and PPTX are read by libraries that are not installed: {', '.join(missing)}",
            "documents",
        )


def read_converted(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of the file, or the reject that says why there is none.

    Its title is the one that the file says it has, else its first heading of level 1, else its name. Raises
    MissingExtraError without the extra.
    """
    check_libraries()
    try:
        converted = convert(file.path, file.encoding)
    except UnreadableError as error:
        yield file.reject(str(error))
        return
    for note in converted.notes:
        file.tell(note)
    metadata = chosen_metadata(converted.metadata, file)
    title = " ".join(converted.title.split())
    if not title and file.suffix != ".pdf":  # of a PDF only the text is known, not what it is written in
        title = first_heading(converted.text)
    yield file.document(converted.text, title=title or file.stem, metadata=metadata, format="markdown")
