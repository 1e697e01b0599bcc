"""Cuts a document into passages, and says which texts are embedded for them."""

from __future__ import annotations

from dataclasses import dataclass

from ..collection import DocumentFormat
from ..types import Passage
from .chunking import Chunker
from .separators import Checkpoint, never_stop

TITLE_SHARE = 0.25
"""Largest share of an embedder's input that a title may take.

All passages of a document are embedded with the same title before them. A title that fills the input gives
them all one vector. A vector is the mean of its tokens in most embedders: with a quarter, the passage has
three times the weight of the longest title, and passages of the default length are never shortened for a
title (160 tokens beside 63 of 254)."""


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document as it is embedded.

    ``passages``: its passages, in the order of the text. ``title``: the text that is embedded before each of
    them; "" if none. ``title_cut``: whether ``title`` is only the beginning of the title. ``passages_cut``:
    how many passages the embedder cannot read to their end.
    """

    passages: list[Passage]
    title: str = ""
    title_cut: bool = False
    passages_cut: int = 0

    def embedded(self) -> list[str]:
        """Return the text that is embedded for each passage: the title and the passage."""
        return [_joined(self.title, passage.text) for passage in self.passages]


def cut_document(
    title: str,
    text: str,
    chunker: Chunker,
    room: int | None = None,
    checkpoint: Checkpoint = never_stop,
    *,
    format: DocumentFormat = "text",  # noqa: A002, ARG001 the name of a document's field
) -> CutDocument:
    """Return the passages of a document's text, and the title that is embedded before each of them.

    ``room`` is how many tokens the embedder reads of a text, None if that is not known. Then the title is not
    cut. Otherwise it is cut at ``TITLE_SHARE`` of the room, and a passage is at most as long as the room that
    is left: the embedder reads every passage to its end, except one that is a single character, as a reader
    sees it, of more tokens.

    A document without text has its title as passages, with the offsets (0, 0) because they are not a part of
    the text. There are several if the embedder cannot read it at once. A document without text and title has
    no passages. ``checkpoint`` is called often, and ends the work by raising an error.
    """
    title = title.strip()
    alone = not text.strip()
    if alone and (not title or room is None or chunker.fits(title, room, checkpoint)):
        return CutDocument([Passage(title, 0, 0)] if title else [])
    if room is None:
        return CutDocument(chunker.chunk(text, checkpoint), title)
    head = "" if alone else chunker.beginning(title, max(int(room * TITLE_SHARE), 1), checkpoint)
    left = max(room - (chunker.count(f"{head}\n") if head else 0), 1)
    cut = [
        smaller
        for passage in chunker.of_size(min(chunker.size, left)).chunk(title if alone else text, checkpoint)
        for smaller in _fitting(passage, head, chunker, room, checkpoint)
    ]
    return CutDocument(
        [Passage(passage.text, 0, 0) if alone else passage for passage, _ in cut],
        head,
        title_cut=not alone and head != title,
        passages_cut=sum(not fits for _, fits in cut),
    )


def _fitting(
    passage: Passage, head: str, chunker: Chunker, room: int, checkpoint: Checkpoint
) -> list[tuple[Passage, bool]]:
    """Return a passage, and whether it fits into the room with ``head`` before it; in parts if it does not.

    A passage may have more tokens when it stands alone than within its text.
    """
    checkpoint()
    if chunker.fits(_joined(head, passage.text), room):
        return [(passage, True)]
    parts = chunker.of_size(max(chunker.count(passage.text) // 2, 1)).chunk(passage.text)
    if len(parts) < 2:
        return [(passage, False)]
    moved = [Passage(part, passage.start + start, passage.start + end) for part, start, end in parts]
    return [smaller for part in moved for smaller in _fitting(part, head, chunker, room, checkpoint)]


def _joined(title: str, text: str) -> str:
    return f"{title}\n{text}" if title else text
