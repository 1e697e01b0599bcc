"""``filter_path``: the part of an answer that the caller wants, as Elasticsearch's common option takes it. Pure.

https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering; written here
because no kept library knows the dialect (``*`` a key or part of one, ``**`` any depth, ``-`` in front to exclude).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_NOTHING: Any = object()


def selected(answer: dict[str, Any], paths: str | Iterable[str] | None) -> dict[str, Any]:
    """Return the answer with only the paths that are asked for; all of it where none is asked."""
    written = paths.split(",") if isinstance(paths, str) else list(paths or ())
    wanted = [_parts(path) for path in written if path and not path.startswith("-")]
    unwanted = [_parts(path[1:]) for path in written if path.startswith("-")]
    if wanted:
        kept = _kept(answer, wanted)
        answer = {} if kept is _NOTHING else kept
    return _without(answer, unwanted) if unwanted else answer


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.replace(r"\.", ".") for part in re.split(r"(?<!\\)\.", path.strip()))


def _step(key: str, patterns: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return what is left of the patterns below ``key``; an empty pattern means that it was met."""
    left: list[tuple[str, ...]] = []
    for pattern in patterns:
        head, rest = pattern[0], pattern[1:]
        if head == "**":
            left.append(pattern)
            left += [()] if not rest else _step(key, [rest])
        elif re.fullmatch(".*".join(re.escape(piece) for piece in head.split("*")), key):
            left.append(rest)
    return left


def _kept(value: Any, patterns: Sequence[tuple[str, ...]]) -> Any:  # noqa: ANN401 any JSON value
    if any(not pattern for pattern in patterns):
        return value
    if isinstance(value, list):
        items = [kept for item in value if (kept := _kept(item, patterns)) is not _NOTHING]
        return items or _NOTHING
    if not isinstance(value, dict):
        return _NOTHING
    found = {key: kept for key, item in value.items() if (left := _step(key, patterns)) and (kept := _kept(item, left)) is not _NOTHING}
    return found or _NOTHING


def _without(value: Any, patterns: Sequence[tuple[str, ...]]) -> Any:  # noqa: ANN401 any JSON value
    if isinstance(value, list):
        return [_without(item, patterns) for item in value]
    if not isinstance(value, dict):
        return value
    left = {key: _step(key, patterns) for key in value}
    return {key: _without(item, left[key]) if left[key] else item for key, item in value.items() if () not in left[key]}
