"""Takes the text of a field from a hit of Elasticsearch. Pure functions, no I/O.

Every text of a hit that is reranked, cited or shown is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..types import Passage

_MOST_LEVELS = 20
"""Most levels of objects: Elasticsearch's default for ``index.mapping.depth.limit``. It bounds the work for a
name that is nothing but dots."""


HEADING = "heading"
"""The field of a stored passage that holds the headings above it."""

_APART = ("fields", "ignored_field_values")
"""The parts of a hit that hold values beside ``_source``. A value stands in one of them."""


def field_values(hit: Mapping[str, Any], field: str) -> list[Any]:
    """Return the values of a field of a hit, in the order of the document.

    ``field`` is the name in the mapping, with dots between an object and its fields. Values come from
    ``_source``. If it has none, they come from ``fields`` and ``ignored_field_values``. There Elasticsearch
    puts values that it does not index, such as a keyword beyond ``ignore_above``. In all, objects may be
    nested, a key may itself hold dots, and all elements of a list count, also where a list is in a list. For
    a multi-field, which ``_source`` does not hold, the texts of its parent are returned. Values keep their
    type: text, number, boolean or object. Null is no value.
    """
    return [value for value, _ in _found(hit, field)]


def field_text(hit: Mapping[str, Any], field: str) -> str:
    """Return the values of a field as one text, one line for each value; "" if there is none.

    Numbers and booleans are written as in JSON. Objects are left out.
    """
    return text_of(field_values(hit, field))


def field_passages(hit: Mapping[str, Any], field: str, path: str | None = None) -> list[Passage]:
    """Return the stored passages that a field holds: one for each object that has a text in this field.

    ``path`` is the path of the nested objects, if the mapping states it. Without it, the parent of the field
    is taken, and its objects hold passages only if they stand in a list or have offsets. The offsets are the
    numbers ``start`` and ``end`` of the object, in characters; (0, 0) if one is missing or they are no range.
    A passage with offsets has the text in ``heading`` of the object as its heading, as in an index that
    ``es-rerank ingest`` made.
    """
    parent = field.rpartition(".")[0] if path is None else path
    if not parent:
        return []
    name = field[len(parent) + 1 :]
    objects = [(value, listed) for value, listed in _found(hit, parent) if isinstance(value, Mapping)]
    read = [(passage_of(text_of(_at(value, name)), value), listed) for value, listed in objects]
    return [passage for passage, listed in read if passage.text and (path or listed or passage.end)]


def passage_of(text: str, holder: Mapping[str, Any]) -> Passage:
    """Return a passage with the offsets and the heading of the object that holds it (see
    ``field_passages``).
    """
    start, end = _offset(holder, "start"), _offset(holder, "end")
    if start is None or end is None or not 0 <= start <= end:
        return Passage(text, 0, 0)
    return Passage(text, start, end, text_of(_at(holder, HEADING)))


def text_of(values: list[Any]) -> str:
    """Return values as one text (see ``field_text``)."""
    return "\n".join(
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in values
        if not isinstance(value, Mapping)
    )


def _offset(holder: Mapping[str, Any], name: str) -> int | None:
    value = next(iter(_at(holder, name)), None)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)  # Elasticsearch takes a number in a string too
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _found(hit: Mapping[str, Any], field: str) -> list[tuple[Any, bool]]:
    """Return the values of a field, each with whether it stands in a list."""
    source = hit.get("_source")
    found, parents = _walk(source, field) if source else ([], [])
    return (
        found
        or [value for part in _APART if (root := hit.get(part)) for value in _walk(root, field)[0]]
        or parents
    )


def _at(value: Mapping[str, Any], path: str) -> list[Any]:
    return [found for found, _ in _walk(value, path)[0]]


def _walk(root: Any, field: str) -> tuple[list[tuple[Any, bool]], list[tuple[Any, bool]]]:  # noqa: ANN401 any JSON value
    """Return the values at a dotted path, and the texts above its end; each with whether it stands in a list.

    Lists may be nested as deep as a caller likes, so there is no recursion.
    """
    found, parents = [], []
    waiting = [(root, field, False)]
    while waiting:
        value, path, listed = waiting.pop()
        if isinstance(value, list):
            waiting.extend((element, path, True) for element in reversed(value))
        elif not path:
            if value is not None:
                found.append((value, listed))
        elif isinstance(value, Mapping):
            waiting.extend(
                (value[key], remaining, listed) for key, remaining in _splits(path) if key in value
            )
        elif isinstance(value, str):
            parents.append((value, listed))
    return found, parents


@lru_cache(maxsize=256)
def _splits(path: str) -> tuple[tuple[str, str], ...]:
    """Return each way to read a path as a key and the path below it, the longest key first."""
    ends = [place for place, sign in enumerate(path) if sign == "."][: _MOST_LEVELS - 1]
    return (path, ""), *((path[:end], path[end + 1 :]) for end in reversed(ends))
