"""``filter_path``: selects parts of an answer, as Elasticsearch's common option does. Pure functions, no I/O.

https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering

In a path, ``*`` stands for a key or a part of it, ``**`` for one or more keys, and ``-`` at the start
excludes the path. It is implemented here because no maintained library supports this syntax.

All paths are followed at the same time. The state is one number: bit n is set if name n of all paths must
match the next key. The time grows with the size of the answer and its number of different keys. The length of
the filter is limited, because a longer filter makes each step slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import RequestError
from ..grammar.wildcards import matches

MAX_FILTER_CHARACTERS = 4_096
"""Most characters of a filter: the longest URL that Elasticsearch accepts
(``http.max_initial_line_length``)."""

MAX_WILDCARD_NAMES = 100
"""Most different names with ``*`` in a filter. Each of them is compared with each different key of the
answer."""

_NOTHING: Any = object()


FilterPath = str | Iterable[str] | None
"""A string of paths separated by commas, a list of paths, or None."""


def check_filter_path(paths: FilterPath) -> None:
    """Check a filter before the search starts. Raises RequestError as ``selected`` does."""
    selected({}, paths)


def selected(answer: dict[str, Any], paths: FilterPath) -> dict[str, Any]:
    """Return the parts of an answer that the paths select, or the whole answer without paths.

    Raises RequestError when the filter is longer than ``MAX_FILTER_CHARACTERS`` characters or has more than
    ``MAX_WILDCARD_NAMES`` names with ``*``.
    """
    path_list = _path_list(paths)
    wanted = _Paths([path for path in path_list if path and not path.startswith("-")])
    unwanted = _Paths([path[1:] for path in path_list if path.startswith("-")])
    left = unwanted.without(wanted.kept(answer, wanted.start) if wanted.start else answer, unwanted.start)
    return {} if left is _NOTHING else left


def _path_list(paths: FilterPath) -> list[str]:
    given = [paths] if isinstance(paths, str) else list(paths or ())
    length = sum(map(len, given))
    if length > MAX_FILTER_CHARACTERS:
        raise RequestError(
            f"[filter_path] has {length} characters, at most {MAX_FILTER_CHARACTERS} are read; "
            "name fewer paths, or shorten them by wildcards"
        )
    return [path.strip() for path in (paths.split(",") if isinstance(paths, str) else given)]


def _names(path: str) -> list[str]:
    """Return the names of a path. A dot after a backslash does not separate names but belongs to the name."""
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
    """Follows several paths through an answer. In a state, bit n says that name n of all paths must match
    next.

    ``start`` is the state at the root of the answer, 0 without paths. After the bits of the names of a path
    there is one more bit; it is set when the whole path has matched.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.start = self._matched = self._double_stars = 0
        self._literal: dict[str, int] = {}
        self._patterns: dict[str, int] = {}
        self._bits_of_keys: dict[str, int] = {}
        bit = 1
        for path in paths:
            self.start |= bit
            for name in _names(path):
                if name == "**":
                    self._double_stars |= bit
                else:
                    table = self._patterns if "*" in name else self._literal
                    table[name] = table.get(name, 0) | bit
                bit <<= 1
            self._matched |= bit
            bit <<= 1
        if len(self._patterns) > MAX_WILDCARD_NAMES:
            raise RequestError(
                f"[filter_path] names {len(self._patterns)} different wildcard patterns, "
                f"more than the limit of {MAX_WILDCARD_NAMES}; name fewer patterns"
            )

    def kept(self, value: Any, state: int) -> Any:  # noqa: ANN401 any JSON value
        """Return the parts of a value that the paths select, or ``_NOTHING`` if they select nothing."""
        if state & self._matched:
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
        parts = {}
        for key, item in value.items():
            below = self._below(key, state)
            kept = self.kept(item, below) if below else _NOTHING
            if kept is not _NOTHING:
                parts[key] = kept
        return parts or _NOTHING

    def without(self, value: Any, state: int) -> Any:  # noqa: ANN401 any JSON value
        """Return a value without the parts that the paths select, and without objects that become empty."""
        if state & self._matched:
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
        parts = {}
        for key, item in value.items():
            left = self.without(item, self._below(key, state))
            if left is not _NOTHING:
                parts[key] = left
        return parts or _NOTHING

    def _below(self, key: str, state: int) -> int:
        """Return the state below a key.

        A name that matches the key is replaced by the next name of its path. ``**`` stays, and its next name
        is added.
        """
        named = self._bits_of_keys.get(key)
        if named is None:
            named = self._literal.get(key, 0)
            for pattern, bits in self._patterns.items():
                if matches(key, pattern):
                    named |= bits
            self._bits_of_keys[key] = named
        double_stars = state & self._double_stars
        return double_stars | ((double_stars | state & named) << 1)
