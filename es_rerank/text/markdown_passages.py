"""Cuts a Markdown text into passages: by its headings, with tables and code blocks whole where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..types import Passage
from .markdown import SEPARATOR, Block, blocks_of

if TYPE_CHECKING:
    from .chunking import Chunker
    from .separators import Checkpoint

_USEFUL = 4
"""A section of at least a fourth of a passage's size is of useful length: 40 of 160 tokens, about two
sentences. It shares no passage with another section. A shorter one alone is a vector of little meaning, and a
list of commands with a heading each would be a passage for each."""

_HEADER_CHARACTERS = 300
"""Most characters of a table's header row that the parts of the table repeat."""

Span = tuple[int, int, str]
"""Start and end of a passage, and the header row of the table that it is a later part of; "" if none."""


@dataclass(slots=True)
class _Section:
    """Blocks below one heading, or the small sections that share a passage, with the tokens of each block."""

    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    has_body: bool = False
    tokens: int = 0

    def add(self, block: Block, count: int) -> None:
        self.blocks.append(block)
        self.counts.append(count)
        self.tokens += count
        self.has_body |= block.kind != "heading" and count > 0

    def join(self, other: _Section) -> None:
        """Take the blocks of the next section. The path is what both stand below."""
        self.path = _common(self.path, other.path) if self.has_body else other.path
        self.blocks += other.blocks
        self.counts += other.counts
        self.tokens += other.tokens
        self.has_body |= other.has_body


def markdown_passages(text: str, chunker: Chunker, checkpoint: Checkpoint) -> list[Passage]:
    """Return the passages of a Markdown text, each with the headings that it stands below.

    Passages are in the order of the text and satisfy ``text[start:end] == passage.text``. Every character
    that is not white space is in a passage. A passage has parts of two sections only if one of them is short
    and both are below one heading, or one is below the other. A table is cut between its rows, a code block
    between its lines, and only if it is longer than a passage; the later parts of a table have its header row
    in their ``heading``.
    """
    passages: list[Passage] = []
    for section in _joined(_sections(text, chunker, checkpoint), chunker.size):
        heading = SEPARATOR.join(section.path)
        for start, end, header in _spans(text, section, chunker, checkpoint):
            piece = text[start:end]
            if kept := piece.strip():
                begin = start + len(piece) - len(piece.lstrip())
                above = "\n".join(line for line in (heading, header) if line)
                passages.append(Passage(kept, begin, begin + len(kept), above))
    return passages


def _sections(text: str, chunker: Chunker, checkpoint: Checkpoint) -> Iterator[_Section]:
    section = _Section(())
    for block in blocks_of(text, checkpoint):
        checkpoint()
        if block.kind == "heading":
            yield section
            section = _Section(block.path)
        part = text[block.start : block.end]
        section.add(block, chunker.count(part, checkpoint) if part.strip() else 0)
    yield section


def _joined(sections: Iterator[_Section], size: int) -> Iterator[_Section]:
    """Yield the sections, neighbours joined where they share a passage."""
    useful = max(size // _USEFUL, 1)
    group = next(sections)
    for section in sections:
        together = group.tokens + section.tokens <= size
        short = min(group.tokens, section.tokens) < useful
        below = section.path[: len(group.path)] == group.path
        if (
            not group.tokens
            or (not group.has_body and below)
            or (together and short and _related(group.path, section.path))
        ):
            group.join(section)
        else:
            yield group
            group = section
    yield group


def _related(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two paths have one parent, or one of them is above the other. Nothing is above all chapters."""
    shared = len(_common(path, other))
    return shared >= max(min(len(path), len(other), max(len(path), len(other)) - 1), 1)


def _common(path: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(path), len(other)) and path[length] == other[length]:
        length += 1
    return path[:length]


def _spans(text: str, section: _Section, chunker: Chunker, checkpoint: Checkpoint) -> Iterator[Span]:
    """Yield the passages of a section: as many whole blocks as fit, and the parts of a longer block."""
    useful = max(chunker.size // _USEFUL, 1)
    start, tokens = section.blocks[0].start if section.blocks else 0, 0
    for block, count in zip(section.blocks, section.counts, strict=True):
        checkpoint()
        if tokens + count <= chunker.size:
            tokens += count
            continue
        fits = count <= chunker.size
        # A few words before a long block, such as its heading, go with it if it must be cut anyway.
        if tokens >= useful or (fits and block.kind != "text"):
            yield start, block.start, ""
            start, tokens = block.start, 0
            if fits:
                tokens = count
                continue
        span = (start, block.end)
        if block.kind == "text":
            found = chunker.chunk(text[start : block.end], checkpoint)
            yield from ((start + passage.start, start + passage.end, "") for passage in found)
        else:
            yield from _by_line(text, span, block, chunker, checkpoint)
        start, tokens = block.end, 0
    yield start, section.blocks[-1].end if section.blocks else start, ""


def _by_line(
    text: str, span: tuple[int, int], block: Block, chunker: Chunker, checkpoint: Checkpoint
) -> Iterator[Span]:
    """Yield the parts of a table or a code block, with what stands right before it."""
    header = _header_row(text, block)
    start, end = span
    place, tokens = start, 0
    while place < end:
        checkpoint()
        found = text.find("\n", max(place, block.start), end)
        after = end if found < 0 else found + 1
        line = text[place:after]
        count = chunker.count(line, checkpoint) if line.strip() else 0
        above = header if place > block.start else ""
        if tokens and tokens + count > chunker.size:
            yield start, place, header if start > block.start else ""
            start, tokens = place, 0
        if count > chunker.size:
            cut = chunker.chunk(line, checkpoint)
            yield from ((place + passage.start, place + passage.end, above) for passage in cut)
            start, tokens = after, 0
        else:
            tokens += count
        place = after
    yield start, end, header if start > block.start else ""


def _header_row(text: str, block: Block) -> str:
    if block.kind != "table":
        return ""
    row = " ".join(text[block.start : block.end].partition("\n")[0].split())
    return row if len(row) <= _HEADER_CHARACTERS else ""
