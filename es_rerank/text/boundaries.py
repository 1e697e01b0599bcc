"""Where a text of any script may be cut: behind a sentence, behind a clause, and never inside a character as a reader sees it."""

from __future__ import annotations

import re
import unicodedata

_TERMINALS = (
    r"!.?\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5"
    r"\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u2024\u203c\u203d\u2047-\u2049"
    r"\u2cf9-\u2cfb\u2e2e\u2e3c\u2e53\u2e54\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb"
    r"\ufe12\ufe15\ufe16\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61\u2026"
)
"""``Sentence_Terminal`` of Unicode's PropList.txt, Basic Multilingual Plane, and the ellipsis."""

_TERMINAL = re.compile(f"[{_TERMINALS}]")
_NEEDS_SPACE = frozenset("!.?\u2024\u2026")
"""Terminals that also stand inside numbers, names, addresses and sentences; the others end a sentence wherever they stand."""

_BLANKS = frozenset(" \t\r\u00a0\u3000")
_QUOTES = frozenset("\"'")
_SPACING = frozenset("\u0e33\u0eb3")
"""Thai and Lao vowels that are letters by category and belong to the consonant before them (``SpacingMark``)."""

_CLAUSE_ENDS = frozenset("，、；：､")  # noqa: RUF001 they are meant
"""Signs of scripts that put no space between words; where there are spaces, any word will do."""


def ends_sentence(text: str, at: int) -> bool:
    """Whether a sentence ends at position ``at``, its closing quotes and brackets, and the blanks behind, before it."""
    last = at
    while last and (text[last - 1] in _BLANKS or _closes(text[last - 1])):
        last -= 1
    sign = text[last - 1 : last]
    if sign == "\n":
        return True
    if not _TERMINAL.match(sign):
        return False
    following = text[at : at + 1]
    if text[at - 1].isspace() or not following or following.isspace():
        return True
    return sign not in _NEEDS_SPACE and not _closes(following) and not _TERMINAL.match(following)


def ends_clause(text: str, at: int) -> bool:
    """Whether a sign that parts clauses, in a script without spaces, stands right before position ``at``."""
    return text[:at][-1:] in _CLAUSE_ENDS


def inside_character(text: str, at: int) -> bool:
    """Whether position ``at`` parts what a reader sees as one character: a letter and its marks, a flag, an emoji of several.

    The rules of Unicode Standard Annex 29 (GB3, GB6 to GB9a, GB11 to GB13) as far as categories tell them.
    """
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return before == "\r" and after == "\n"
    if before.isspace() or unicodedata.category(before) == "Cc":
        return False
    if "\u200d" in (before, after) or unicodedata.category(after).startswith("M") or after in _SPACING or _modifies(after):
        return True
    if _is_flag_half(before) and _is_flag_half(after):
        start = at
        while start and _is_flag_half(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 1
    return "\u1100" <= before <= "\u11ff" and "\u1160" <= after <= "\u11ff"


def _closes(character: str) -> bool:
    return character in _QUOTES or unicodedata.category(character) in {"Pe", "Pf"}


def _modifies(character: str) -> bool:
    """Whether it is a skin tone or a tag, which change the emoji before them."""
    return "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
