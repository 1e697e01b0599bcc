"""``filter_path``: Elastic's own examples."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.retrievers.response.filter_path import selected

ANSWER = {
    "took": 3,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {
        "total": {"value": 2, "relation": "eq"},
        "max_score": 1.5,
        "hits": [
            {"_index": "books", "_id": "1", "_score": 1.5, "_source": {"title": "Book #1", "rating": 200.1}},
            {"_index": "books", "_id": "2", "_score": 0.5, "_source": {"title": "Book #2", "rating": 1.7}},
        ],
    },
}
HITS: list[dict[str, Any]] = ANSWER["hits"]["hits"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        # https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#common-options-response-filtering
        (
            "took,hits.hits._id,hits.hits._score",
            {"took": 3, "hits": {"hits": [{"_id": "1", "_score": 1.5}, {"_id": "2", "_score": 0.5}]}},
        ),
        ("_shards.f*", {"_shards": {"failed": 0}}),
        (
            "**.title",
            {"hits": {"hits": [{"_source": {"title": "Book #1"}}, {"_source": {"title": "Book #2"}}]}},
        ),
        ("-_shards", {key: value for key, value in ANSWER.items() if key != "_shards"}),
        ("_shards.*,-_shards.failed", {"_shards": {"total": 1, "successful": 1, "skipped": 0}}),
        ("hits.hits._source", {"hits": {"hits": [{"_source": hit["_source"]} for hit in HITS]}}),
        ("*.total", {"_shards": {"total": 1}, "hits": {"total": {"value": 2, "relation": "eq"}}}),
        ("hits", {"hits": ANSWER["hits"]}),
        ("*", ANSWER),
        ("-*", {}),
        ("nonsense", {}),
        ("", ANSWER),
        (None, ANSWER),
        ([], ANSWER),
        (["took", "timed_out"], {"took": 3, "timed_out": False}),
    ],
)
def test_examples_of_elastics_page(paths: Any, expected: dict[str, Any]) -> None:
    assert selected(ANSWER, paths) == expected


def test_two_stars_stand_for_one_key_or_more_never_for_none() -> None:
    assert selected(ANSWER, "**.took") == {}
    assert selected(ANSWER, "-**.took") == ANSWER
    assert selected({"a": {"b": {"c": 1}}, "c": 2}, "**.c") == {"a": {"b": {"c": 1}}}


def test_what_an_exclusion_empties_goes_and_what_was_empty_stays() -> None:
    answer = {"emptied": {"x": 1}, "rows": [{"x": 1}, {"x": 2, "y": 3}, {}], "none": {}, "nothing": []}
    assert selected(answer, "-**.x") == {"rows": [{"y": 3}, {}], "none": {}, "nothing": []}


def test_a_star_is_the_only_sign_and_a_backslash_keeps_a_dot() -> None:
    answer = {"a?": 1, "ab": 2, "[a]": 3, "d.o.t": {"x": 4}, "d": {"o": 5}}
    assert selected(answer, "a?") == {"a?": 1}
    assert selected(answer, "[a]") == {"[a]": 3}
    assert selected(answer, r"d\.o\.t.x") == {"d.o.t": {"x": 4}}
    assert selected(answer, "d.o") == {"d": {"o": 5}}


def test_many_stars_over_a_long_key_take_no_time() -> None:
    # Backtracking through 20 stars would outlast the test run.
    assert selected({"a" * 60: 1}, "*a" * 20 + "*b") == {}
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    assert selected(deep, ".".join(["**"] * 20) + ".b") == {}
