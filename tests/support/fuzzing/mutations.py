"""Changes to the body of a request as a JSON value: values, keys, and what stands around them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from . import odd_values
from .json_texts import Pairs, Value, written


def changed(draw: Random, value: Value) -> Value:
    """Return a copy of a JSON value that is changed at one place.

    Half of the places are drawn from all, so most are deep; the others by going down from the root, so that
    keys near it are drawn as often as what a query holds.
    """
    path = draw.choice(_places(value, ())) if draw.random() < 0.5 else _down(draw, value)
    if draw.random() < 0.16:
        return _deep(draw, value)
    if draw.random() < 0.06:
        other = _at(value, draw.choice(_places(value, ())))
        return _replaced(value, path, other) if path else value
    return _put(draw, value, path)


def _at(value: Value, path: tuple[Any, ...]) -> Value:
    for step in path:
        value = value[step]
    return value


def _replaced(value: Value, path: tuple[Any, ...], other: Value) -> Value:
    """Return a copy with another value at a path."""
    if not path:
        return other
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_replaced(part, rest, other) if place == step else part for place, part in enumerate(value)]
    return {key: _replaced(part, rest, other) if key == step else part for key, part in value.items()}


_DEEP = (20, 60, 90, 120, 150, 180, 200, 230, 250, 280, 300, 330, 400, 450, 600, 900)
"""Levels that may be too many for code that calls itself, though the text of the body can be read."""


def _deep(draw: Random, value: Value) -> Value:
    """Return the value with one of its parts below many retrievers, queries, objects or lists."""
    path = draw.choice([path for path in _places(value, ()) if path] or [()])
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
    around = (
        _RETRIEVERS if key in {"retriever", "retrievers"} else _QUERIES if key in _QUERY_KEYS else _AROUND
    )
    opening, closing = draw.choice(around)
    other = odd_values.nested(draw.choice(_DEEP), opening, closing, written(_at(value, path)))
    return _replaced(value, path, other) if path else value


def _down(draw: Random, value: Value) -> tuple[Any, ...]:
    path: tuple[Any, ...] = ()
    while isinstance(value, (dict, list)) and value and (not path or draw.random() < 0.8):
        step = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
        path, value = (*path, step), value[step]
    return path


def _places(value: Value, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, part in value.items():
            found += _places(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            found += _places(part, (*path, number))
    return found


def _put(draw: Random, value: Value, path: tuple[Any, ...]) -> Value:
    if not path:
        return _other(draw, value)
    step, *rest = path
    if isinstance(value, list):
        return [_put(draw, part, tuple(rest)) if place == step else part for place, part in enumerate(value)]
    if not rest and draw.random() < 0.25:
        return _other_key(draw, value, step)
    return {key: _put(draw, part, tuple(rest)) if key == step else part for key, part in value.items()}


def _other_key(draw: Random, value: dict[str, Value], key: str) -> Value:
    """Return the object with a key that is left out, renamed, there twice, or has a neighbour."""
    entries = list(value.items())
    place = list(value).index(key)
    kind = draw.randrange(9)
    if kind <= 1:
        del entries[place]
    elif kind <= 3:
        entries[place] = (draw.choice([odd_values.text(draw), key.upper(), key + "s", key[:-1]]), value[key])
    elif kind == 4:
        entries.insert(place, (key, draw.choice([value[key], odd_values.value(draw)])))
    else:
        entries.append((odd_values.text(draw), odd_values.value(draw)))
    return Pairs(tuple(entries))


_TIMES = (2, 2, 2, 10, 10, 30, 51, 99, 100, 101, 999, 1000, 1001)
"""How many times the entries of a list are repeated: up to the limits of the sidecar, and one more."""


def _other(draw: Random, value: Value) -> Value:
    kind = draw.random()
    if isinstance(value, str) and kind < 0.4:
        odd = odd_values.text(draw)
        return draw.choice([odd, value + odd, odd + value])
    if isinstance(value, (int, float)) and kind < 0.5:
        return odd_values.number(draw)
    if isinstance(value, dict) and kind < 0.3:
        return Pairs((*value.items(), (odd_values.text(draw), odd_values.value(draw))))
    if isinstance(value, list) and kind < 0.4:
        odd = odd_values.value(draw)
        return draw.choice([[*value, odd], value * draw.choice(_TIMES), [value], [odd, *value]])
    if kind < 0.45:
        return draw.choice([[value], {"a": value}, str(value), [value, value], json.dumps(str(value))])
    wrapped = kind < 0.55 and isinstance(value, (dict, list))
    return _wrapped(draw, value) if wrapped else odd_values.value(draw)


_RETRIEVERS: tuple[tuple[bytes, bytes], ...] = (
    (b'{"rrf":{"retrievers":[', b"]}}"),
    (b'{"linear":{"retrievers":[{"retriever":', b"}]}}"),
    (b'{"pinned":{"ids":["1"],"retriever":', b"}}"),
    (b'{"text_similarity_reranker":{"field":"text","inference_text":"a","retriever":', b"}}"),
    (b'{"rescorer":{"rescore":{"query":{"rescore_query":{"match_all":{}}}},"retriever":', b"}}"),
    (b'{"rule":{"ruleset_ids":["r"],"match_criteria":{},"retriever":', b"}}"),
    (b'{"es_rrf":{"retrievers":[', b"]}}"),
    (b'{"retriever":', b"}"),
)
_QUERIES: tuple[tuple[bytes, bytes], ...] = (
    (b'{"bool":{"must":[', b"]}}"),
    (b'{"bool":{"filter":', b"}}"),
    (b'{"nested":{"path":"passages","inner_hits":{},"query":', b"}}"),
    (b'{"constant_score":{"filter":', b"}}"),
    (b'{"standard":{"query":', b"}}"),
)
_QUERY_KEYS = frozenset({"query", "filter", "must", "should", "post_filter", "rescore_query"})
_AROUND = (
    *_RETRIEVERS,
    *_QUERIES,
    (b"[", b"]"),
    (b'{"a":', b"}"),
    (b'{"aggs":{"a":', b"}}"),
    (b'[{"a":', b"}]"),
)
"""What may stand around a value, many times."""


def _wrapped(draw: Random, value: Value) -> Value:
    """Return the value below many retrievers, queries or lists."""
    opening, closing = draw.choice(_AROUND)
    return odd_values.nested(draw.choice([3, 30, 60, 100, 150, 300]), opening, closing, written(value))
