"""Reads the citations in an answer that a language model gave to a prompt of numbered passages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .selection import NumberedPassage

_OPEN, _CLOSE = "[［【", "]］】"  # noqa: RUF001 these brackets are intended
_SEPARATOR = r"[,;，、،；؛]"  # noqa: RUF001 these signs are intended
_DASH = "[-\u2010-\u2015]"
_NUMBER = r"\d{1,6}"
_GROUP = re.compile(
    rf"[{re.escape(_OPEN)}]\s*({_NUMBER}(?:\s*(?:{_SEPARATOR}|{_DASH})\s*{_NUMBER})*)\s*[{re.escape(_CLOSE)}]"
)
_PART = re.compile(rf"({_NUMBER})(?:\s*{_DASH}\s*({_NUMBER}))?")


@dataclass(frozen=True, slots=True)
class Citation:
    """A number that an answer cites.

    The citation is the answer's text from character ``start`` to ``end`` (exclusive), brackets included.
    ``passage`` is the passage of that number, None where no passage has it.
    """

    number: int
    start: int
    end: int
    passage: NumberedPassage | None


@dataclass(frozen=True, slots=True)
class Citations:
    """All citations of an answer, in the order of the answer. A number that is cited twice is in it twice."""

    mentions: tuple[Citation, ...]

    @property
    def passages(self) -> tuple[NumberedPassage, ...]:
        """The cited passages without repetition, in the order of their first mention."""
        return tuple(
            dict.fromkeys(mention.passage for mention in self.mentions if mention.passage is not None)
        )

    @property
    def unknown(self) -> tuple[int, ...]:
        """The cited numbers that no passage has, without repetition, in the order of their first mention."""
        return tuple(dict.fromkeys(mention.number for mention in self.mentions if mention.passage is None))


def read_citations(answer: str, passages: Sequence[NumberedPassage]) -> Citations:
    """Return the citations in an answer. ``passages`` are the passages of the prompt.

    The forms ``[1]``, ``[1][3]``, ``[1, 3]`` and ``[1-3]`` are understood, with brackets, digits, commas and
    dashes of any script. A range cites all its numbers if they all belong to passages; otherwise it cites its
    two ends only.
    """
    known = {passage.number: passage for passage in passages}
    return Citations(
        tuple(Citation(number, *span, known.get(number)) for span, number in _numbers(answer, len(known)))
    )


def _numbers(answer: str, last: int) -> Iterator[tuple[tuple[int, int], int]]:
    for group in _GROUP.finditer(answer):
        for first, end in _PART.findall(group[1]):
            lowest, highest = int(first), int(end or first)
            numbers = (
                range(lowest, highest + 1)
                if 1 <= lowest <= highest <= last
                else dict.fromkeys((lowest, highest))
            )
            for number in numbers:
                yield group.span(), number
