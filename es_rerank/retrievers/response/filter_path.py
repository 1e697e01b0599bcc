"""``filter_path``: the part of an answer that the caller wants, as Elasticsearch's common option takes it. Pure.

https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering; written here
because no kept library knows the dialect (``*`` a key or part of one, ``**`` one key or more, ``-`` in front to exclude).

All paths are followed at once, as the bits of one number: bit n is set below a key where name n is awaited next. The time
grows with the answer and with how many different keys it has; a longer filter makes each a little slower, and is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import RequestError
from ..grammar.wildcards import matches

LONGEST = 4_096
"""Characters of a filter: Elasticsearch takes no longer address (``http.max_initial_line_length``)."""

MOST_PATTERNS = 100
"""Different names with a star within that a filter may hold: each is compared with each different key of the answer."""

_NOTHING: Any = object()


FilterPath = str | Iterable[str] | None
"""Paths with commas between them, or a list of paths."""


def check_filter_path(paths: FilterPath) -> None:
    """Raise, before anything is searched, what ``selected`` raises."""
    selected({}, paths)


def selected(answer: dict[str, Any], paths: FilterPath) -> dict[str, Any]:
    """Return the answer with only the paths that are asked for; all of it where none is asked.

    Raises RequestError for a filter that is longer than ``LONGEST`` or holds more than ``MOST_PATTERNS``.
    """
    written = _written(paths)
    wanted = _Paths([path for path in written if path and not path.startswith("-")])
    unwanted = _Paths([path[1:] for path in written if path.startswith("-")])
    left = unwanted.without(wanted.kept(answer, wanted.start) if wanted.start else answer, unwanted.start)
    return {} if left is _NOTHING else left


def _written(paths: FilterPath) -> list[str]:
    given = [paths] if isinstance(paths, str) else list(paths or ())
    length = sum(map(len, given))
    if length > LONGEST:
        raise RequestError(
            f"[filter_path] has {length} characters, at most {LONGEST} are read; name fewer paths, or shorten them by wildcards"
        )
    return [path.strip() for path in (paths.split(",") if isinstance(paths, str) else given)]


def _names(path: str) -> list[str]:
    """Return the names of a path; a dot behind a backslash is one of a name."""
    names, held = [], ""
    *others, last = path.strip().split(".")
    for piece in others:
        if piece.endswith("\\"):
            held += f"{piece[:-1]}."
        else:
            names.append(held + piece)
            held = ""
    return [*names, held + last]


class _Paths:
    """Paths to follow through an answer. A state is a number: bit n says that name n of all paths is awaited.

    ``start`` is the state at the answer's root, 0 where there are no paths. Behind the last name of a path stands a bit
    of no name, which is set where the path was met.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.start = self._met = self._stars = 0
        self._literal: dict[str, int] = {}
        self._patterns: dict[str, int] = {}
        self._of_keys: dict[str, int] = {}
        bit = 1
        for path in paths:
            self.start |= bit
            for name in _names(path):
                if name == "**":
                    self._stars |= bit
                else:
                    table = self._patterns if "*" in name else self._literal
                    table[name] = table.get(name, 0) | bit
                bit <<= 1
            self._met |= bit
            bit <<= 1
        if len(self._patterns) > MOST_PATTERNS:
            raise RequestError(
                f"[filter_path] holds {len(self._patterns)} different names with wildcards, at most {MOST_PATTERNS} can be tried; name fewer"
            )

    def kept(self, value: Any, state: int) -> Any:  # noqa: ANN401 any JSON value
        """Return of a value what the paths meet; ``_NOTHING`` where they meet nothing."""
        if state & self._met:
            return value
        if isinstance(value, list):
            items = []
            for item in value:
                kept = self.kept(item, state)
                if kept is not _NOTHING:
                    items.append(kept)
            return items or _NOTHING
        if not isinstance(value, dict):
            return _NOTHING
        found = {}
        for key, item in value.items():
            below = self._below(key, state)
            kept = self.kept(item, below) if below else _NOTHING
            if kept is not _NOTHING:
                found[key] = kept
        return found or _NOTHING

    def without(self, value: Any, state: int) -> Any:  # noqa: ANN401 any JSON value
        """Return a value without what the paths meet; what this leaves empty goes too."""
        if state & self._met:
            return _NOTHING
        if not state or not value or not isinstance(value, (list, dict)):
            return value
        if isinstance(value, list):
            items = []
            for item in value:
                left = self.without(item, state)
                if left is not _NOTHING:
                    items.append(left)
            return items or _NOTHING
        found = {}
        for key, item in value.items():
            left = self.without(item, self._below(key, state))
            if left is not _NOTHING:
                found[key] = left
        return found or _NOTHING

    def _below(self, key: str, state: int) -> int:
        """Return the state below a key: ``**`` goes on, and it and each name that the key is give way to the next."""
        named = self._of_keys.get(key)
        if named is None:
            named = self._literal.get(key, 0)
            for pattern, bits in self._patterns.items():
                if matches(key, pattern):
                    named |= bits
            self._of_keys[key] = named
        going_on = state & self._stars
        return going_on | ((going_on | state & named) << 1)
