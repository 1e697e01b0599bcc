"""Wildcards and filters that callers write: what they match, in time that grows with their length."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import RequestError
from es_rerank.retrievers.grammar.wildcards import matches
from es_rerank.retrievers.response import filter_path


def reference(text: str, pattern: str) -> bool:
    """Say the same by the definition, place by place."""
    reached = {0}
    for sign in pattern:
        if sign == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {place + 1 for place in reached if text[place : place + 1] == sign}
    return len(text) in reached


@given(text=st.text("ab?[.\n", max_size=12), pattern=st.text("ab?[.\n**", max_size=10))
def test_a_star_stands_for_any_signs_and_nothing_else_is_special(text: str, pattern: str) -> None:
    assert matches(text, pattern) == reference(text, pattern)


def test_many_stars_and_long_names_take_no_time() -> None:
    assert not matches("a" * 1_000_000, "**********a*a*a*b")
    assert not matches("a" * 100_000, "*a" * 40_000 + "*b*")
    assert matches("a" * 100_000, "*a" * 50_000)
    assert not matches("ab" * 100_000, "*" + "ab" * 20_000 + "c*")


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (".".join(["**"] * 20_000), "has 59999 characters, at most 4096 are read"),
        (",".join(["hits"] * 20_000), "has 99999 characters, at most 4096 are read"),
        (["hits"] * 20_000, "has 80000 characters, at most 4096 are read"),
        (
            [f"*{number}" for number in range(101)],
            "names 101 different wildcard patterns, more than the limit of 100; name fewer patterns",
        ),
        (",".join(f"-a.b*{number}" for number in range(101)), "names 101 different wildcard patterns"),
    ],
)
def test_a_filter_that_is_too_large_is_refused(paths: Any, fault: str) -> None:
    with pytest.raises(RequestError, match=rf"^\[filter_path\] {fault}"):
        filter_path.selected({"took": 1}, paths)


def test_each_different_key_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def counted(text: str, pattern: str) -> bool:
        asked.append((text, pattern))
        return matches(text, pattern)

    monkeypatch.setattr(filter_path, "matches", counted)
    hits = [{"_id": str(number), "_source": {"a": {"b": number}}} for number in range(1_000)]
    paths = ["**.b*", "hits.*.a*", *["**"] * 3, "**.**.**._i*", "-**._s*"]
    assert filter_path.selected({"hits": {"hits": hits}}, paths) == {
        "hits": {"hits": [{"_id": hit["_id"]} for hit in hits]}
    }
    assert len(asked) == len(set(asked))


def test_a_long_filter_over_a_deep_answer() -> None:
    deep: dict[str, Any] = {"b": 1}
    for _ in range(400):
        deep = {"a": deep, "c": 2}
    assert filter_path.selected(deep, ",".join([".".join(["**"] * 1_300), "**.b"])) == by_hand(deep)


def by_hand(deep: dict[str, Any]) -> dict[str, Any]:
    return {"a": by_hand(deep["a"])} if "a" in deep else deep
