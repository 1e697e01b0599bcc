r"""Finds the separators of ``chunking_settings`` in a text. The time is linear in the length of the text.

Callers write these patterns. Python's ``re`` does not run them, because its time may double with every
character. RE2 runs them in linear time. Elasticsearch takes the patterns in Java's syntax. RE2's syntax
differs from it:

- RE2 has no look-around, back-references, possessive quantifiers or atomic groups, and no escapes
  ``\R``, ``\h``,
  ``\Z`` and ``\uXXXX``. A pattern with one of these is refused.
- For ``^``, ``$`` and ``.`` a line ends at ``\n`` only. In Java it also ends at ``\r``, U+0085, U+2028 and
  U+2029.
- ``\s`` does not match the vertical tab. ``\w``, ``\d``, ``\s`` and ``\b`` know ASCII only, as in Java.
- Within ``[…]`` a second ``[`` and ``&&`` are ordinary characters. In Java they build unions and
  intersections.
- A match has at most a few thousand characters (``_REACH``). A match of no characters separates nothing.

Elasticsearch's own separator groups contain patterns with look-around. This module knows these patterns
and finds them without RE2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import re2

Checkpoint = Callable[[], object]
"""A function that long work calls every few thousand characters. It raises an error to stop the work."""


def never_stop() -> None:
    """Do nothing: a ``Checkpoint`` that never stops the work."""


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
"""The separators of each ``separator_group``, as Elastic documents them for ``chunking_settings``."""

_LINEAR = {
    r"\n^(?!\s*$).*\n-{1,}\n": r"\n[^\S\n]*+\S.*+\n-++\n",
    r"\n^(?!\s*$).*\n={1,}\n": r"\n[^\S\n]*+\S.*+\n=++\n",
}
"""Patterns of Elastic's groups whose time is quadratic, and patterns with the same matches in linear time.

Elastic's two patterns scan all following blank lines again from each blank line."""

_KNOWN = {
    pattern: re.compile(_LINEAR.get(pattern, pattern)) for group in GROUPS.values() for pattern in group
}

MAX_PATTERNS = 32
"""Maximum number of separators in a list. The text is searched once for each."""

MAX_PATTERN_CHARACTERS = 200
"""Maximum number of characters in one separator. RE2 needs 0.05 s to parse a thousand of ``\\pL``."""

_MAX_INSTRUCTIONS = 5_000
"""Maximum size of all compiled separators of a list, in RE2's instructions: a letter is 1, ``\\pL`` is
1200. In its slowest mode RE2 may take as many steps for each byte of the text."""

_MEMORY = 1 << 20
"""Maximum memory in bytes that RE2 may use for one separator. RE2 refuses a pattern that needs more."""

_REACH = 4_096
"""Maximum length of a match in bytes.

A search without a match reads up to its end. Without this limit, each of many searches could read the
whole text, which takes quadratic time. The limit also bounds the time between two calls of the checkpoint."""

_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that are not the first byte of a character."""


class Separator(Protocol):
    """The interface of an object that finds the matches of one separator."""

    def starts(self, text: str, start: int, end: int, checkpoint: Checkpoint) -> Iterator[int]:
        """Yield the position of each match between ``start`` and ``end``, in order.

        Text outside this range is ignored. A match at ``start`` itself is left out. Raises what the
        checkpoint raises.
        """
        ...


def separators_of(patterns: Sequence[str]) -> tuple[Separator, ...]:
    """Return a ``Separator`` for each pattern.

    Raises ValueError when there are too many patterns, when a pattern is too long or too large, and when RE2
    does not accept a pattern. The message names the pattern and the remedy.
    """
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(
            f"[separators] holds {len(patterns)} patterns, at most {MAX_PATTERNS} can be tried; "
            "join some as (?:a|b)"
        )
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN_CHARACTERS:
            raise ValueError(
                f"[separators] holds a pattern of {len(pattern)} characters, at most "
                f"{MAX_PATTERN_CHARACTERS} can be read: {pattern[:40]!r}…"
            )
    separators: list[Separator] = []
    size = 0
    for pattern in patterns:
        # In a pattern of Elastic's groups, the line feed may be the character itself or the escape \n.
        known = _KNOWN.get(pattern.replace("\n", r"\n"))
        if known is not None:
            separators.append(_KnownSeparator(known))
            continue
        compiled = _compiled(pattern)
        separators.append(_CallersSeparator(compiled))
        size += compiled.programsize
        if size > _MAX_INSTRUCTIONS:
            raise ValueError(
                f"[separators] holds {pattern!r}, with which the patterns are too large "
                f"({size} instructions, at most {_MAX_INSTRUCTIONS}); {_SMALLER}"
            )
    return tuple(separators)


_SMALLER = r"write smaller repetitions, and fewer classes of Unicode such as \pL"
_JAVA_ONLY = ("invalid perl operator", "bad repetition operator", "invalid escape sequence")
"""The beginnings of RE2's messages for syntax that Java has and RE2 has not."""
_WITHOUT_JAVA_ONLY = (
    "write it without look-around, back-references and possessive quantifiers: "
    "RE2 runs it in linear time and has none of them"
)


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
            f"[separators] holds {pattern!r}, which has half a character (a lone surrogate); "
            "write the whole character"
        ) from error
    except re2.error as error:
        reason = error.args[0].decode(errors="replace").replace("(?m)", "", 1)
        if "too large" in reason:
            raise ValueError(f"[separators] holds {pattern!r}, which is too large; {_SMALLER}") from error
        remedy = f"; {_WITHOUT_JAVA_ONLY}" if reason.startswith(_JAVA_ONLY) else ""
        raise ValueError(
            f"[separators] holds {pattern!r}, which is not a regular expression: {reason}{remedy}"
        ) from error
    finally:
        re2.purge()  # the module caches compiled patterns; a caller's words must not stay in it


class _KnownSeparator:
    """A separator of Elasticsearch's own groups, run by Python's ``re`` in linear time."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def starts(self, text: str, start: int, end: int, checkpoint: Checkpoint) -> Iterator[int]:
        """Yield the position of each match."""
        for match in self._pattern.finditer(text, start, end):
            checkpoint()
            if match.start() > start:
                yield match.start()


class _CallersSeparator:
    """A separator that a caller wrote, run by RE2."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 re2 has no types
        self._compiled = compiled

    def starts(self, text: str, start: int, end: int, checkpoint: Checkpoint) -> Iterator[int]:
        """Yield the position of each match in characters. RE2 itself works on bytes."""
        data = text[start:end].encode("utf-8", "surrogatepass")
        at = counted = 0
        place = last_yielded = start
        while at < len(data):
            checkpoint()
            stop = min(at + 2 * _REACH, len(data))
            match = self._compiled.search(data, at, stop)
            first, last = match.span() if match else (stop, stop)
            if first >= at + _REACH and stop < len(data):
                # No match begins in the first _REACH bytes: go on after them. A match that begins later may
                # end after ``stop``, so the next search reads more of it.
                at = _next_character(data, at + _REACH)
            elif first == last:
                at = _next_character(data, last + 1)
            else:
                place += len(data[counted:first].translate(None, _CONTINUATION))
                counted, at = first, last
                if place > last_yielded:
                    yield place
                    last_yielded = place


def _next_character(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _CONTINUATION:
        at += 1
    return at
