"""Reads single values as Elasticsearch's parser does: numbers and booleans may be written as strings."""

from __future__ import annotations

import re
import sys

from .faults import ILLEGAL, NOT_A_NUMBER

_INTEGER_RANGE = range(-(2**31), 2**31)

_JAVA_NUMBER = re.compile(
    r"[+-]?(?:NaN|Infinity|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?[dDfF]?)"
)
"""The texts that Java's ``Double.parseDouble`` accepts, except its hexadecimal form. The possessive
quantifiers prevent backtracking, so the time grows linearly with the length."""


class NotTakenError(Exception):
    """Raised for a value that Elasticsearch's parser does not accept.

    ``cause`` is (error type, reason) if the JSON type is right but the value is not; None if the JSON type is
    wrong.
    """

    def __init__(self, cause: tuple[str, str] | None = None) -> None:
        super().__init__(cause)
        self.cause = cause


def as_integer(value: object) -> int:
    """Return a value as the integer that Elasticsearch reads: it cuts off decimal places (observed on 9.5).

    Raises NotTakenError when Elasticsearch does not accept the value.
    """
    number = as_number(value)
    if number != number:  # noqa: PLR0124 true only for NaN; a cast to int in Java turns NaN into 0
        return 0
    if isinstance(value, str) and not _INTEGER_RANGE.start <= number < _INTEGER_RANGE.stop:
        raise NotTakenError((ILLEGAL, f"Value [{value}] is out of range for an integer"))
    if not _INTEGER_RANGE.start <= number < _INTEGER_RANGE.stop:
        raise NotTakenError(
            (
                "input_coercion_exception",
                f"Numeric value ({value}) out of range of int (-2147483648 - 2147483647)",
            )
        )
    return int(number)


def as_number(value: object) -> float:
    """Return a value as a number. The value may be a number or a string that holds one.

    Raises NotTakenError when Elasticsearch does not accept the value.
    """
    if isinstance(value, str):
        written = value.strip("".join(map(chr, range(33))))
        if not _JAVA_NUMBER.fullmatch(written):
            raise NotTakenError(
                (NOT_A_NUMBER, f'For input string: "{written}"' if written else "empty String")
            )
        return float(written.rstrip("dDfF") if written[-1] in "dDfF" else written)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotTakenError
    if abs(value) > sys.float_info.max and isinstance(value, int):
        raise NotTakenError(
            ("input_coercion_exception", f"a number of {len(str(value))} digits is out of range")
        )
    return value


def as_boolean(value: object) -> bool:
    """Return a value as a boolean. The value may be a string; an empty one is false (observed on 9.5).

    Raises NotTakenError when Elasticsearch does not accept the value.
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise NotTakenError
    if value not in {"true", "false", ""}:
        raise NotTakenError(
            (ILLEGAL, f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
        )
    return value == "true"


def written(number: float) -> float | str:
    """Return a number as Elasticsearch reads it in JSON: NaN and the infinities are strings there."""
    if number != number:  # noqa: PLR0124 true only for NaN
        return "NaN"
    return number if abs(number) <= sys.float_info.max else ("Infinity" if number > 0 else "-Infinity")
