"""Cuts a document into passages, and says which texts are embedded for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..collection import DocumentFormat
from ..types import Passage
from .chunking import Chunker
from .markdown import SEPARATOR
from .markdown_passages import markdown_passages
from .separators import Checkpoint, never_stop

TITLE_SHARE = 0.25
"""Largest share of an embedder's input that a title may take.

All passages of a document are embedded with the same title before them. A title that fills the input gives
them all one vector. A vector is the mean of its tokens in most embedders: with a quarter, the passage has
three times the weight of the longest title, and passages of the default length are never shortened for a
title (160 tokens beside 63 of 254). The title and the headings of a Markdown passage share this part, half
and half where both are long."""


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document as it is embedded.

    ``passages``: its passages, in the order of the text. ``title``: the text that is embedded before each of
    them; "" if none. ``title_cut``: whether ``title`` is only the beginning of the title. ``passages_cut``:
    how many passages the embedder cannot read to their end. ``headings``: what is embedded of each heading
    of the passages, where that is not the whole heading.
    """

    passages: list[Passage]
    title: str = ""
    title_cut: bool = False
    passages_cut: int = 0
    headings: Mapping[str, str] = field(default_factory=dict)

    def embedded(self) -> list[str]:
        """Return the text that is embedded for each passage: the title, the heading and the passage."""
        return [
            _joined(self.title, self.headings.get(passage.heading, passage.heading), passage.text)
            for passage in self.passages
        ]


def cut_document(
    title: str,
    text: str,
    chunker: Chunker,
    room: int | None = None,
    checkpoint: Checkpoint = never_stop,
    *,
    format: DocumentFormat = "text",  # noqa: A002 the name of a document's field
) -> CutDocument:
    """Return the passages of a document's text, and the title that is embedded before each of them.

    ``room`` is how many tokens the embedder reads of a text, None if that is not known. Then the title is not
    cut. Otherwise it is cut at ``TITLE_SHARE`` of the room, and a passage is at most as long as the room that
    is left: the embedder reads every passage to its end, except one that is a single character, as a reader
    sees it, of more tokens.

    A document without text has its title as passages, with the offsets (0, 0) because they are not a part of
    the text. There are several if the embedder cannot read it at once. A document without text and title has
    no passages. ``checkpoint`` is called often, and ends the work by raising an error.

    A text of the ``format`` "markdown" is cut by its headings (see ``markdown_passages``), and each passage
    is embedded with its heading after the title. Of a heading that is too long beside the title, the outer
    levels are left out first.
    """
    title = title.strip()
    alone = not text.strip()
    if alone and (not title or room is None or chunker.fits(title, room, checkpoint)):
        return CutDocument([Passage(title, 0, 0)] if title else [])
    if format == "markdown" and not alone:
        return _markdown(title, text, chunker, room, checkpoint)
    if room is None:
        return CutDocument(chunker.chunk(text, checkpoint), title)
    head = "" if alone else chunker.beginning(title, max(int(room * TITLE_SHARE), 1), checkpoint)
    left = max(room - (chunker.count(f"{head}\n") if head else 0), 1)
    cut = [
        smaller
        for passage in chunker.of_size(min(chunker.size, left)).chunk(title if alone else text, checkpoint)
        for smaller in _fitting(passage, (head,), chunker, room, checkpoint)
    ]
    return CutDocument(
        [Passage(passage.text, 0, 0) if alone else passage for passage, _ in cut],
        head,
        title_cut=not alone and head != title,
        passages_cut=sum(not fits for _, fits in cut),
    )


def _markdown(
    title: str, text: str, chunker: Chunker, room: int | None, checkpoint: Checkpoint
) -> CutDocument:
    if room is None:
        return CutDocument(markdown_passages(text, chunker, checkpoint), title)
    share = max(int(room * TITLE_SHARE), 1)
    passages = markdown_passages(
        text, chunker.of_size(min(chunker.size, max(room - share - 1, 1))), checkpoint
    )
    lengths = {heading: chunker.count(f"{heading}\n", checkpoint) for heading in _headings(passages)}
    head = chunker.beginning(
        title, max(share - min(max(lengths.values(), default=0), share // 2), 1), checkpoint
    )
    left = share - (chunker.count(f"{head}\n") if head else 0)
    headings = {
        heading: _shortened(heading, chunker, left) for heading, length in lengths.items() if length > left
    }
    cut = [
        smaller
        for passage in passages
        for smaller in _fitting(
            passage, (head, headings.get(passage.heading, passage.heading)), chunker, room, checkpoint
        )
    ]
    return CutDocument(
        [passage for passage, _ in cut],
        head,
        title_cut=head != title,
        passages_cut=sum(not fits for _, fits in cut),
        headings=headings,
    )


def _headings(passages: Iterable[Passage]) -> set[str]:
    return {passage.heading for passage in passages if passage.heading}


def _shortened(heading: str, chunker: Chunker, size: int) -> str:
    """Return a heading of at most ``size`` tokens: without its outer levels, else its beginning."""
    while not (fits := chunker.fits(heading, size)) and SEPARATOR in heading:
        heading = heading.partition(SEPARATOR)[2]
    return heading if fits else chunker.beginning(heading, size) if size > 0 else ""


def _fitting(
    passage: Passage, head: Sequence[str], chunker: Chunker, room: int, checkpoint: Checkpoint
) -> list[tuple[Passage, bool]]:
    """Return a passage, and whether it fits into the room with ``head`` before it; in parts if it does not.

    A passage may have more tokens when it stands alone than within its text.
    """
    checkpoint()
    if chunker.fits(_joined(*head, passage.text), room):
        return [(passage, True)]
    parts = chunker.of_size(max(chunker.count(passage.text) // 2, 1)).chunk(passage.text)
    if len(parts) < 2:
        return [(passage, False)]
    moved = [
        passage._replace(text=part.text, start=passage.start + part.start, end=passage.start + part.end)
        for part in parts
    ]
    return [smaller for part in moved for smaller in _fitting(part, head, chunker, room, checkpoint)]


def _joined(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
