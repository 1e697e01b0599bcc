"""Makes JSON values of the values that Python objects and YAML hold."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from .fields import value_at
from .files import FoundFile

MOST_VALUES = 100_000
"""Most values of one document's metadata. A few lines of YAML with aliases can stand for billions."""

_DEEPEST = 200
_NO_LIST = (str, bytes, bytearray, memoryview, io.IOBase)
_MOST_BITS = 3322
"""Bits of 10^1000. Python itself does not write whole numbers of more than 4,300 digits."""


class NoMetadataError(ValueError):
    """The metadata are too many, too deeply nested, hold themselves, or hold a number that is too long."""


def plain_metadata(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """Return metadata as JSON can hold them.

    Dates and times become ISO 8601, bytes base64, NaN and infinity their names, sets and other iterables
    lists, numbers of NumPy those of Python, keys strings, and other objects what ``str()`` gives. Raises
    NoMetadataError when that is more than ``MOST_VALUES`` values, nested too deeply, or holds a whole number
    of more than 1,000 digits.
    """
    left = [MOST_VALUES]
    return {_key(key): _plain(value, left, _DEEPEST) for key, value in metadata.items()}


def chosen_metadata(said: dict[str, Any], file: FoundFile) -> dict[str, Any]:
    """Return what a file says of itself, or only those fields of it that the caller named."""
    if file.fields.metadata is None:
        return said
    chosen = {name: value for name in file.fields.metadata if (value := value_at(said, name)) is not None}
    file.notes.found.update(chosen)
    return chosen


def _plain(value: Any, left: list[int], depth: int) -> Any:  # noqa: ANN401 any value
    left[0] -= 1
    if left[0] < 0:
        raise NoMetadataError(f"its metadata hold more than {MOST_VALUES} values")
    if depth < 0:
        raise NoMetadataError(f"its metadata are nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, left, depth - 1) for key, inner in value.items()}
    if isinstance(value, Sequence | AbstractSet | Iterator) and not isinstance(value, _NO_LIST):
        members: Iterable[Any] = sorted(value, key=str) if isinstance(value, AbstractSet) else value
        return [_plain(inner, left, depth - 1) for inner in members]
    return _scalar(value, left, depth)


def _scalar(value: Any, left: list[int], depth: int) -> Any:  # noqa: ANN401 any value
    as_python = getattr(value, "tolist", None)  # numbers and arrays of NumPy, and of those that do as it does
    if isinstance(value, Enum):
        plain = _plain(value.value, left, depth - 1)
    elif value is None or isinstance(value, bool):
        plain = value
    elif isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise NoMetadataError(
                "its metadata hold a number of more than 1,000 digits, which Elasticsearch does not read"
            )
        plain = int(value)
    elif isinstance(value, float):
        plain = float(value) if math.isfinite(value) else str(float(value))
    elif isinstance(value, datetime | date | time):
        plain = value.isoformat()
    elif isinstance(value, bytes | bytearray | memoryview):
        plain = base64.b64encode(value).decode("ascii")
    elif callable(as_python) and not isinstance(value, type | str):
        plain = _plain(as_python(), left, depth - 1)
    else:
        plain = str(value)
    return plain


def _key(key: Any) -> str:  # noqa: ANN401 any value
    if isinstance(key, str):
        return str(key)
    return key.isoformat() if isinstance(key, datetime | date) else str(key)
