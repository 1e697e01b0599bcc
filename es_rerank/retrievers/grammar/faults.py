"""Errors in a retriever tree: Elasticsearch's error types and sentences, with the position in the tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import RetrieverParsingError
from .suggestions import did_you_mean

ILLEGAL, CONTENT = "illegal_argument_exception", "x_content_parse_exception"
NOT_A_NUMBER, PARSING = "number_format_exception", "parsing_exception"
JSON = "json_parse_exception"


def unknown_field(kind: str, key: str, known: Iterable[str], path: str) -> RetrieverParsingError:
    """Return the error for an unknown key. The message suggests the ``known`` keys with a close spelling."""
    return content_fault(f"[{kind}] unknown field [{key}]{did_you_mean(key, known)}", path)


def required_fields(names: Sequence[str], path: str) -> RetrieverParsingError:
    """Return the error for required fields that are missing."""
    return illegal_argument(f"Required [{', '.join(names)}]", path)


def failed_build(kind: str, reason: str, path: str) -> RetrieverParsingError:
    """Return the error for fields whose values are valid each but cannot be combined."""
    return content_fault(
        f"Failed to build [{kind}] after last required field arrived: {reason}", path, (ILLEGAL, reason)
    )


def wrong_type(kind: str, key: str, value: object, path: str) -> RetrieverParsingError:
    """Return the error for a value whose JSON type the field does not accept."""
    return content_fault(f"[{kind}] {key} doesn't support values of type: {token_of(value)}", path)


def content_fault(message: str, path: str, cause: tuple[str, str] | None = None) -> RetrieverParsingError:
    """Return the error for invalid content at ``path``.

    ``cause`` is (error type, reason) of the cause, which the answer shows under ``caused_by``.
    """
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=CONTENT, cause=cause)


def illegal_argument(message: str, path: str) -> RetrieverParsingError:
    """Return the error for a value that is out of range at ``path``."""
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=ILLEGAL)


def parsing_fault(message: str, path: str) -> RetrieverParsingError:
    """Return the error for a wrong JSON structure at ``path``."""
    return RetrieverParsingError(f"[{path}] {message}", path=path)


def token_of(value: object) -> str:
    """Return the name that Elasticsearch's parser gives to the first token of a JSON value."""
    if value is None or isinstance(value, bool):
        return "VALUE_NULL" if value is None else "VALUE_BOOLEAN"
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        ((int, float), "VALUE_NUMBER"),
        (str, "VALUE_STRING"),
        (dict, "START_OBJECT"),
    )
    return next((name for kinds, name in names if isinstance(value, kinds)), "START_ARRAY")
