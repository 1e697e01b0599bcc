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

_TITLE_CHARACTERS = 1_000
"""Most characters of a heading that may be a title."""

_MARKUP = re.compile(r"[\\`*_~\[<&]")
_ATTRIBUTES = re.compile(r"[ ]+\{[#.:][^{}]*\}$")
"""What stands behind a heading to name it: ``{#install}``."""

_LEVEL_ONE = re.compile(r"^ {0,3}(?:#(?:[ \t]|$)|=+[ \t]*$)", re.MULTILINE)

_PIECE = 65_536
"""Characters that are parsed at once. The parser takes up to 500 bytes for each."""

_REPEATED = 1_000
"""Most characters of the first line of a block that are parsed again with each piece of it."""

_ENDS_OF_HTML = ("-->", "?>", "]]>", "</script>", "</pre>", "</style>", "</textarea>")

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(?=[ \t]*(?:#|[^\s:][^\n:]{0,200}:(?:[ \t]|\n)))")
_FRONT_MATTER_END = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
_WHOLE: dict[str, Kind] = {"table_open": "table", "fence": "code", "code_block": "code"}


Mark = tuple[int, Kind, str, int]
"""Where a block begins, its kind, and the heading with its level, from 1."""

_Parsed = tuple[Token, tuple[int, int], str | None]
"""A token, the lines of its block (the second one after its end), and its heading if it is one."""


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
    return list(_blocks(text, begin, _marks(source, begin, checkpoint)))


def first_heading(text: str) -> str:
    """Return the first heading of level 1 of a Markdown text, without markup; empty if there is none."""
    source = text.replace("\r\n", "\n").replace("\r", "\n")
    if _LEVEL_ONE.search(source) is None:
        return ""
    begin, end = _end_of_front_matter(source), 0
    while end < len(source):  # a heading does not depend on what comes after it
        end = source.find("\n", max(4 * end, _PIECE)) + 1 or len(source)
        for _, _, heading, level in _marks(source[:end], begin, _never):
            if level == 1 and heading:
                return heading
    return ""


def _never() -> None:
    """Let the parser go on."""


def _marks(source: str, begin: int, checkpoint: Checkpoint) -> list[Mark]:
    """Return where blocks begin. The source is parsed in pieces of about ``_PIECE`` characters."""
    marks: list[Mark] = [(begin, "text", "", 0)]
    place = began = begin
    repeated = ""
    while place < len(source):
        end = source.find("\n", place + _PIECE) + 1 or len(source)
        piece = repeated + source[place:end]
        found = _parsed(piece, checkpoint)
        above = repeated.count("\n")
        lines = [place] * above + list(_starts_of_lines(source, place, end))
        last = max((first for token, (first, _), _ in found if token.level == 0), default=0)
        if end < len(source) and last > above:
            # The last block may go on behind the piece, so the next piece begins with it.
            _add_marks(marks, [each for each in found if each[1][0] < last], lines, above, began)
            place, repeated = lines[last], ""
        else:
            _add_marks(marks, found, lines, above, began)
            began = began if repeated and last == 0 else lines[last]
            place, repeated = end, _repeated(found, piece, last)
    return marks


def _add_marks(marks: list[Mark], found: list[_Parsed], lines: list[int], above: int, began: int) -> None:
    """Add the marks of a piece, above which the first ``above`` lines of a block are repeated that began at
    ``began``.
    """
    whole_until = -1
    for token, (first, last), heading in found:
        if first < whole_until:
            continue
        kind: Kind = "heading" if heading is not None else _WHOLE.get(token.type, "text")
        start = lines[first]
        if first < above and token.level == 0 and kind != "text":
            start = began
            while len(marks) > 1 and marks[-1][0] >= began:
                marks.pop()
        marks.append((start, kind, heading or "", int(token.tag[1]) if kind == "heading" else 0))
        if kind != "text":
            whole_until = last
            marks.append((lines[last], "text", "", 0))


def _repeated(found: list[_Parsed], piece: str, first: int) -> str:
    """Return the first lines of the block that begins in line ``first`` of a piece and ends with it.

    Above the next piece, they make the block go on.
    """
    token = next((token for token, (start, _), _ in found if token.level == 0 and start == first), None)
    if token is None:
        return ""
    lines = piece.split("\n")[first:]
    closing = (lines[-1] or lines[-2] if len(lines) > 1 else lines[-1]).strip().lower()
    is_mark = closing.startswith(token.markup) and not closing.strip("`~")
    if token.type == "fence" and len(lines) > 2 and is_mark:
        return ""
    if token.type == "html_block" and closing.endswith(_ENDS_OF_HTML):
        return ""
    above = "".join(f"{line}\n" for line in lines[: 2 if token.type == "table_open" else 1])
    return above if len(above) <= _REPEATED else ""


def _blocks(text: str, begin: int, marks: list[Mark]) -> Iterator[Block]:
    if begin:
        yield Block("text", 0, begin)
    path: list[tuple[int, str]] = []
    ends = [place for place, *_ in marks[1:]] + [len(text)]
    for (start, kind, heading, level), end in zip(marks, ends, strict=True):
        if kind == "heading":
            path = [above for above in path if above[0] < level]
            path.append((level, heading[:_HEADING_CHARACTERS]))
        if end > start:
            yield Block(kind, start, end, tuple(name for _, name in path if name))


def _parsed(source: str, checkpoint: Checkpoint) -> list[_Parsed]:
    """Return the tokens of the blocks in the order of the text."""
    parser, tokens = _parser(checkpoint), list[Token]()
    parser.block.parse(source, parser, {}, tokens)
    found: list[_Parsed] = []
    for token, following in pairwise([*tokens, Token("", "", 0)]):
        heading = token.type == "heading_open" and token.level == 0
        if token.nesting >= 0 and token.type != "inline" and token.map is not None:
            first, last = token.map
            name = _plain(following.content) if heading else None
            found.append((token, (first, last), name))
    return found


def _plain(heading: str) -> str:
    """Return a heading as a reader sees it: without markup."""
    heading = _ATTRIBUTES.sub("", heading[:_TITLE_CHARACTERS].strip())
    if _MARKUP.search(heading):
        (inline,) = _INLINE.parseInline(heading)
        seen = {"softbreak": " ", "hardbreak": " ", "html_inline": ""}
        heading = "".join(seen.get(token.type, token.content) for token in inline.children or ())
    return " ".join(heading.split())


_INLINE = MarkdownIt("commonmark")


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


def _starts_of_lines(source: str, begin: int, end: int) -> Iterator[int]:
    """Yield where each line of a piece begins, and its end after the last."""
    yield begin
    while (found := source.find("\n", begin, end)) >= 0:
        begin = found + 1
        yield begin
    if begin < end:
        yield end
