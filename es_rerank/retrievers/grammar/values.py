"""Values of a retriever tree as Elasticsearch's parser reads them: numbers and truths may be strings, a single text a list of one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from ...types import Aggregation
from .faults import ILLEGAL, NOT_A_NUMBER, PARSING, content_fault, token_of, wrong_type

_MAY_BE_NULL = frozenset({"chunking_settings"})


_INTEGER_RANGE = range(-(2**31), 2**31)


_JAVA_NUMBER = re.compile(
    r"[+-]?(?:NaN|Infinity|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?[dDfF]?)"
)
"""What Java's ``Double.parseDouble`` reads, its hexadecimal form apart. Nothing is tried twice: the time is linear."""


class NotTakenError(Exception):
    """A value that Elasticsearch's parser does not take; ``cause`` is the (type, reason) of one of the right type."""

    def __init__(self, cause: tuple[str, str] | None = None) -> None:
        super().__init__(cause)
        self.cause = cause


def read_value(kind: str, key: str, value: Any, path: str) -> Any:  # noqa: ANN401 any JSON value may arrive
    """Return a value as Elasticsearch's parser takes it: numbers and truths may be strings, one text a list of one."""
    if value is None and key not in _MAY_BE_NULL:
        raise wrong_type(kind, key, value, path)
    try:
        return _READERS[key](value) if key in _READERS else value
    except NotTakenError as error:
        if error.cause is None:
            raise wrong_type(kind, key, value, path) from error
        raise content_fault(f"[{kind}] failed to parse field [{key}]", path, error.cause) from error


def as_integer(value: object) -> int:
    """Return an integer as Elasticsearch reads one: digits behind the point are cut off (observed on 9.5).

    Raises NotTakenError for a value that it does not take.
    """
    number = as_number(value)
    if number != number:  # noqa: PLR0124 NaN, which a cast in Java makes 0
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
    """Return a number, also one that is written as a string. Raises NotTakenError for a value that Elasticsearch does not take."""
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


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise NotTakenError
    if value not in {"true", "false"}:
        raise NotTakenError(
            (ILLEGAL, f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
        )
    return value == "true"


def _texts(value: object) -> list[str]:
    """Return a list of texts; numbers and truths in it are read as they are written."""
    found = []
    for each in as_list(value):
        if not isinstance(each, (str, int, float)):
            raise NotTakenError(
                (ILLEGAL, f"Expected text but found {token_of(each)}") if isinstance(value, list) else None
            )
        found.append(str(each).lower() if isinstance(each, bool) else str(each))
    return found


def _queries(value: object) -> object:
    if isinstance(value, list) and not all(isinstance(each, dict) for each in value):
        raise NotTakenError((PARSING, "[_na] query malformed, must start with start_object"))
    return value


def _vector(value: object) -> object:
    if isinstance(value, dict):
        raise NotTakenError((PARSING, "Unknown type [START_OBJECT] for parsing vector"))
    return [_dimension(each) for each in value] if isinstance(value, list) else value


def _dimension(value: object) -> float:
    try:
        return as_number(value)
    except NotTakenError as error:
        raise NotTakenError(
            error.cause or (PARSING, f"Type [{token_of(value)}] not supported for query vector")
        ) from error


def _aggregation(value: object) -> Aggregation:
    """Return how passages are aggregated: a name, or ``{"top_k_mean": k}``."""
    if isinstance(value, str) and value in {"max", "first", "mean"}:
        return Aggregation(value)  # type: ignore[arg-type] # one of its names
    if isinstance(value, dict) and set(value) == {"top_k_mean"}:
        count = as_integer(value["top_k_mean"])
        if count < 1:
            raise NotTakenError((ILLEGAL, f"[top_k_mean] must be greater than 0, was: {count}"))
        return Aggregation("top_k_mean", count)
    raise NotTakenError(
        (ILLEGAL, f'Unknown aggregation [{value}]; give "max", "first", "mean" or {{"top_k_mean": k}}')
    )


_READERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(
        ("k", "num_candidates", "rank_constant", "rank_window_size", "size", "terminate_after"), as_integer
    ),
    **dict.fromkeys(("min_score", "similarity", "visit_percentage", "weight"), as_number),
    **dict.fromkeys(("fields", "ids"), _texts),
    "aggregation": _aggregation,
    "allow_rerank_failures": _truth,
    "filter": _queries,
    "query_vector": _vector,
}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 one or several
    """Return several values as a list, one as a list of one, none as an empty one."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
