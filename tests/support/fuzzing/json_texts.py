"""Writes JSON that need not be valid: raw text in place of a value, and keys that are there twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Value = Any
"""A JSON value; ``Raw`` and ``Pairs`` may stand at any place in it."""


@dataclass(frozen=True)
class Raw:
    """Bytes that are written as they are."""

    data: bytes


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may be there more than once."""

    entries: tuple[tuple[str, Value], ...]


def written(value: Value) -> bytes:
    """Return a value as JSON. Half a surrogate pair becomes an escape."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, (dict, Pairs)):
        entries = value.entries if isinstance(value, Pairs) else value.items()
        return b"{" + b", ".join(written(key) + b": " + written(part) for key, part in entries) + b"}"
    if isinstance(value, (list, tuple)):
        return b"[" + b", ".join(map(written, value)) + b"]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value).encode()


def _text(value: str) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def lines(values: list[Value]) -> bytes:
    """Return values as JSON, one on each line."""
    return b"".join(written(value) + b"\n" for value in values)
