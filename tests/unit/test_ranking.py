"""Ranking is pure: properties that hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import ScoreError
from es_rerank.retrievers.ranking.rerank import agreement, calibrated, is_left_alone, of_documents, rank
from es_rerank.scores import logistic, ranked, standardise
from es_rerank.types import Blend, Calibration, Candidate, FirstStageKind, Passage, Scores

LOGITS = st.floats(-30, 30, width=32)


def candidates(count: int, passages: int = 0) -> list[Candidate]:
    pieces = tuple(Passage(f"p{i}", 10 * i, 10 * i + 2) for i in range(passages))
    return [Candidate("index", f"d{i}", 1.0 - i / 100, i + 1, passages=pieces) for i in range(count)]


@given(st.lists(LOGITS, min_size=1, max_size=40))
def test_order_is_descending_and_ties_keep_first_stage_order(values: list[float]) -> None:
    hits = rank(candidates(len(values)), Scores.of(values), None).hits
    keys = [(-np.float32(hit.logit or 0), hit.candidate.rank) for hit in hits]
    assert keys == sorted(keys)


@given(st.lists(LOGITS, min_size=1, max_size=20, unique=True), st.randoms(use_true_random=False))
def test_permuting_the_window_permutes_nothing_else(values: list[float], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    window = candidates(len(values))
    straight = [hit.candidate.id for hit in rank(window, Scores.of(values), None).hits]
    shuffled = rank([window[i] for i in order], Scores.of([values[i] for i in order]), None).hits
    assert [hit.candidate.id for hit in shuffled] == straight


@given(st.lists(LOGITS, min_size=1, max_size=20), LOGITS)
def test_min_score_keeps_exactly_the_hits_at_or_above_it(values: list[float], bound: float) -> None:
    minimum = float(logistic([bound])[0])
    window = candidates(len(values))
    kept = {hit.candidate.id for hit in rank(window, Scores.of(values), None, min_score=minimum).hits}
    assert kept == {f"d{i}" for i, value in enumerate(values) if float(logistic([value])[0]) >= minimum}


@given(st.lists(LOGITS, min_size=1, max_size=20), st.integers(1, 20))
def test_the_probability_of_a_pair_is_the_same_in_every_window(values: list[float], size: int) -> None:
    calibration = Calibration(0.25, 0.75, {"dense": Blend(0.5, 2.0, -1.0)})
    whole = rank(candidates(len(values)), Scores.of(values), calibration)
    part = rank(candidates(len(values))[:size], Scores.of(values[:size]), calibration)
    expected = {hit.candidate.id: (hit.score, hit.probability, hit.logit) for hit in whole.hits}
    assert all((hit.score, hit.probability, hit.logit) == expected[hit.candidate.id] for hit in part.hits)
    assert all(hit.score == hit.probability for hit in whole.hits)


def test_blending_moves_the_score_and_leaves_the_probability() -> None:
    window = candidates(3)
    calibration = Calibration(0.5, -1.0)
    alone = rank(window, Scores.of([-1.0, 0.0, 1.0]), calibration)
    blended = rank(window, Scores.of([-1.0, 0.0, 1.0]), calibration, blend=Blend(0.0, 1.0, 0.0))
    assert [hit.candidate.id for hit in alone.hits] == ["d2", "d1", "d0"]
    assert [hit.candidate.id for hit in blended.hits] == ["d0", "d1", "d2"]
    for ranking in (alone, blended):
        probabilities = {hit.candidate.id: hit.probability for hit in ranking.hits}
        assert probabilities == {
            f"d{i}": float(logistic([0.5 * logit - 1.0])[0]) for i, logit in enumerate((-1.0, 0.0, 1.0))
        }


def test_min_probability_is_compared_with_the_pair_alone() -> None:
    blend = Blend(0.0, 1.0, 0.0)
    ranking = rank(
        candidates(3), Scores.of([-1.0, 0.0, 1.0]), Calibration(1.0, 0.0), blend=blend, min_probability=0.5
    )
    assert [hit.candidate.id for hit in ranking.hits] == ["d1", "d2"]


def test_logits_decide_where_probabilities_are_rounded_to_the_same_number() -> None:
    ranking = rank(candidates(3), Scores.of([40.0, 42.0, 41.0]), None)
    assert [hit.probability for hit in ranking.hits] == [1.0, 1.0, 1.0]
    assert [hit.candidate.id for hit in ranking.hits] == ["d1", "d2", "d0"]


@pytest.mark.parametrize(
    ("calibration", "pair"),
    [
        (Calibration.of_one(0.5, 2.0, -1.0, 0.25, 0.75), (0.25, 0.75)),
        (Calibration.of_one(0.5, 2.0, -1.0), (1.0, 0.0)),  # not fitted for a pair alone
        (Calibration.of_one(0.5, 0.0, -1.0), (0.5, -1.0)),  # the first stage has no part
    ],
)
def test_a_pair_alone_has_coefficients_of_its_own(
    calibration: Calibration, pair: tuple[float, float]
) -> None:
    assert calibration.pair == pair


def test_the_best_passage_decides_and_is_named() -> None:
    window = candidates(2, passages=3)
    ranking = rank(window, Scores.of([0.0, 1.0, -1.0, 5.0, 2.0, 2.0]), None)
    assert [(hit.candidate.id, hit.logit, hit.passage) for hit in ranking.hits] == [
        ("d1", 5.0, Passage("p0", 0, 2)),
        ("d0", 1.0, Passage("p1", 10, 12)),
    ]


def test_unscored_candidates_follow_the_scored_in_first_stage_order() -> None:
    scores = Scores(
        np.array([0, -3, 0, 2], dtype=np.float32),
        "logit",
        np.array([False, True, False, True]),
        np.zeros(4, dtype=bool),
        np.zeros(4, dtype=bool),
    )
    ranking = rank(candidates(4), scores, None)
    assert [hit.candidate.id for hit in ranking.hits] == ["d3", "d1", "d0", "d2"]
    assert [hit.probability is None for hit in ranking.hits] == [False, False, True, True]
    assert not ranking.complete


def test_a_document_counts_as_scored_when_one_of_its_passages_is() -> None:
    scores = Scores(
        np.array([9, 1, 0, 0], dtype=np.float32),
        "logit",
        np.array([False, True, False, False]),
        np.zeros(4, dtype=bool),
        np.zeros(4, dtype=bool),
    )
    values, best = of_documents(scores, [2, 2])
    assert values[0] == 1.0
    assert best[0] == 1
    assert math.isnan(values[1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(ScoreError, match="not a finite number"):
        rank(candidates(2), Scores.of([1.0, value]), None)


def test_a_reranker_that_drops_a_passage_is_an_error() -> None:
    with pytest.raises(ScoreError, match="1 scores for 2 passages"):
        rank(candidates(2), Scores.of([1.0]), None)


def test_probabilities_of_a_hosted_model_rank_as_they_are() -> None:
    ranking = rank(candidates(3), Scores.of([0.2, 0.9, 0.5], "probability"), None)
    assert [hit.candidate.id for hit in ranking.hits] == ["d1", "d2", "d0"]
    assert ranking.hits[0].probability == pytest.approx(0.9, abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_standardised_scores_have_mean_zero_and_unit_spread_or_are_zero(values: list[float]) -> None:
    result = standardise(values)
    assert abs(float(result.mean())) < 1e-4
    assert not result.any() or float(result.std()) == pytest.approx(1.0, abs=1e-3)


def test_calibration_adds_the_first_stage_in_units_of_the_logits_spread() -> None:
    first_stage, logits = (
        [3.0, 2.0, 1.0],
        np.array([0, 0, 0.6], dtype=np.float32),
    )  # standard deviation 0.2 * sqrt(2), first stage's sqrt(2 / 3)
    combined = calibrated(logits, first_stage, Blend(2.0, 1.0, -0.25))
    share = 0.2 * math.sqrt(3)
    assert combined.tolist() == pytest.approx([share - 0.25, -0.25, 0.95 - share], abs=1e-6)


def test_what_was_not_scored_has_no_part_in_the_spread_and_stays_unscored() -> None:
    combined = calibrated(np.array([1, 3, np.nan], dtype=np.float32), [3.0, 2.0, 1.0], Blend(1.0, 1.0, 0.0))
    assert combined[:2].tolist() == pytest.approx([1 + math.sqrt(1.5), 3.0], abs=1e-6)
    assert np.isnan(combined[2])


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30), st.floats(0.125, 8, width=32))
def test_the_order_does_not_depend_on_the_scale_of_the_logits(logits: list[float], scale: float) -> None:
    values, first_stage = (
        np.asarray(logits, dtype=np.float64),
        [float(len(logits) - place) for place in range(len(logits))],
    )
    one, other = (
        calibrated((values * factor).astype(np.float32), first_stage, Blend(1.0, 0.5, 0.0))
        for factor in (1.0, scale)
    )
    assert other.tolist() == pytest.approx((one * np.float32(scale)).tolist(), rel=1e-4, abs=1e-3)


def test_without_calibration_logits_are_untouched() -> None:
    logits = np.array([1, -2], dtype=np.float32)
    assert calibrated(logits, [5.0, 1.0], None).tolist() == [1.0, -2.0]


@given(st.floats(-700, 700))
def test_logistic_never_overflows_and_is_symmetric(x: float) -> None:
    up, down = logistic([x, -x])
    assert 0.0 <= up <= 1.0
    assert float(up) + float(down) == pytest.approx(1.0, abs=1e-6)


def test_equal_logits_rank_in_the_order_given() -> None:
    assert ranked([1.0, 2.0, 1.0, 2.0]) == [1, 3, 0, 2]


# --- a blend for each kind of first stage, and the window that is left alone --------------------------------

CAREFUL = Blend(0.5, 0.4, -1.0, least_agreement=0.1, alone_first_stage=2.0, alone_intercept=-3.0)
WINDOWS = st.lists(st.tuples(LOGITS, st.floats(-50, 50, width=32)), min_size=1, max_size=30)


def window_of(pairs: list[tuple[float, float]]) -> tuple[list[Candidate], Scores]:
    """A window in the order of its first-stage scores, and the logits of its candidates."""
    found = sorted(pairs, key=lambda pair: -pair[1])
    hits = [Candidate("index", f"d{i}", score, i + 1) for i, (_, score) in enumerate(found)]
    return hits, Scores.of([logit for logit, _ in found])


@given(WINDOWS)
def test_a_window_is_left_alone_or_blended_and_says_which(pairs: list[tuple[float, float]]) -> None:
    hits, scores = window_of(pairs)
    ranking = rank(hits, scores, Calibration(0.5, -1.0), blend=CAREFUL)
    ranks, shown = (
        [hit.candidate.rank for hit in ranking.hits],
        [-1.0 if hit.score is None else hit.score for hit in ranking.hits],
    )
    assert shown == sorted(shown, reverse=True)
    found = agreement(scores.values, [hit.score for hit in hits])
    assert ranking.left_alone == (found is not None and found < 0.1)
    if ranking.left_alone:
        assert ranks == sorted(ranks)
    else:
        plain = rank(hits, scores, None, blend=CAREFUL._replace(least_agreement=None))
        assert [(hit.candidate.rank, hit.score) for hit in plain.hits] == list(zip(ranks, shown, strict=True))
    # What a hit says of the pair alone is the same in both.
    for hit in ranking.hits:
        logit = scores.values[hit.candidate.rank - 1]
        assert (hit.logit, hit.probability) == (logit, logistic([np.float32(0.5 * logit - 1.0)])[0])


@given(WINDOWS, st.floats(0.01, 5), st.floats(0, 5))
def test_more_logit_or_more_first_stage_never_lowers_a_place(
    pairs: list[tuple[float, float]], logit: float, first_stage: float
) -> None:
    hits, scores = window_of(pairs)
    keys = calibrated(scores.values, [hit.score for hit in hits], Blend(logit, first_stage, 0.0)).tolist()
    for upper in range(len(hits)):
        for lower in range(upper, len(hits)):
            if scores.values[upper] >= scores.values[lower]:
                assert keys[upper] >= keys[lower]


@given(st.integers(1, 20), LOGITS, st.floats(-50, 50))
def test_ties_keep_the_first_stage_order(count: int, logit: float, score: float) -> None:
    hits = [Candidate("index", f"d{i}", score, i + 1) for i in range(count)]
    ranking = rank(hits, Scores.of([logit] * count), None, blend=CAREFUL)
    assert [hit.candidate.rank for hit in ranking.hits] == list(range(1, count + 1))
    assert not ranking.left_alone


@pytest.mark.parametrize(
    ("logits", "first_stage", "expected"),
    [
        ([3.0, 2.0, 1.0], [0.3, 0.2, 0.1], 1.0),
        ([1.0, 2.0, 3.0], [0.3, 0.2, 0.1], -1.0),
        ([1.0, 2.0, math.nan, 0.0], [0.1, 0.2, 9.0, 0.0], 1.0),  # what was not scored does not count
        ([1.0, 1.0], [0.2, 0.1], None),
        ([1.0, 2.0], [0.1, 0.1], None),  # a filter finds all documents with one score
        ([1.0, 2.0], [math.nan, math.nan], None),  # a first stage that sorts by a field has none
        ([1.0, math.nan], [0.2, 0.1], None),
        ([], [], None),
    ],
)
def test_agreement_is_the_correlation_of_what_was_scored(
    logits: list[float], first_stage: list[float], expected: float | None
) -> None:
    values = np.array(logits, dtype=np.float32)
    assert agreement(values, first_stage) == (None if expected is None else pytest.approx(expected, abs=1e-6))
    assert is_left_alone(values, first_stage, CAREFUL) == (expected == -1.0)
    assert not is_left_alone(values, first_stage, CAREFUL._replace(least_agreement=None))


def test_a_late_window_that_is_left_alone_shows_first_what_was_scored() -> None:
    scores = Scores(
        np.array([0, 1, 0, 2, 0], dtype=np.float32),
        "logit",
        np.array([False, True, False, True, False]),
        np.zeros(5, dtype=bool),
        np.zeros(5, dtype=bool),
    )
    ranking = rank(candidates(5), scores, None, blend=CAREFUL)
    assert ranking.left_alone
    assert [hit.candidate.id for hit in ranking.hits] == ["d1", "d3", "d0", "d2", "d4"]
    assert [hit.logit for hit in ranking.hits] == [1.0, 2.0, None, None, None]


ANY = {
    "dense": Blend(1, 0, 0),
    "bm25": Blend(2, 0, 0),
    "dense:e5": Blend(3, 0, 0),
    "hybrid:e5": Blend(4, 0, 0),
}


@pytest.mark.parametrize(
    ("blends", "kind", "embedder", "key"),
    [
        (ANY, "dense", "e5", "dense:e5"),
        (ANY, "dense", "bge", "dense"),
        (ANY, "dense", None, "dense"),
        (ANY, "bm25", None, "bm25"),
        (ANY, "bm25", "e5", "bm25"),
        (ANY, "hybrid", "e5", "hybrid:e5"),
        (ANY, "hybrid", "bge", "dense"),
        (ANY, None, "e5", "dense"),
        ({"bm25": Blend(2, 0, 0)}, "dense", None, None),
        ({"bm25": Blend(2, 0, 0)}, None, None, None),
        ({}, "dense", "e5", None),
    ],
)
def test_the_blend_of_a_window_is_that_of_kind_and_embedder_then_of_the_kind_then_of_vectors(
    blends: dict[str, Blend], kind: FirstStageKind | None, embedder: str | None, key: str | None
) -> None:
    calibration = Calibration(blends=blends)
    assert calibration.blend_key(kind, embedder) == key
    assert calibration.blend(kind, embedder) == (None if key is None else blends[key])
