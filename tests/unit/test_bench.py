"""Measuring speed: the arithmetic on known numbers."""

from __future__ import annotations

import gc
import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.engine import processor
from es_rerank.errors import SearchError
from es_rerank.research.bench.gateway import measure, questions, rows
from es_rerank.research.bench.gateway_searches import CASES, Way, without_model
from es_rerank.research.bench.machine import machine
from es_rerank.research.bench.paired import added, spread

times = st.lists(st.floats(min_value=0.01, max_value=1e4), min_size=1, max_size=40)


def test_a_spread_is_the_one_worked_out_by_hand() -> None:
    assert spread(np.arange(1.0, 102.0)) == (51.0, 96.0, 1.0, 101.0)
    assert spread(np.array([2.5])) == (2.5, 2.5, 2.5, 2.5)


def test_what_is_added_is_the_median_of_the_pairs_not_the_difference_of_the_medians() -> None:
    baseline, through = np.array([1.0, 2.0, 9.0]), np.array([2.0, 9.5, 10.0])
    assert added(through, baseline).median == 1.0
    assert np.median(through) - np.median(baseline) == 7.5


def test_a_drift_that_both_share_cancels() -> None:
    baseline = np.linspace(1, 50, 200)
    assert added(baseline + 3, baseline) == pytest.approx((3, 3, 3))


def test_the_interval_is_as_wide_as_theory_says() -> None:
    draw, rounds = np.random.default_rng(5), 2_000
    found = added(draw.normal(4, 1, rounds), np.zeros(rounds))
    expected = (
        2 * 1.96 * math.sqrt(math.pi / 2 / rounds)
    )  # twice 1.96 standard errors of a median of normal draws
    assert found.low < 4 < found.high
    assert found.high - found.low == pytest.approx(expected, rel=0.25)


@settings(max_examples=25, deadline=None)
@given(times, st.randoms(use_true_random=False))
def test_the_median_lies_in_its_interval_and_turns_with_the_sides(values: list[float], shuffled: Any) -> None:
    other = values.copy()
    shuffled.shuffle(other)
    there, back = added(np.array(values), np.array(other)), added(np.array(other), np.array(values))
    assert there.low <= there.median <= there.high
    assert min(np.subtract(values, other)) <= there.low
    assert there.high <= max(np.subtract(values, other))
    assert there.median == pytest.approx(-back.median)
    assert added(np.array(values), np.array(other)) == there


def test_timings_of_other_rounds_are_not_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        added(np.ones(3), np.ones(2))


def test_a_machine_without_cpuinfo_has_a_name_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all(machine("9.5.0").values())
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert set(machine("9.5.0")) == {"cpu", "cores", "python", "elasticsearch"}
    assert all(machine("9.5.0").values())


# --- the loop -----------------------------------------------------------------------------------------------


Hits = list[tuple[str, float]]


class Recorder:
    """Answers every search with the hits that it was given, and keeps in which order it was asked what."""

    def __init__(
        self, way: str, asked: list[tuple[str, str]], hits: Hits | None = None, model_ms: float = 4.0
    ) -> None:
        self.way, self.asked, self.model_ms = way, asked, model_ms
        self.hits = hits or [("a", 2.0), ("b", 1.0)]

    def search(self, *, index: str, body: dict[str, Any]) -> dict[str, Any]:
        assert index == "some-index"
        assert not gc.isenabled()
        self.asked.append((self.way, json.dumps(_names_in(body))))
        return {
            "hits": {"hits": [{"_id": name, "_score": score} for name, score in self.hits]},
            "rerank": {"milliseconds": {"rerank": self.model_ms}},
        }


def _names_in(body: dict[str, Any]) -> Any:
    """Return which search a body is: its retrievers, without their other parameters."""
    if "retriever" not in body:
        return list(body)
    (content,) = body["retriever"].values()
    inner = content.get("retrievers", [])
    return [*body["retriever"], *[name for each in inner for name in each], *_names_in(content)[:1]]


def _recorders(**hits: Hits) -> dict[Way, Recorder]:
    return {way: Recorder(way, [], hits.get(way)) for way in ("direct", "sidecar", "library", "plugin")}


def test_every_round_asks_every_case_once_in_an_order_of_its_own() -> None:
    asked: list[tuple[str, str]] = []
    told: list[int] = []
    ways: dict[Way, Recorder] = {
        way: Recorder(way, asked) for way in ("direct", "sidecar", "library", "plugin")
    }
    measured = measure(ways, "some-index", 20, told.append)
    per_round = [asked[start : start + len(CASES)] for start in range(0, len(asked), len(CASES))]
    assert len(per_round) == 40  # as many again warm up
    assert all(sorted(each) == sorted(per_round[0]) for each in per_round)
    assert len(set(per_round[0])) == len(CASES)
    assert len({tuple(each) for each in per_round}) > 30
    assert told == [0] * 20 + list(range(1, 21))
    expected = [row for case in CASES for row in [case, *([without_model(case)] * case.reranks)]]
    assert [row.case for row in measured] == expected
    assert gc.isenabled()


def test_without_the_plugin_its_cases_are_left_out() -> None:
    ways = _recorders()
    del ways["plugin"]
    measured = measure(ways, "some-index", 1, lambda _: None)
    assert {row.case.way for row in measured} == {"direct", "sidecar", "library"}


def test_a_way_that_finds_other_hits_ends_the_run() -> None:
    with pytest.raises(SearchError, match="search-sidecar finds other hits"):
        measure(_recorders(sidecar=[("b", 2.0), ("a", 1.0)]), "some-index", 1, lambda _: None)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("hits", "same"),
    [
        ([("b", 2.0), ("a", 2.0), ("c", 1.0)], True),  # another order of equal scores
        ([("a", 2.0), ("b", 2.0), ("d", 1.0)], True),  # another of those that the page's end cuts
        ([("a", 2.0), ("d", 2.0), ("c", 1.0)], False),
        ([("a", 2.0), ("b", 2.0), ("d", 1.1)], False),
        ([("a", 2.0), ("b", 2.0)], False),
    ],
)
def test_equal_scores_may_have_any_order(hits: Hits, same: bool) -> None:
    ways = _recorders(plugin=hits)
    for way in ("direct", "sidecar", "library"):
        ways[way].hits = [("a", 2.0), ("b", 2.0), ("c", 1.0)]
    with nullcontext() if same else pytest.raises(SearchError, match="rrf-2-plugin finds other hits"):
        measure(ways, "some-index", 1, lambda _: None)


def test_rows_compare_each_case_with_its_baseline() -> None:
    names = [case.name for case in CASES]
    taken = np.tile(np.arange(float(len(CASES))), (5, 1))
    for row in rows(CASES, taken, np.full(5, 0.5)):
        name = row.case.name.removesuffix("-rest")
        expected = names.index(name) - (0.5 if name != row.case.name else 0)
        shown = row.as_json()
        assert (shown["p50_ms"], shown["min_ms"], shown["max_ms"]) == (expected, expected, expected)
        assert shown["added_ms"] == (
            None if row.case.baseline is None else expected - names.index(row.case.baseline)
        )


def test_questions_are_the_same_every_time() -> None:
    first = questions(30)
    assert questions(30) == first
    assert len({question.text for question in first}) > 25
    assert all(len(question.vector) == 64 for question in first)
