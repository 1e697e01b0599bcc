"""Reads the numbers and booleans beside a retriever as Elasticsearch's parser does (observed on 9.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import RetrieverParsingError
from .faults import CONTENT, ILLEGAL, JSON, PARSING, token_of
from .scalars import NotTakenError, as_boolean, as_integer, as_number

FLAGS = ("version", "seq_no_primary_term", "explain", "profile", "track_scores")
"""The keys of a ``_search`` body that are booleans."""

_NEGATIVE = {
    "from": "[from] parameter cannot be negative but was [{}]",
    "size": "[size] parameter cannot be negative, found [{}]",
    "terminate_after": "[terminate_after] terminateAfter must be > 0",
}
"""Elasticsearch's sentences about negative numbers, by the keys that may not have one."""

_ENCLOSED = frozenset({JSON, "input_coercion_exception"})
"""Types of faults that Elasticsearch encloses in an ``x_content_parse_exception``."""


def read_body_value(key: str, value: Any) -> Any:  # noqa: ANN401 any JSON value may arrive
    """Return the value of a key of the body.

    Numbers and booleans may be strings, and decimal places of a whole number are cut off. Raises
    RetrieverParsingError for null, and for a number or a boolean that Elasticsearch does not take.
    """
    if value is None or (key in _READERS and isinstance(value, (list, dict))):
        raise _fault(key, PARSING, f"Unknown key for a {token_of(value)} in [{key}].")
    if key == "indices_boost":
        _check_boosts(value)
    if key not in _READERS:
        return value
    try:
        read = _READERS[key](value)
    except NotTakenError as error:
        kind, reason = error.cause or (JSON, _wrong_token(key, value))
        cause = (kind, reason) if kind in _ENCLOSED else None
        raise _fault(key, CONTENT if cause else kind, f"[{key}] {reason}", cause) from error
    if key in _NEGATIVE and read < 0:
        raise _fault(key, ILLEGAL, _NEGATIVE[key].format(read))
    if key == "track_total_hits" and read < -1:
        raise _fault(key, ILLEGAL, f"[{key}] parameter must be positive or equals to -1, got {read}")
    return read


def _check_boosts(boosts: object) -> None:
    """Check ``indices_boost``: a list of objects with one number each, under the name of an index."""
    key = "indices_boost"
    if not isinstance(boosts, list):
        raise _fault(key, PARSING, f"Unknown key for a {token_of(boosts)} in [{key}].")
    for boost in boosts:
        if not isinstance(boost, dict):
            raise _fault(key, PARSING, f"Expected [START_OBJECT] in [null] but found [{token_of(boost)}]")
        number = next(iter(boost.values()), 0)
        if not boost:
            expected, found = "FIELD_NAME", "END_OBJECT"
        elif isinstance(number, bool) or not isinstance(number, (int, float)):
            expected, found = "VALUE_NUMBER", token_of(number)
        elif len(boost) > 1:
            expected, found = "END_OBJECT", "FIELD_NAME"
        else:
            continue
        raise _fault(key, PARSING, f"Expected [{expected}] in [{key}] but found [{found}]")


def _hits_to_count(value: object) -> int | bool:
    """Return ``track_total_hits``: whether to count the hits, or up to which number."""
    return as_boolean(value) if isinstance(value, bool) or value in ("true", "false") else as_integer(value)


def _wrong_token(key: str, value: object) -> str:
    if key in FLAGS:
        number = "VALUE_NUMBER_INT" if isinstance(value, int) else "VALUE_NUMBER_FLOAT"
        return f"Current token ({number}) not of boolean type"
    return f"Current token (VALUE_{str(value).upper()}) not numeric, can not use numeric value accessors"


def _fault(key: str, kind: str, sentence: str, cause: tuple[str, str] | None = None) -> RetrieverParsingError:
    return RetrieverParsingError(sentence, path=key, kind=kind, cause=cause)


_READERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(("from", "size", "terminate_after"), as_integer),
    **dict.fromkeys(FLAGS, as_boolean),
    "min_score": as_number,
    "track_total_hits": _hits_to_count,
}
