"""Cleans the text of converted files: characters and line ends that only the layout of a page needs."""

from __future__ import annotations

import re
import unicodedata

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_LINE_ENDS = re.compile(r"\r\n?|[\x0c\x85\u2028\u2029]")
_PRESENTATION = re.compile("[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefe\u2e80-\u2fdf]")
"""Forms of letters for print: ligatures (ﬁ), Arabic letters by their place in a word, and the radicals that
stand for Chinese characters in many PDFs. Unicode's NFKC names the letter of each."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)(?:-|\u2010|\u00ad)\n([a-zà-öø-ÿа-яα-ω][^\W\d_]*)")

_CJK = (
    "\u1100-\u11ff\u2e80-\u2fdf\u3000-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff"
)
_CJK_BREAK = re.compile(f"(?<=[{_CJK}])\n(?=[{_CJK}])")


def clean(text: str) -> str:
    """Return the text with plain line ends, at most one blank line in a row and without control characters.

    Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
    """
    text = _LINE_ENDS.sub("\n", text)
    text = _CONTROLS.sub("", text)
    text = _SURROGATES.sub("\ufffd", text)
    text = _PRESENTATION.sub(lambda form: unicodedata.normalize("NFKC", form[0]), text)
    text = "\n".join(line.rstrip(" \t\u00a0") for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


MEANT = "\ufdd0"
"""Stands before the headings and the fences of code that a converter writes: a character of no text."""

_LOOKS_LIKE_MARKDOWN = re.compile(r" {0,3}(?:#{1,6}(?:\s|$)|```|~~~)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)$")


def only_meant(markdown: str) -> str:
    """Return Markdown in which only the headings and code blocks are such that have ``MEANT`` before them.

    A line of text that looks like one gets a backslash, as a line of a page may begin with ``#``.
    """
    lines, code, before = [], False, ""
    for line in markdown.split("\n"):
        if MEANT in line:
            code ^= f"{MEANT}`" in line
            lines.append(line.replace(MEANT, ""))
        elif not code and (_LOOKS_LIKE_MARKDOWN.match(line) or (before.strip() and _UNDERLINE.match(line))):
            lines.append(line[: len(line) - len(line.lstrip(" "))] + "\\" + line.lstrip(" "))
        else:
            lines.append(line)
        before = line
    return "\n".join(lines)


_NO_TITLE = re.compile(
    r"(untitled( document)?|microsoft (word|powerpoint|excel) - .*|powerpoint[ -]\w+|\w+ powerpoint|slide 1"
    r"|.*\.(docx?|pptx?|xlsx?|od[tps]|rtf|pdf|txt|html?|xml|md|tex|dvi|e?ps|indd|qxd|pub|pages|ai))",
    re.IGNORECASE,
)
"""Titles that programs write when nobody wrote one."""


def own_title(title: str) -> str:
    """Return a title in one line, empty if a program wrote it, such as the name of the file."""
    title = " ".join(clean(title).split())
    return "" if _NO_TITLE.fullmatch(title) else title


def joined_words(text: str) -> str:
    r"""Return text of a page with the words in one piece that a hyphen breaks at the end of a line.

    ``well-\nknown`` keeps its hyphen when the text has ``well-known`` elsewhere and ``wellknown`` nowhere. A
    soft hyphen is never written out.
    """
    words = set(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text))

    def join(broken: re.Match[str]) -> str:
        whole, hyphenated = broken[1] + broken[2], f"{broken[1]}-{broken[2]}"
        keep = "\u00ad" not in broken[0] and hyphenated in words and whole not in words
        return hyphenated if keep else whole

    return _BROKEN_WORD.sub(join, text).replace("\u00ad", "")


def joined_cjk_lines(text: str) -> str:
    """Return text without line ends between Chinese or Japanese characters, where no space belongs."""
    return _CJK_BREAK.sub("", text)


def markdown_table(rows: list[list[str]]) -> str:
    """Return rows of cells as a Markdown table. The first row is its head."""
    width = max(len(row) for row in rows)
    lines = [
        "| " + " | ".join(_cell(cell) for cell in [*row, *[""] * (width - len(row))]) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
