r"""Where the separators of ``chunking_settings`` stand in a text, in time that grows with the text and not faster.

A caller writes them, so none is run by Python's ``re``, whose time may double with every character. RE2 runs them. Its
syntax is that of Java, in which Elasticsearch takes them, with these differences:

- There are no look-around, back-references, possessive quantifiers and atomic groups, and of the escapes not ``\R``,
  ``\h``, ``\Z`` and ``\uXXXX``: such a pattern is refused.
- A line ends at ``\n`` alone, for ``^``, ``$`` and ``.``; in Java also at ``\r``, U+0085, U+2028 and U+2029.
- ``\s`` does not hold the vertical tab. ``\w``, ``\d``, ``\s`` and ``\b`` know ASCII alone, as in Java.
- Within ``[…]`` a second ``[`` and ``&&`` are signs as any other; in Java they unite and intersect.
- What one match reads is at most a few thousand characters (``_REACH``), and a match of no characters separates nothing.

The patterns of Elasticsearch's own separator groups look around. They are known by heart and found without RE2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import re2

Look = Callable[[], object]
"""Called every few thousand characters of work; it raises where the work is to end."""


def go_on() -> None:
    """Look at nothing: the work may take as long as it does."""


GROUPS = {
    "plaintext": (r"(?<!\n)\n\n(?!\n)", r"(?<!\n)\n(?!\n)"),
    "markdown": (
        r"\n# ",
        r"\n## ",
        r"\n### ",
        r"\n#### ",
        r"\n##### ",
        r"\n###### ",
        r"\n^(?!\s*$).*\n-{1,}\n",
        r"\n^(?!\s*$).*\n={1,}\n",
    ),
}
"""ChunkingSettings' separator groups, as Elastic documents them."""

_LINEAR = {
    r"\n^(?!\s*$).*\n-{1,}\n": r"\n[^\S\n]*+\S.*+\n-++\n",
    r"\n^(?!\s*$).*\n={1,}\n": r"\n[^\S\n]*+\S.*+\n=++\n",
}
"""Those that look ahead over all blank lines, from each of them anew, and expressions of the same matches that do not."""

_KNOWN = {
    pattern: re.compile(_LINEAR.get(pattern, pattern)) for group in GROUPS.values() for pattern in group
}

MOST = 32
"""Separators that a list may hold: the text is read once for each."""

LONGEST = 1_000
"""Characters that one separator may have."""

_LARGEST = 5_000
"""Instructions that the separators of a list may be together, once compiled: a letter is 1, ``\\pL`` 1 200. Where RE2's
faster ways fail, each byte of the text may take as many steps."""

_MEMORY = 1 << 20
"""Bytes that RE2 may take for one separator. It refuses a pattern that needs more, at once."""

_REACH = 4_096
"""Bytes that a match may have. A search that finds nothing reads to its end, and the next one begins one match further:
over a whole text that were quadratic time. It is also how soon a search can be ended."""

_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""


class Separator(Protocol):
    """Finds where a separator's matches begin."""

    def starts(self, text: str, start: int, end: int, look: Look) -> Iterator[int]:
        """Yield where matches in a stretch of a text begin, the stretch's own beginning apart; nothing outside it counts."""
        ...


def separators_of(patterns: Sequence[str]) -> tuple[Separator, ...]:
    """Return what finds each of the patterns.

    Raises ValueError, which names the pattern and the remedy, for more or longer ones than may be, and for one that RE2
    does not take.
    """
    if len(patterns) > MOST:
        raise ValueError(
            f"[separators] holds {len(patterns)} patterns, at most {MOST} can be tried; join some as (?:a|b)"
        )
    for pattern in patterns:
        if len(pattern) > LONGEST:
            raise ValueError(
                f"[separators] holds a pattern of {len(pattern)} characters, at most {LONGEST} can be read: {pattern[:40]!r}…"
            )
    separators: list[Separator] = []
    size = 0
    for pattern in patterns:
        # People paste the patterns with the line feed as a sign or as the escape.
        known = _KNOWN.get(pattern.replace("\n", r"\n"))
        if known is not None:
            separators.append(_Known(known))
            continue
        compiled = _compiled(pattern)
        separators.append(_Asked(compiled))
        size += compiled.programsize
        if size > _LARGEST:
            raise ValueError(
                f"[separators] holds {pattern!r}, with which the patterns are too large ({size} instructions, at most {_LARGEST}); {_SMALLER}"
            )
    return tuple(separators)


_SMALLER = r"write smaller repetitions, and fewer classes of Unicode such as \pL"
_OF_JAVA_ALONE = ("invalid perl operator", "bad repetition operator", "invalid escape sequence")
"""How RE2 names what Java has besides."""
_REMEDY = "write it without look-around, back-references and possessive quantifiers: it is run in linear time, by RE2, which has none of them"


def _compiled(pattern: str) -> Any:  # noqa: ANN401 re2 has no types
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        pattern.encode()
        return re2.compile(f"(?m){pattern}", options)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"[separators] holds {pattern!r}, which has half a character (a lone surrogate); write the whole one"
        ) from error
    except re2.error as error:
        reason = error.args[0].decode(errors="replace").replace("(?m)", "", 1)
        if "too large" in reason:
            raise ValueError(f"[separators] holds {pattern!r}, which is too large; {_SMALLER}") from error
        remedy = f"; {_REMEDY}" if reason.startswith(_OF_JAVA_ALONE) else ""
        raise ValueError(
            f"[separators] holds {pattern!r}, which is not a regular expression: {reason}{remedy}"
        ) from error
    finally:
        re2.purge()  # the module keeps what it compiled, with the callers' words, for later


class _Known:
    """A separator of Elasticsearch's own groups, by an expression of ours that takes linear time."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def starts(self, text: str, start: int, end: int, look: Look) -> Iterator[int]:
        """Yield where matches begin."""
        for match in self._pattern.finditer(text, start, end):
            look()
            if match.start() > start:
                yield match.start()


class _Asked:
    """A separator that a caller wrote, run by RE2."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 re2 has no types
        self._compiled = compiled

    def starts(self, text: str, start: int, end: int, look: Look) -> Iterator[int]:
        """Yield where matches begin. RE2 reads bytes; what is yielded are characters."""
        data = text[start:end].encode("utf-8", "surrogatepass")
        at = counted = 0
        place = passed = start
        while at < len(data):
            look()
            stop = min(at + 2 * _REACH, len(data))
            found = self._compiled.search(data, at, stop)
            first, last = found.span() if found else (stop, stop)
            if first >= at + _REACH and stop < len(data):
                # A match that begins before this one may end beyond what was read: of it enough is read now.
                at = _next_character(data, at + _REACH)
            elif first == last:
                at = _next_character(data, last + 1)
            else:
                place += len(data[counted:first].translate(None, _CONTINUATION))
                counted, at = first, last
                if place > passed:
                    yield place
                    passed = place


def _next_character(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _CONTINUATION:
        at += 1
    return at
