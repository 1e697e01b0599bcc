"""Ranking is pure: properties that hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import ScoreError
from es_rerank.retrievers.ranking.rerank import calibrated, of_documents, rank
from es_rerank.scores import logistic, ranked, standardise
from es_rerank.types import Blend, Calibration, Candidate, Passage, Scores

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
