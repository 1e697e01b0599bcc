"""Cuts a document into passages, and says which text of a passage is embedded."""

from __future__ import annotations

from ..types import Passage
from .chunking import Chunker


def cut_document(title: str, text: str, chunker: Chunker) -> list[Passage]:
    """Return the passages of a document's text.

    A document without text has one passage, its title, with the offsets (0, 0) because it is not a part of
    the text. A document without text and title has no passages.
    """
    if text.strip():
        return chunker.chunk(text)
    return [Passage(title, 0, 0)] if title.strip() else []


def embedded_text(title: str, passage: Passage) -> str:
    """Return the text that is embedded for a passage: the title of its document and the passage.

    The title often names what the passage is about. A passage that is the title itself stands alone.
    """
    title = title.strip()
    return f"{title}\n{passage.text}" if title and passage.end else passage.text
