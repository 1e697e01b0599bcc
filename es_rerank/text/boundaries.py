"""Tells where a text of any script may be cut: after a sentence or a clause, never inside a character.

A character here is what a reader sees as one character (a grapheme cluster). It may be several code points.
"""

from __future__ import annotations

import re
import unicodedata

OWN_SIGNS = (
    r"\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362"
    r"\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a"
    r"\u1b5b\u1b5e\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e"
    r"\u2e3c\u2e53\u2e54\u2e60\u2e61\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f"
    r"\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16\ufe56\ufe57\uff01\uff1f\uff61"
    r"\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048"
    r"\U000110be-\U000110c1\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df"
    r"\U00011238\U00011239\U0001123b\U0001123c\U000112a9\U000113d4\U000113d5\U0001144b\U0001144c\U000115c2"
    r"\U000115c3\U000115c9-\U000115d7\U00011641\U00011642\U0001173c-\U0001173e\U00011944\U00011946"
    r"\U00011a42\U00011a43\U00011a9b\U00011a9c\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44"
    r"\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016d6e\U00016d6f\U00016e98\U0001bc9f"
    r"\U0001da88"
)
"""Signs that always end a sentence: Unicode's ``Sentence_Terminal`` without ``_SHARED_SIGNS``."""

_SHARED_SIGNS = "!.?\u2024\u2026\ufe52\uff0e"
"""Signs that end a sentence, but also stand inside numbers, names and addresses; and the ellipsis."""

UNSPACED = (
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
"""Ideographs and kana. These scripts put no space between sentences."""

_TERMINAL = re.compile(f"[{OWN_SIGNS}{_SHARED_SIGNS}]")
_FULL_STOPS = frozenset("!.?\ufe52\uff0e")
_UNSPACED = re.compile(f"[{UNSPACED}\u3008\u300a\u300c\u300e\u3010\u3014\uff08]")
"""A character of these scripts, or an opening bracket or quote that they use."""

_SPACES = frozenset(" \t\r\u00a0\u3000")
_QUOTES = frozenset("\"'")
_SPACING_VOWELS = frozenset("\u0e33\u0eb3")
"""Thai and Lao vowels that belong to the consonant before them (``SpacingMark``). They are letters."""

_CLAUSE_ENDS = frozenset("，、；：､")  # noqa: RUF001 these signs are intended
"""Signs between clauses in scripts without spaces. Texts of other scripts are cut at spaces."""

_LOOK_BACK = 64
"""Maximum number of characters to look back. It bounds the time for a text of many brackets."""


def ends_sentence(text: str, at: int) -> bool:
    """Return whether a sentence ends at position ``at`` of ``text``.

    Closing quotes, closing brackets and spaces after the sign that ends the sentence belong to the sentence.
    """
    last, farthest = at, max(0, at - _LOOK_BACK)
    while last > farthest and (text[last - 1] in _SPACES or _closes(text[last - 1])):
        last -= 1
    sign = text[last - 1 : last]
    if sign == "\n":
        return True
    if not _TERMINAL.match(sign):
        return False
    following = text[at : at + 1]
    if text[at - 1].isspace() or not following or following.isspace():
        return True
    if sign in _SHARED_SIGNS:
        return sign in _FULL_STOPS and _UNSPACED.match(following) is not None
    return not _closes(following) and not _TERMINAL.match(following)


def ends_clause(text: str, at: int) -> bool:
    """Return whether the character before position ``at`` ends a clause in a script without spaces."""
    return text[at - 1 : at] in _CLAUSE_ENDS


def inside_character(text: str, at: int) -> bool:
    """Return whether position ``at`` lies inside what a reader sees as one character.

    Examples are a letter with its marks, a flag, and an emoji of several code points. The rules are GB3, GB6
    to GB9a and GB11 to GB13 of Unicode Standard Annex 29, as far as Unicode categories allow to apply them.
    ``at`` must lie between the first and the last character of ``text``.
    """
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return before == "\r" and after == "\n"
    if before.isspace() or unicodedata.category(before) == "Cc":
        return False
    if (
        "\u200d" in (before, after)
        or after == "\u200c"
        or unicodedata.category(after).startswith("M")
        or after in _SPACING_VOWELS
        or _modifies(after)
    ):
        return True
    if _is_flag_half(before) and _is_flag_half(after):
        start, farthest = at, max(0, at - _LOOK_BACK)
        while start > farthest and _is_flag_half(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 1
    return ("\u1100" <= before <= "\u11ff" and "\u1160" <= after <= "\u11ff") or (
        "\uac00" <= before <= "\ud7a3" and "\u11a8" <= after <= "\u11ff"
    )


def _closes(character: str) -> bool:
    return character in _QUOTES or unicodedata.category(character) in {"Pe", "Pf"}


def _modifies(character: str) -> bool:
    """Return whether a character is a skin tone or a tag: these change the emoji before them."""
    return "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
