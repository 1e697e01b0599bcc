"""``filter_path``: the part of an answer that the caller wants, as Elasticsearch's common option takes it. Pure.

https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering; written here
because no kept library knows the dialect (``*`` a key or part of one, ``**`` one key or more, ``-`` in front to exclude).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from .wildcards import matches

_NOTHING: Any = object()


def selected(answer: dict[str, Any], paths: str | Iterable[str] | None) -> dict[str, Any]:
    """Return the answer with only the paths that are asked for; all of it where none is asked."""
    written = [path.strip() for path in (paths.split(",") if isinstance(paths, str) else paths or ())]
    wanted = [_parts(path) for path in written if path and not path.startswith("-")]
    unwanted = [_parts(path[1:]) for path in written if path.startswith("-")]
    left = _without(_kept(answer, wanted) if wanted else answer, unwanted)
    return {} if left is _NOTHING else left


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.replace(r"\.", ".") for part in re.split(r"(?<!\\)\.", path.strip()))


def _step(key: str, patterns: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return what is left of the patterns below ``key``; an empty pattern means that it was met."""
    left: set[tuple[str, ...]] = set()
    for pattern in patterns:
        head, rest = pattern[0], pattern[1:]
        if head == "**":
            left |= {pattern, rest}
        elif matches(key, head):
            left.add(rest)
    return left


def _kept(value: Any, patterns: Collection[tuple[str, ...]]) -> Any:  # noqa: ANN401 any JSON value
    if any(not pattern for pattern in patterns):
        return value
    if isinstance(value, list):
        items = [kept for item in value if (kept := _kept(item, patterns)) is not _NOTHING]
        return items or _NOTHING
    if not isinstance(value, dict):
        return _NOTHING
    found = {key: kept for key, item in value.items() if (left := _step(key, patterns)) and (kept := _kept(item, left)) is not _NOTHING}
    return found or _NOTHING


def _without(value: Any, patterns: Collection[tuple[str, ...]]) -> Any:  # noqa: ANN401 any JSON value
    """Return a value without what the patterns meet; what this leaves empty goes too."""
    if any(not pattern for pattern in patterns):
        return _NOTHING
    if not patterns or not value or not isinstance(value, (list, dict)):
        return value
    if isinstance(value, list):
        return [left for item in value if (left := _without(item, patterns)) is not _NOTHING] or _NOTHING
    return {key: left for key, item in value.items() if (left := _without(item, _step(key, patterns))) is not _NOTHING} or _NOTHING
