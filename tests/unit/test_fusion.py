"""Fusing ranked lists: by hand, to the last bit of a float32, and for any lists."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from es_rerank.retrievers.grammar.tree import Normalizer
from es_rerank.retrievers.ranking.fusion import linear, normalised, pinned_scores, renumbered, rrf
from es_rerank.retrievers.ranking.ranked_node import json_score
from es_rerank.types import Candidate

ALL = 1000
NAN = math.nan
NORMALIZERS: tuple[Normalizer, ...] = ("none", "minmax", "l2_norm")


def ranked(*ids: str, scores: list[float] | None = None) -> list[Candidate]:
    return [
        Candidate("index", name, NAN if scores is None else scores[i], i + 1) for i, name in enumerate(ids)
    ]


def pairs(fused: list[Candidate]) -> list[tuple[str, float]]:
    return [(candidate.id, candidate.score) for candidate in fused]


def ids(fused: list[Candidate]) -> list[str]:
    return [candidate.id for candidate in fused]


NAMES = [f"d{number}" for number in range(12)]
WEIGHTS = st.floats(0, 8, width=32)
SCORES = st.floats(0, 1000, width=32)
LIST = st.lists(st.sampled_from(NAMES), unique=True, max_size=12)


@st.composite
def scored_lists(draw: st.DrawFn, count: int | None = None) -> list[list[Candidate]]:
    """Lists of documents, each in its shard's place in all of them, best score first."""
    places = {name: place for place, name in enumerate(draw(st.permutations(NAMES)))}
    found = []
    for names in draw(st.lists(LIST, min_size=count or 1, max_size=count or 4)):
        scores = sorted(draw(st.lists(SCORES, min_size=len(names), max_size=len(names))), reverse=True)
        found.append([replace(each, shard_doc=places[each.id]) for each in ranked(*names, scores=scores)])
    return found


def fuse(kind: str, lists: list[list[Candidate]], weights: list[float], size: int = ALL) -> list[Candidate]:
    return (
        rrf(lists, weights, 60, size)
        if kind == "rrf"
        else linear(lists, weights, ["minmax"] * len(lists), size)
    )


KINDS = pytest.mark.parametrize("kind", ["rrf", "linear"])


# --- by hand ------------------------------------------------------------------------------------------------


def test_reciprocal_ranks_by_hand() -> None:
    fused = rrf([ranked("a", "b", "c"), ranked("c", "a", "d")], [1, 1], 60, ALL)
    # 1/61 + 1/62, 1/63 + 1/61, 1/62, 1/63
    assert ids(fused) == ["a", "c", "b", "d"]
    assert [candidate.score for candidate in fused] == pytest.approx(
        [0.03252247, 0.03226646, 0.01612903, 0.01587302], abs=1e-8
    )
    assert [candidate.rank for candidate in fused] == [1, 2, 3, 4]


def test_weights_and_the_constant_of_reciprocal_ranks_by_hand() -> None:
    fused = rrf([ranked("a", "b", "c"), ranked("c", "a", "d")], [0.5, 2], 1, ALL)
    # 0.5/4 + 2/2, 0.5/2 + 2/3, 2/4, 0.5/3
    assert pairs(fused) == [
        ("c", 1.125),
        ("a", pytest.approx(11 / 12)),
        ("d", 0.5),
        ("b", pytest.approx(1 / 6)),
    ]


def test_a_weighted_sum_by_hand() -> None:
    first, second = ranked("a", "b", "c", scores=[4, 3, 2]), ranked("c", "a", scores=[8, 6])
    assert pairs(linear([first, second], [1, 2], ["none", "none"], ALL)) == [
        ("c", 18.0),
        ("a", 16.0),
        ("b", 3.0),
    ]
    assert pairs(linear([first, second], [3, 2], ["minmax", "minmax"], ALL)) == [
        ("a", 3.0),
        ("c", 2.0),
        ("b", 1.5),
    ]
    # 6 / 10 and 8 / 10 of the second list.
    assert pairs(linear([first, second], [0.25, 5], ["none", "l2_norm"], ALL)) == [
        ("c", 4.5),
        ("a", 4.0),
        ("b", 0.75),
    ]


def test_a_document_without_a_score_gets_nothing_from_its_list() -> None:
    unscored, scored = ranked("a", "b", scores=[NAN, NAN]), ranked("b", "c", scores=[2, 1])
    for how in NORMALIZERS:
        assert pairs(linear([unscored, scored], [9, 1], [how, "none"], ALL)) == [
            ("b", 2.0),
            ("c", 1.0),
            ("a", 0.0),
        ]
    some = ranked("a", "b", "c", scores=[3, NAN, 1])
    assert pairs(linear([some], [1], ["minmax"], ALL)) == [("a", 1.0), ("b", 0.0), ("c", 0.0)]


def test_nothing_fused_is_nothing() -> None:
    assert rrf([], [], 60, ALL) == linear([[], []], [1, 1], ["minmax", "l2_norm"], ALL) == []


# --- ties ---------------------------------------------------------------------------------------------------


def test_equal_sums_go_by_place_in_the_shard_then_by_where_they_were_seen() -> None:
    x, y, z = (ranked(name)[0] for name in "xyz")
    assert ids(rrf([[x], [y], [z]], [1, 1, 1], 60, ALL)) == ["x", "y", "z"]
    assert ids(rrf([[replace(x, shard_doc=5)], [replace(y, shard_doc=3)], [z]], [1, 1, 1], 60, ALL)) == [
        "y",
        "x",
        "z",
    ]
    assert ids(
        rrf([[z], [replace(x, shard_doc=1 << 40)], [replace(y, shard_doc=1 << 40)]], [1, 1, 1], 60, ALL)
    ) == ["x", "y", "z"]


def test_a_place_in_the_shard_is_taken_from_whichever_list_has_it() -> None:
    x, y = ranked("x")[0], replace(ranked("y")[0], shard_doc=7)
    fused = rrf([[x, y], [y, replace(x, shard_doc=9)]], [1, 1], 60, ALL)
    assert [(candidate.id, candidate.shard_doc) for candidate in fused] == [("y", 7), ("x", 9)]


@pytest.mark.parametrize(("places", "kept"), [((None, None), 0), ((1, 1), 0), ((1, None), 0), ((None, 1), 1)])
def test_of_a_documents_hits_the_first_is_kept_unless_only_a_later_one_has_its_place(
    places: tuple[int | None, ...], kept: int
) -> None:
    hits = [
        replace(ranked("x")[0], shard_doc=place, hit={"number": number})
        for number, place in enumerate(places)
    ]
    (fused,) = rrf([[hit] for hit in hits], [1, 1], 60, ALL)
    assert (fused.hit, fused.shard_doc) == (hits[kept].hit, places[kept])


def test_the_same_id_under_another_index_or_routing_is_another_document() -> None:
    one = ranked("a")[0]
    others = [replace(one, index="other"), replace(one, routing="r")]
    assert len(rrf([[one, *others], [others[1], one]], [1, 1], 60, ALL)) == 3


# --- for any lists ------------------------------------------------------------------------------------------


@KINDS
@given(lists=scored_lists(), data=st.data())
def test_permuting_the_lists_permutes_only_ties(
    kind: str, lists: list[list[Candidate]], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lists), max_size=len(lists)))
    order = data.draw(st.permutations(range(len(lists))))
    straight = pairs(fuse(kind, lists, weights))
    permuted = pairs(fuse(kind, [lists[i] for i in order], [weights[i] for i in order]))
    # Sums of float32 in another order differ by rounding.
    assert dict(permuted) == pytest.approx(dict(straight), rel=1e-5)
    place = {name: i for i, (name, _) in enumerate(permuted)}
    assert all(
        place[better] < place[worse]
        for (better, high), (worse, low) in combinations(straight, 2)
        if high > low * 1.0001 + 1e-9
    )


@KINDS
@given(lists=scored_lists(), extra=LIST, data=st.data())
def test_a_list_of_weight_zero_adds_documents_but_no_score(
    kind: str, lists: list[list[Candidate]], extra: list[str], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lists), max_size=len(lists)))
    without = dict(pairs(fuse(kind, lists, weights)))
    with_it = dict(pairs(fuse(kind, [*lists, ranked(*extra, scores=[1.0] * len(extra))], [*weights, 0.0])))
    assert with_it == without | {name: 0.0 for name in extra if name not in without}


@given(lists=scored_lists(), constant=st.integers(1, 100), data=st.data())
def test_one_step_up_in_one_list_never_lowers_a_document(
    lists: list[list[Candidate]], constant: int, data: st.DataObject
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lists), max_size=len(lists)))
    number = data.draw(st.integers(0, len(lists) - 1))
    if len(lists[number]) < 2:
        return
    at = data.draw(st.integers(1, len(lists[number]) - 1))
    up = list(lists[number])
    up[at - 1], up[at] = up[at], up[at - 1]
    before, after = (
        rrf(lists, weights, constant, ALL),
        rrf([*lists[:number], up, *lists[number + 1 :]], weights, constant, ALL),
    )
    name = up[at - 1].id
    assert dict(pairs(after))[name] >= dict(pairs(before))[name]
    assert ids(after).index(name) <= ids(before).index(name)


@given(names=LIST, weight=st.floats(2**-10, 8, width=32), constant=st.integers(1, 1000), data=st.data())
def test_one_list_keeps_its_order_whatever_the_places_in_the_shard(
    names: list[str], weight: float, constant: int, data: st.DataObject
) -> None:
    places = data.draw(st.permutations(range(len(names))))
    fused = rrf(
        [[replace(each, shard_doc=place) for each, place in zip(ranked(*names), places, strict=True)]],
        [weight],
        constant,
        ALL,
    )
    assert ids(fused) == names
    assert all(left.score > right.score for left, right in pairwise(fused))


@KINDS
@given(lists=scored_lists())
def test_every_document_comes_once_in_descending_order_with_ranks_from_one(
    kind: str, lists: list[list[Candidate]]
) -> None:
    fused = fuse(kind, lists, [1.0] * len(lists))
    assert sorted(ids(fused)) == sorted({candidate.id for each in lists for candidate in each})
    keys = [(-candidate.score, candidate.shard_doc) for candidate in fused]
    assert keys == sorted(keys)
    assert [candidate.rank for candidate in fused] == list(range(1, len(fused) + 1))


@KINDS
@given(lists=scored_lists(), size=st.integers(0, 14))
def test_size_cuts_the_end_off(kind: str, lists: list[list[Candidate]], size: int) -> None:
    weights = [1.0] * len(lists)
    assert fuse(kind, lists, weights, size) == fuse(kind, lists, weights)[:size]


@given(lists=scored_lists(), constant=st.integers(1, 1000), data=st.data())
def test_reciprocal_ranks_are_those_of_a_float32_loop(
    lists: list[list[Candidate]], constant: int, data: st.DataObject
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lists), max_size=len(lists)))
    totals: dict[str, np.float32] = {}
    for each, weight in zip(lists, weights, strict=True):
        for rank, candidate in enumerate(each, 1):
            share = np.float32(weight) * (np.float32(1) / np.float32(constant + rank))
            totals[candidate.id] = totals.get(candidate.id, np.float32(0)) + share
    assert dict(pairs(rrf(lists, weights, constant, ALL))) == {
        name: float(total) for name, total in totals.items()
    }


@given(lists=scored_lists(), data=st.data())
def test_weighted_sums_are_those_of_a_float32_loop(lists: list[list[Candidate]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lists), max_size=len(lists)))
    hows: list[Normalizer] = data.draw(
        st.lists(st.sampled_from(["none", "minmax"]), min_size=len(lists), max_size=len(lists))
    )
    totals: dict[str, np.float32] = {}
    for each, weight, how in zip(lists, weights, hows, strict=True):
        scores = [np.float32(candidate.score) for candidate in each]
        if how == "minmax" and scores:
            spread = max(scores) - min(scores)
            assume(not 0.9e-6 < spread < 1.1e-6)
            scores = [
                np.float32(1) if abs(spread) < 1e-6 else (score - min(scores)) / spread for score in scores
            ]
        for candidate, score in zip(each, scores, strict=True):
            totals[candidate.id] = totals.get(candidate.id, np.float32(0)) + np.float32(weight) * score
    assert dict(pairs(linear(lists, weights, hows, ALL))) == {
        name: float(total) for name, total in totals.items()
    }


# --- normalising --------------------------------------------------------------------------------------------

MAYBE_SCORES = st.lists(st.one_of(SCORES, st.just(NAN)), max_size=15)


@given(scores=MAYBE_SCORES)
def test_minmax_stretches_from_zero_to_one_or_makes_all_one(scores: list[float]) -> None:
    result = normalised(scores, "minmax")
    known = [score for score in scores if not math.isnan(score)]
    assert result.dtype == np.float32
    assert np.isnan(result).tolist() == [math.isnan(score) for score in scores]
    assume(not known or not 0.9e-6 < max(known) - min(known) < 1.1e-6)
    if known and max(known) - min(known) >= 1e-6:
        stretched = dict(zip(scores, result.tolist(), strict=True))
        assert (stretched[min(known)], stretched[max(known)]) == (0.0, 1.0)
        assert all(0 <= value <= 1 for score, value in stretched.items() if not math.isnan(score))
        assert [stretched[score] for score in sorted(known)] == sorted(stretched[score] for score in known)
    else:
        assert [value for value in result.tolist() if not math.isnan(value)] == [1.0] * len(known)


def test_a_spread_under_a_millionth_counts_as_none() -> None:
    assert normalised([0.5, 0.5 + 5e-7], "minmax").tolist() == [1.0, 1.0]
    assert normalised([0.5, 0.5 + 2e-6], "minmax").tolist() == [0.0, 1.0]
    assert normalised([7.0], "minmax").tolist() == [1.0]


@given(scores=MAYBE_SCORES)
def test_l2_makes_the_norm_one_and_keeps_the_ratios(scores: list[float]) -> None:
    result = normalised(scores, "l2_norm")
    known = np.array([score for score in scores if not math.isnan(score)])
    assert result.dtype == np.float32
    assert np.isnan(result).tolist() == [math.isnan(score) for score in scores]
    norm = math.sqrt(float((known * known).sum()))
    if norm >= 1.001e-6:
        assert math.sqrt(
            math.fsum(float(value) ** 2 for value in result if not math.isnan(value))
        ) == pytest.approx(1, abs=1e-6)
        assert [value for value in result.tolist() if not math.isnan(value)] == pytest.approx(
            (known / norm).tolist(), rel=1e-6, abs=1e-38
        )
    elif norm < 0.999e-6:
        assert result.tolist() == pytest.approx(scores, nan_ok=True)


@given(scores=MAYBE_SCORES)
def test_without_a_normalizer_scores_are_untouched(scores: list[float]) -> None:
    assert normalised(scores, "none").tolist() == pytest.approx(scores, rel=0, abs=0, nan_ok=True)


def test_of_no_scores_nothing_is_made() -> None:
    for how in NORMALIZERS:
        assert normalised([], how).tolist() == []
        assert np.isnan(normalised([NAN, NAN], how)).all()


# --- ranks, pins, printing ----------------------------------------------------------------------------------


def test_renumbering_counts_from_one_and_changes_nothing_else() -> None:
    rows = [
        replace(each, rank=rank)
        for each, rank in zip(ranked("a", "b", "c", scores=[3, 2, 1]), [1, 5, 9], strict=True)
    ]
    assert renumbered(rows) == ranked("a", "b", "c", scores=[3, 2, 1])


@given(count=st.integers(1, 100))
def test_pins_descend_just_above_every_organic_score(count: int) -> None:
    scores = pinned_scores(count)
    floats = np.array(scores, dtype=np.float32)
    assert floats.tolist() == scores, "every score is a float32"
    assert len(scores) == count
    assert all(left > right for left, right in pairwise(scores))
    assert min(scores) > 2.0**127
    assert np.diff(floats.view(np.int32)).tolist() == [-1] * (count - 1), "the next float32 each"


def test_the_pins_that_elasticsearch_prints() -> None:
    assert [json_score(score) for score in pinned_scores(1)] == [1.7014122e38]
    assert [json_score(score) for score in pinned_scores(3)] == [1.7014126e38, 1.7014124e38, 1.7014122e38]
    assert pinned_scores(0) == []


@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_score_is_printed_by_the_shortest_decimal_that_names_it(value: float) -> None:
    printed: Any = json_score(value)
    assert np.float32(printed) == np.float32(value)
    digits = repr(printed).split("e")[0].replace(".", "").strip("-0")
    assert len(digits) < 2 or np.float32(f"{value:.{len(digits) - 2}e}") != np.float32(value), (
        "one digit fewer names another float32"
    )


def test_printed_scores() -> None:
    assert [json_score(score) for score in (np.float32(0.1), 0.1, 1 / 61, np.float32(2), 16777217)] == [
        0.1,
        0.1,
        0.016393442,
        2.0,
        16777216.0,
    ]
    assert json_score(NAN) is None
