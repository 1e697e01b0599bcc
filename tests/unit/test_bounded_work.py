"""Trees and bodies are bounded before they are worked on: long words, long numbers, many keys.

Each case takes minutes where the bound is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import EsRerankError
from es_rerank.retrievers.grammar.parameters import whole_number
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.request import read_request
from es_rerank.retrievers.grammar.suggestions import close_to, did_you_mean

LEAF: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
LONG = "x" * 1_000_000
DIGITS = "9" * 1_000_000


def rrf(**more: Any) -> dict[str, Any]:
    return {"rrf": {"retrievers": [LEAF, LEAF], **more}}


def linear(**child: Any) -> dict[str, Any]:
    return {"linear": {"retrievers": [{"retriever": LEAF, **child}]}}


MANY = {f"key{number}": 1 for number in range(500_000)}
PINNED: Callable[[list[Any]], dict[str, Any]] = lambda docs: {"pinned": {"docs": docs, "retriever": LEAF}}  # noqa: E731
TREES: dict[str, dict[str, Any]] = {
    "an unknown retriever": {LONG: {}},
    "an unknown key": rrf(**{LONG: 1}),
    "an unknown key of a leaf": {"rrf": {"retrievers": [{"standard": {LONG: 1}}, LEAF]}},
    "an unknown key of a child": linear(**{LONG: 1}),
    "many unknown keys": rrf(**MANY),
    "many unknown keys of a leaf": {"rrf": {"retrievers": [{"standard": dict(MANY)}, LEAF]}},
    "digits": rrf(rank_constant=DIGITS),
    "digits and a letter": rrf(rank_constant=DIGITS + "x"),
    "digits behind a point": rrf(min_score="." + DIGITS + "x"),
    "digits, a point and a letter": linear(weight=DIGITS + "." + DIGITS + "x"),
    "digits of an exponent": rrf(min_score="1e" + DIGITS + "x"),
    "digits of a dimension": {
        "rrf": {"retrievers": [{"knn": {"field": "v", "k": 1, "query_vector": [DIGITS + "x"]}}, LEAF]}
    },
    "an integer over every float": rrf(min_score=10**4000),
    "an integer over every float as a weight": linear(weight=10**4000),
    "many fields": {"rrf": {"query": "q", "fields": [f"f{number}*" for number in range(200_000)]}},
    "many pinned documents": PINNED([{"_id": "1"}] * 500_000),
    "a long index of a pinned document": PINNED([{"_id": "1", "_idx" + LONG: "1"}]),
}


@pytest.mark.parametrize("name", TREES)
def test_a_fault_of_a_tree_is_found_at_once(name: str) -> None:
    with pytest.raises(EsRerankError):
        parse(TREES[name])


BODIES: dict[str, dict[str, Any]] = {
    "an unknown key": {LONG: 1},
    "many unknown keys": dict(MANY),
    "digits as size": {"size": DIGITS},
    "negative digits as size": {"size": "-" + DIGITS},
    "digits as from": {"from": DIGITS},
    "minus signs": {"size": "-" * 1_000_000},
}


@pytest.mark.parametrize("name", BODIES)
def test_a_fault_of_a_body_is_found_at_once(name: str) -> None:
    with pytest.raises(EsRerankError):
        read_request({"retriever": rrf(), **BODIES[name]})


@given(
    st.text(alphabet="abc_", max_size=12),
    st.lists(st.text(alphabet="abc_", min_size=1, max_size=12), unique=True, max_size=8),
)
def test_the_bound_on_suggestions_leaves_none_out(word: str, known: list[str]) -> None:
    def distance(left: str, right: str) -> int:
        table = {(i, 0): i for i in range(len(left) + 1)} | {(0, j): j for j in range(len(right) + 1)}
        for (i, a), (j, b) in itertools.product(enumerate(left, 1), enumerate(right, 1)):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
        return table[len(left), len(right)]

    near = {each: 1 - distance(word, each) / max(len(word), len(each)) for each in known}
    expected = sorted((each for each in known if near[each] > 0.5), key=lambda each: (-near[each], each))
    assert close_to(word, known) == expected
    assert (did_you_mean(word, known) == "") == (not expected)


@given(st.one_of(st.integers(-(10**19) + 1, 10**20 - 1).map(str), st.text(max_size=25)))
def test_whole_numbers_are_read_as_python_reads_them(text: str) -> None:
    number = whole_number(text)
    if number is None:
        assert len(text) > 20 or not text.removeprefix("-").isdecimal()
    else:
        assert number == int(text)
