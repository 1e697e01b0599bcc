"""Tuning without a server: what is fitted to windows, the verdict, and the folder of a tuned model."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_windows import ratings_in
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import SettingsError, SourceError
from es_rerank.models.contracts import BlendRecord, CalibrationRecord, PairRecord
from es_rerank.models.manifest import read_manifest
from es_rerank.research.logistic_line import LEAST_SLOPE
from es_rerank.research.tuning.fitting import (
    SHARES,
    fit_line,
    fit_order,
    log_odds,
    share_of,
    with_probabilities,
)
from es_rerank.research.tuning.folder import check_out, write_tuned
from es_rerank.research.tuning.judgements import kept_for_verdict
from es_rerank.research.tuning.tuning import Tuned, check_queries, tuned
from es_rerank.research.tuning.verdict import judged
from es_rerank.research.tuning.windows import Window
from es_rerank.retrievers.ranking.rerank import is_left_alone
from es_rerank.scores import ranked
from es_rerank.types import Blend, Calibration

HITS = 20


def windows(number: int, share: float, seed: int = 0) -> list[Window]:
    """Windows whose ratings follow the first stage with ``share`` and the model with the rest."""
    chance, drawn = np.random.default_rng(seed), []
    for place in range(number):
        logits, first_stage = chance.normal(size=(2, HITS)).astype(np.float32)
        order = np.argsort(-((1 - share) * logits + share * first_stage))
        ratings = np.zeros(HITS, dtype=np.float32)
        ratings[order[:2]], ratings[order[2:5]] = 2, 1
        names = tuple(f"d{place}-{hit}" for hit in range(HITS))
        drawn.append(Window(f"query {place}", names, logits, first_stage, ratings))
    return drawn


ratings_of = partial(ratings_in, unjudged_count=True)


# --- what is fitted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_that_ratings_follow_is_found(share: float) -> None:
    drawn = windows(30, share)
    ratings = ratings_of(drawn)
    found = fit_order(drawn, Blend(0.4, 0.3, -1.0), ratings.ndcg, ratings.labels)
    assert share_of(found) == pytest.approx(share, abs=0.11)


def test_of_equal_orders_the_shipped_one_stays() -> None:
    drawn = [
        Window(w.query, w.documents, w.logits, w.logits, w.ratings) for w in windows(12, 0.0)
    ]  # model and first stage agree, so that no weight changes anything
    ratings = ratings_of(drawn)
    shipped = Blend(0.7, 0.3, 0.0)
    assert share_of(fit_order(drawn, shipped, ratings.ndcg, ratings.labels)) == pytest.approx(0.3, abs=1e-3)


@settings(max_examples=20)
@given(
    st.sampled_from(SHARES),
    st.sampled_from([None, -0.5, 0.0, 0.5]),
    st.integers(0, 1000),
    st.booleans(),
)
def test_fitted_probabilities_keep_the_order(
    share: float, least_agreement: float | None, seed: int, turned: bool
) -> None:
    """Whatever the ratings say: here they may reward the reverse of the order."""
    drawn = windows(6, 0.5, seed)
    if turned:
        drawn = [Window(w.query, w.documents, w.logits, w.first_stage, 2 - w.ratings) for w in drawn]
    start = Blend(1 - share, share, 0.0, least_agreement, 0.5, 0.0)
    found = with_probabilities(drawn, start, ratings_of(drawn).labels)
    for window, before, after in zip(drawn, log_odds(drawn, start), log_odds(drawn, found), strict=True):
        assert is_left_alone(window.logits, window.first_stage.tolist(), found) == is_left_alone(
            window.logits, window.first_stage.tolist(), start
        )
        # Rounding may join values that differ in the seventh digit, so the order is compared by values.
        steps = np.diff(before[ranked(after)])
        assert steps.max() <= 1e-3


def test_a_line_finds_the_probabilities_that_labels_were_drawn_by() -> None:
    chance = np.random.default_rng(1)
    drawn = []
    for _ in range(200):
        x = chance.normal(0, 2, 50).astype(np.float32)
        drawn.append((x, (chance.random(50) < 1 / (1 + np.exp(1.0 - 0.7 * x))).astype(np.float32)))
    assert tuple(fit_line(drawn)) == pytest.approx((0.7, -1.0), abs=0.05)


def test_a_line_stays_finite_and_rises() -> None:
    x = np.arange(10, dtype=np.float32)
    separated = fit_line([(x, (x > 4).astype(np.float32))])
    assert 0 < separated.slope < 100
    assert fit_line([(x, (x < 4).astype(np.float32))]).slope == LEAST_SLOPE
    assert fit_line([(x, np.full(10, np.nan, dtype=np.float32))]) == (1.0, 0.0)


# --- the verdict --------------------------------------------------------------------------------------------


def test_a_document_without_a_rating_is_unknown_or_not_relevant() -> None:
    window = Window(
        "q",
        ("a", "b", "c"),
        np.array([3, 2, 1], dtype=np.float32),
        np.array([3, 2, 1], dtype=np.float32),
        np.array([np.nan, 1, 0], dtype=np.float32),
    )
    counted, unknown = (ratings_of([window], unjudged_count=count) for count in (True, False))
    np.testing.assert_array_equal(counted.labels(window), [0, 1, 0])
    np.testing.assert_array_equal(unknown.labels(window), [np.nan, 1, 0])
    assert counted.ndcg([window], [window.logits])[0] == pytest.approx(1 / np.log2(3))
    assert unknown.ndcg([window], [window.logits])[0] == 1.0


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_no_change_is_equal_and_a_change_turned_around_is_its_opposite(
    values: list[float], tests: int
) -> None:
    before = np.asarray(values)
    after = before[::-1].copy()
    assert judged(before, before, tests=tests).outcome == "equal"
    there, back = judged(before, after, tests=tests), judged(after, before, tests=tests)
    opposite = {"better": "worse", "worse": "better", "equal": "equal"}
    assert back.outcome == opposite[there.outcome]
    assert (back.better, back.worse, back.same) == (there.worse, there.better, there.same)
    assert judged(before, after, tests=tests, least_is_best=True).outcome == back.outcome


def test_more_tests_need_a_smaller_p() -> None:
    before = np.zeros(12)
    after = np.array([0.3, 0.2, 0.05, 0.3, 0.1, 0.2, -0.2, -0.1, 0.2, 0.1, -0.1, 0.2])
    alone = judged(before, after, tests=1)
    assert alone.outcome == "better"
    assert alone.p_value is not None
    assert 0.025 < alone.p_value < 0.05
    assert judged(before, after, tests=2).outcome == "equal"


def test_ratings_that_follow_the_first_stage_are_better_and_others_stay_as_shipped() -> None:
    drawn = windows(80, 1.0)
    ratings = ratings_of(drawn)
    shipped = Calibration(1.0, 0.0, {"dense": Blend(1.0, 0.0, 0.0)})
    found = tuned({"bm25": drawn}, ratings, shipped, embedder="e5", seed=13)
    (stage,) = found.stages
    assert (stage.key, stage.choice, stage.ndcg.outcome, found.better) == ("bm25", "order", "better", True)
    assert stage.queries == sum(kept_for_verdict(window.query, 13) for window in drawn)
    record = CalibrationRecord.of(shipped)
    assert found.record(record).coefficients().blend("bm25") == stage.blend.coefficients()
    for kind in ("dense", "hybrid"):
        assert found.record(record).coefficients().blend(kind) == shipped.blend(kind)
    again = found.record(record)
    fitted = tuned({"bm25": drawn}, ratings, again.coefficients(), embedder=None, seed=13)
    assert fitted.stages[0].ndcg.outcome == "equal"
    assert not fitted.better
    assert fitted.record(again) == again


def test_a_tuned_kind_does_not_change_what_another_one_falls_back_to() -> None:
    """Without a blend of its own, a search over BM25 takes the one of dense vectors."""
    drawn = windows(80, 1.0)
    found = tuned({"knn": drawn}, ratings_of(drawn), None, embedder=None, seed=13)
    assert found.stages[0].key == "dense"
    coefficients = found.record(None).coefficients()
    assert coefficients.blend("dense") == found.stages[0].blend.coefficients()
    assert coefficients.blend("bm25") == Blend(1.0, 0.0, 0.0)
    named = tuned({"knn": drawn}, ratings_of(drawn), None, embedder="e5", seed=13)
    assert named.stages[0].key == "dense:e5"


def test_a_model_without_blends_is_compared_as_a_search_scores_with_it() -> None:
    """Such a search shows the probability of the pair."""
    drawn, shipped = windows(60, 1.0), Calibration(0.5, -3.0)
    found = tuned({"knn": drawn}, ratings_of(drawn), shipped, embedder=None, seed=13)
    (stage,) = found.stages
    assert stage.error_before == found.pair.error_before
    written = found.record(CalibrationRecord.of(shipped)).coefficients()
    assert written.blend("bm25") == Blend(0.5, 0.0, -3.0)


def test_too_few_queries_are_refused_with_what_is_needed() -> None:
    with pytest.raises(SourceError, match=r"Each half needs at least 10.* judge about 40 queries or more"):
        check_queries([f"query {n}" for n in range(15)], 13)
    check_queries([f"query {n}" for n in range(60)], 13)
    drawn = windows(60, 1.0)
    nowhere = [Window(w.query, w.documents, w.logits, w.first_stage, 0 * w.ratings) for w in drawn]
    with pytest.raises(SourceError, match="the first stage bm25 finds a relevant document for only 0 of"):
        tuned({"bm25": nowhere}, ratings_of(drawn), None, embedder=None, seed=13)


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--reranker", "cohere:rerank-v4"), "has no calibration of its own"),
        (("--first-stage", "words"), "--first-stage words is not a known first stage"),
        (("--keep-anyway",), "name its folder with --out"),
        (("--out", "."), "--out . exists already"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_asked(
    options: tuple[str, ...], said: str
) -> None:
    nowhere = ["--elasticsearch-url", "http://localhost:1"]
    done = CliRunner().invoke(app, ["tune", "index", "judgements.csv", *nowhere, *options])
    assert isinstance(done.exception, SettingsError)
    assert said in done.exception.message


# --- the folder ---------------------------------------------------------------------------------------------


RECORD = CalibrationRecord(
    pair=PairRecord(logit=0.5, intercept=-1.0),
    blends={"bm25": BlendRecord(logit=0.5, first_stage=0.5, intercept=0.0)},
)


def test_a_tuned_model_is_a_copy_with_another_calibration(tmp_path: Path) -> None:
    model, out = tiny_cross_encoder(tmp_path / "model"), tmp_path / "tuned"
    (model / "README.md").write_text("the card")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    write_tuned(model, out, RECORD, {"outcome": "better"})
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tuned"]
    manifest, old = read_manifest(out), read_manifest(model)
    assert manifest == old.model_copy(update={"name": f"{old.name}-tuned", "calibration": RECORD})
    assert json.loads((out / "tuning.json").read_text()) == {"outcome": "better"}
    assert (out / "README.md").read_text() == "the card"
    assert write_tuned(out, tmp_path / "again", RECORD, {}).name == manifest.name


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists already"):
        check_out(tmp_path)
    with pytest.raises(SettingsError, match="there is no folder"):
        check_out(tmp_path / "missing" / "tuned")


def test_anyway_takes_every_tuned_part() -> None:
    drawn = windows(60, 0.3)
    found: Tuned = tuned({"bm25": drawn}, ratings_of(drawn), None, embedder=None, seed=13, anyway=True)
    record = found.record(None, anyway=True)
    assert record.blends["bm25"] == found.stages[0].blend
    assert record.pair == found.pair.pair
