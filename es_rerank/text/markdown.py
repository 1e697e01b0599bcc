"""Reads which parts a Markdown text has: its headings, tables, code blocks, paragraphs and items of lists.

The parser is markdown-it-py, which tells the lines of each block. Only its blocks are read: what stands
within a line, such as a link, does not decide where a text may be cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from .separators import Checkpoint

Kind = Literal["heading", "text", "table", "code"]

SEPARATOR = " > "
"""Stands between the headings of a path: ``Install > Linux``."""

_HEADING_CHARACTERS = 200
"""Most characters of one heading in a path. Each passage below a heading repeats it."""

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(?=[ \t]*(?:#|[^\s:][^\n:]{0,200}:(?:[ \t]|\n)))")
_FRONT_MATTER_END = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
_WHOLE: dict[str, Kind] = {"table_open": "table", "fence": "code", "code_block": "code"}


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text, from character ``start`` to character ``end``.

    ``path``: the headings that it stands below, the outermost first; a heading stands below itself too.
    """

    kind: Kind
    start: int
    end: int
    path: tuple[str, ...] = ()


def blocks_of(text: str, checkpoint: Checkpoint) -> list[Block]:
    """Return the blocks of a Markdown text, in order. Each begins where the one before it ends, the first at
    0, and the last ends with the text.

    A heading is a line of the document itself: neither within a list, a quotation or a code block, nor within
    front matter, which is a text. ``checkpoint`` is called often, and ends the work by raising an error.
    """
    # The same length, so that positions hold. The parser knows line feeds only.
    source = text.replace("\r\n", " \n").replace("\r", "\n")
    begin = _end_of_front_matter(source)
    lines = list(_starts_of_lines(source, begin))
    marks: list[tuple[int, Kind, str, int]] = [(begin, "text", "", 0)]
    whole_until = -1
    for token, heading in _parsed(source[begin:], checkpoint):
        if token.map is None or token.map[0] < whole_until:
            continue
        first, last = token.map
        kind: Kind = "heading" if heading is not None else _WHOLE.get(token.type, "text")
        marks.append((lines[first], kind, heading or "", int(token.tag[1]) if heading is not None else 0))
        if kind != "text":
            whole_until = last
            marks.append((lines[last], "text", "", 0))
    return list(_blocks(text, begin, marks))


def _blocks(text: str, begin: int, marks: list[tuple[int, Kind, str, int]]) -> Iterator[Block]:
    """Yield the blocks that begin at the marks: place, kind, and heading with its level."""
    if begin:
        yield Block("text", 0, begin)
    path: list[tuple[int, str]] = []
    ends = [place for place, *_ in marks[1:]] + [len(text)]
    for (start, kind, heading, level), end in zip(marks, ends, strict=True):
        if kind == "heading":
            path = [above for above in path if above[0] < level]
            path.append((level, heading))
        if end > start:
            yield Block(kind, start, end, tuple(name for _, name in path if name))


def _parsed(source: str, checkpoint: Checkpoint) -> Iterator[tuple[Token, str | None]]:
    """Yield the blocks' tokens in the order of the text, each with its heading if it is one."""
    parser, tokens = _parser(checkpoint), list[Token]()
    parser.block.parse(source, parser, {}, tokens)
    for token, following in pairwise([*tokens, Token("", "", 0)]):
        heading = token.type == "heading_open" and token.level == 0
        if token.nesting >= 0 and token.type != "inline":
            yield token, " ".join(following.content.split())[:_HEADING_CHARACTERS] if heading else None


def _parser(checkpoint: Checkpoint) -> MarkdownIt:
    """Return a parser that calls ``checkpoint`` at each line where a block may begin."""
    parser = MarkdownIt("commonmark").enable("table").disable("reference")

    def check(*_: StateBlock | int | bool) -> bool:
        checkpoint()
        return False

    ends: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("table", "checkpoint", check, ends)
    return parser


def _end_of_front_matter(source: str) -> int:
    begins = _FRONT_MATTER.match(source)
    ends = _FRONT_MATTER_END.search(source, begins.end()) if begins else None
    return min(ends.end() + 1, len(source)) if ends else 0


def _starts_of_lines(source: str, begin: int) -> Iterator[int]:
    """Yield where each line begins, and the end of the text after the last."""
    yield begin
    while (found := source.find("\n", begin)) >= 0:
        begin = found + 1
        yield begin
    if begin < len(source):
        yield len(source)
