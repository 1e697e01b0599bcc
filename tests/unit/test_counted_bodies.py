"""Depth and number of values of a body are counted on its bytes, however they are cut into pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from es_rerank.errors import EsRerankError, RequestError, TooLargeError
from es_rerank.sidecar.messages.body import Count, Counted

SIGNS = st.lists(
    st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b",", b"\n", b"x", "é".encode()])
    | st.binary(max_size=3),
    max_size=60,
).map(b"".join)
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(['\\"', '"[,', "\\", "\\\\", "}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def slow(data: bytes) -> tuple[int, int, int]:
    """Return (deepest level, values, lines), one byte after the other."""
    depth = deepest = values = 0
    escaped = in_string = False
    for sign in data:
        if sign == 0x22 and not escaped:
            in_string = not in_string
        elif not in_string:
            depth += (sign in b"[{") - (sign in b"]}")
            deepest = max(deepest, depth)
            values += sign in b"[{,"
        escaped = sign == 0x5C and not escaped
    return deepest, values, data.count(b"\n")


def counted(*pieces: bytes) -> tuple[int, int, int]:
    count = Count()
    for piece in pieces:
        count.add(piece)
    return count.deepest, count.values, count.lines


@given(SIGNS, st.lists(st.integers(0, 200), max_size=8))
@example(b'"\\', [1])
@example(b'["\\\\","[[["]', [3, 4])
@example(b'["\\', [])
def test_any_split_of_any_bytes_counts_the_same(data: bytes, cuts: list[int]) -> None:
    places = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    assert counted(*pieces) == slow(data)


def scalars_and_depth(value: Any) -> tuple[int, int]:
    if not isinstance(value, (dict, list)):
        return 1, 0
    parts = [scalars_and_depth(part) for part in (value.values() if isinstance(value, dict) else value)]
    return 1 + sum(count for count, _ in parts), 1 + max((depth for _, depth in parts), default=0)


@given(JSON, st.booleans())
def test_json_holds_no_more_values_than_are_counted(value: Any, escaped: bool) -> None:
    deepest, values, _ = counted(json.dumps(value, ensure_ascii=escaped).encode())
    held, depth = scalars_and_depth(value)
    assert deepest == depth
    assert held <= 2 * values + 1


LIMITS = Counted(depth=3, values=10, lines=4)


@pytest.mark.parametrize(
    ("data", "error", "limit"),
    [
        (b"[" * 4, RequestError, "3 levels of brackets"),
        (b'{"a":' * 4, RequestError, "3 levels of brackets"),
        (b"[" + b"1," * 10, TooLargeError, "10 values"),
        (b"{}" * 11, TooLargeError, "10 values"),
        (b"{}\n" * 5, TooLargeError, "4 lines"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_the_limit_and_a_remedy(
    data: bytes, error: type[EsRerankError], limit: str
) -> None:
    with pytest.raises(error, match=f"over {limit}; send it"):
        LIMITS.check(data)


@pytest.mark.parametrize("data", [b"[[[]]]" * 3, b'"' + b"[" * 100, b'"\\"' + b"[" * 100, b"[" + b"1," * 9])
def test_what_is_at_a_limit_is_not(data: bytes) -> None:
    LIMITS.check(data)
