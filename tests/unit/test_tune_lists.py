"""Tuning with training, without torch: what is trained on, which weights are taken, what is refused."""

from __future__ import annotations

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
from es_rerank.errors import ModelError, SettingsError, SourceError
from es_rerank.models.contracts import BlendRecord, CalibrationRecord, PairRecord
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import read_manifest
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.research.tuning.judgements import is_fitted_on, is_trained_on, kept_for_verdict
from es_rerank.research.tuning.texts_read import NotedTexts, rescored
from es_rerank.research.tuning.trained import VERSIONS, Trained, left_to_fit, weights_taken
from es_rerank.research.tuning.training_lists import (
    DRAWS,
    LIST_SIZE,
    MOST_POSITIVES,
    MOST_STEPS,
    START_SHARE,
    check_halves,
    check_lists,
    check_trainable,
    training_lists,
    tuning_recipe,
)
from es_rerank.research.tuning.tuning import Tuned, tuned
from es_rerank.research.tuning.windows import Read, Window
from es_rerank.retrievers.grammar.tree import FirstStage
from es_rerank.types import Blend, FirstStageScores

HITS = 12


def windows(number: int, seed: int = 0, *, good: bool) -> list[Window]:
    """Windows of two relevant hits, one not judged, and others; the logits follow the ratings if ``good``."""
    chance, made = np.random.default_rng(seed), []
    for place in range(number):
        logits, first_stage = chance.normal(size=(2, HITS)).astype(np.float32)
        ratings = np.zeros(HITS, dtype=np.float32)
        ratings[chance.choice(HITS - 1, 2, replace=False)] = 1
        ratings[-1] = np.nan
        logits = np.where(ratings == 1, logits + 4 * good, logits).astype(np.float32)
        names = tuple(f"d{place}-{hit}" for hit in range(HITS))
        read = tuple(Read((f"{name} first", f"{name} best"), 1) for name in names)
        made.append(Window(f"query {place}", names, logits, first_stage, ratings, read))
    return made


ratings_of = partial(ratings_in, unjudged_count=False)


# --- what is trained on -------------------------------------------------------------------------------------


@given(st.text(), st.integers())
def test_a_query_is_kept_or_trained_on_or_fitted_to(query: str, seed: int) -> None:
    parts = [part(query, seed) for part in (kept_for_verdict, is_trained_on, is_fitted_on)]
    assert sum(parts) == 1


def test_two_thirds_of_the_learned_half_are_trained_on() -> None:
    queries = [f"query {n}" for n in range(3000)]
    assert 0.31 < sum(is_trained_on(query, 13) for query in queries) / 3000 < 0.36
    assert 0.14 < sum(is_fitted_on(query, 13) for query in queries) / 3000 < 0.19


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.booleans())
def test_a_list_is_a_relevant_text_and_irrelevant_ones_of_trained_queries(seed: int, count: bool) -> None:
    drawn = windows(30, seed, good=False)
    ratings = ratings_of(drawn, unjudged_count=count)
    lists = training_lists({"knn": drawn, "bm25": drawn}, ratings, {"knn": None, "bm25": None}, seed)
    trained = {window.query: window for window in drawn if is_trained_on(window.query, seed)}
    assert {item.query for item in lists} == set(trained)
    assert len(lists) == len(trained) * 2 * DRAWS
    for item in lists:
        window = trained[item.query]
        labels = dict(zip(window.documents, ratings.labels(window).tolist(), strict=True))
        logits = dict(zip(window.documents, window.logits.tolist(), strict=True))
        assert item.labels == [1] + [0] * (LIST_SIZE - 1)
        assert all(text.endswith(" best") for text in item.passages)
        names = [text.split()[0] for text in item.passages]
        assert [labels[name] for name in names] == item.labels
        # Without a blend the model itself is the teacher.
        assert item.teacher == pytest.approx([logits[name] for name in names], abs=1e-3)
    again = training_lists({"knn": drawn, "bm25": drawn}, ratings, {"knn": None, "bm25": None}, seed)
    assert again == lists


def test_the_teacher_is_the_blend_in_the_spread_of_the_logits() -> None:
    drawn = windows(30, good=False)
    alone: dict[FirstStage, Blend | None] = {"bm25": Blend(0.0, 1.0, -3.0)}
    for item in training_lists({"bm25": drawn}, ratings_of(drawn), alone, 13):
        window = next(window for window in drawn if window.query == item.query)
        scores = dict(zip(window.documents, window.first_stage.tolist(), strict=True))
        order = [scores[text.split()[0]] for text in item.passages]
        assert np.argsort(item.teacher).tolist() == np.argsort(order).tolist()
        assert max(item.teacher) <= float(window.logits.mean() + 4 * window.logits.std())


def test_texts_that_are_relevant_and_irrelevant_and_queries_without_either_give_no_list() -> None:
    (one, *_) = [window for window in windows(30, good=False) if is_trained_on(window.query, 13)]
    same = tuple(Read(("the same",), 0) for _ in one.read)
    none = Window(one.query, one.documents, one.logits, one.first_stage, 0 * one.ratings, one.read)
    every = Window(one.query, one.documents, one.logits, one.first_stage, 0 * one.ratings + 1, one.read)
    alike = Window(one.query, one.documents, one.logits, one.first_stage, one.ratings, same)
    for window in (none, every, alike):
        assert training_lists({"bm25": [window]}, ratings_of([window]), {"bm25": None}, 13) == []
    many = np.where(np.arange(HITS) < HITS - 3, 1, 0).astype(np.float32)
    most = Window(one.query, one.documents, one.logits, one.first_stage, many, one.read)
    lists = training_lists({"bm25": [most]}, ratings_of([most]), {"bm25": None}, 13)
    assert len(lists) == MOST_POSITIVES * DRAWS


def test_the_recipe_ends_and_its_average_keeps_the_start() -> None:
    drawn = windows(30, good=False)
    lists = training_lists({"bm25": drawn}, ratings_of(drawn), {"bm25": None}, 13)
    few, many = tuning_recipe(lists, 512, 13), tuning_recipe(lists * 1000, 512, 13)
    assert few.steps == 2 * (len(lists) // few.lists_per_step)
    assert many.steps == MOST_STEPS
    for recipe in (few, many):
        assert recipe.average_decay ** (recipe.steps - 1) == pytest.approx(START_SHARE)
        assert recipe.max_tokens == 512


def test_too_few_judgements_to_train_on_are_refused_with_what_is_needed() -> None:
    drawn = windows(40, good=False)
    with pytest.raises(
        SourceError, match=r"--train: the first stage bm25 .* and 10 are needed; judge about 100"
    ):
        check_halves({"bm25": drawn}, ratings_of(drawn), 13)
    check_halves({"bm25": windows(100, good=False)}, ratings_of(windows(100, good=False)), 13)
    with pytest.raises(SourceError, match=r"give 0 training lists, and 16 are needed"):
        check_lists([])


# --- what the model read ------------------------------------------------------------------------------------


def test_what_was_read_for_a_window_gives_the_same_logits_again(tmp_path: Path) -> None:
    texts = ["river", "a stone", "glass and metal", "night"]
    with CrossEncoder(tiny_cross_encoder(tmp_path / "model")) as model:
        noted = NotedTexts(model, ScoreCache())
        scores = noted.score_after("stone", texts, FirstStageScores((3.0, 2.0), (3, 1)))
        first, second = noted.taken()
        assert noted.taken() == ()
        assert (first.texts, second) == (tuple(texts[:3]), Read(("night",), 0))
        assert first.best == int(np.argmax(scores.values[:3]))
        zero = np.zeros(2, dtype=np.float32)
        window = Window("stone", ("a", "b"), zero, zero, zero, (first._replace(best=0), second))
        empty = Window("none", (), zero[:0], zero[:0], zero[:0])
        again = rescored({"bm25": [window, empty]}, model)["bm25"]
        with pytest.raises(ModelError, match="texts of 0 of them were noted"):
            rescored({"bm25": [Window("stone", ("a", "b"), zero, zero, zero)]}, model)
    np.testing.assert_allclose(
        again[0].logits, [scores.values[:3].max(), scores.values[3]], rtol=1e-5, atol=1e-5
    )
    assert again[0].read == (first, second)
    assert again[1] is empty


# --- which weights are taken --------------------------------------------------------------------------------


def verdicts(*, better: bool) -> tuple[Tuned, Tuned]:
    """Return the verdicts on the shipped weights and on others, which order better or by chance."""
    shipped, other = windows(90, good=False), windows(90, good=False)
    if better:
        other = windows(90, good=True)
    ratings = ratings_of(shipped)
    fitted = tuned({"bm25": shipped}, ratings, None, embedder=None, seed=13, versions=VERSIONS)
    left, start = left_to_fit({"bm25": other}, 13), left_to_fit({"bm25": shipped}, 13)
    return fitted, tuned(
        left, ratings, None, embedder=None, seed=13, anyway=True, before=start, versions=VERSIONS
    )


def trained(verdict: Tuned, shipped: float, own: float) -> Trained:
    counts = {"lists": 1, "passages": 1, "steps": 1, "seconds": 1, "trained_on": 1, "fitted_on": 1}
    return Trained(**counts, chosen_by={"shipped": shipped, "trained": own}, verdict=verdict)


def test_better_weights_are_taken_and_their_verdict_compares_with_the_shipped_ones() -> None:
    fitted, verdict = verdicts(better=True)
    (stage,) = verdict.stages
    assert stage.ndcg.outcome == "better"
    assert stage.ndcg.before == fitted.stages[0].ndcg.before
    assert stage.learned_from < fitted.stages[0].learned_from
    found = trained(verdict, 0.9, 0.5)
    # The fitted order is not better, so that there is nothing to prefer to the trained weights.
    assert weights_taken(fitted, found) == "trained"
    both = fitted.model_copy(update={"stages": verdict.stages})
    assert weights_taken(both, found) == "shipped"
    assert weights_taken(both, trained(verdict, 0.5, 0.9)) == "trained"
    assert weights_taken(fitted, None) == "shipped"


def test_weights_that_are_not_better_or_harm_a_first_stage_stay() -> None:
    fitted, verdict = verdicts(better=False)
    assert weights_taken(fitted, trained(verdict, 0.5, 0.9)) == "shipped"
    # Its probabilities are better, so that something better can be written.
    assert fitted.better
    assert weights_taken(fitted, trained(verdict, 0.5, 0.9), anyway=True) == "shipped"
    nothing = fitted.model_copy(
        update={
            "stages": [stage.model_copy(update={"probabilities": None}) for stage in fitted.stages],
            "pair": fitted.pair.model_copy(update={"probabilities": None}),
        }
    )
    assert weights_taken(nothing, trained(verdict, 0.5, 0.9), anyway=True) == "trained"
    _, good = verdicts(better=True)
    (stage,) = good.stages
    harmed = stage.model_copy(update={"ndcg": stage.ndcg.model_copy(update={"outcome": "worse"})})
    harm = good.model_copy(update={"stages": [stage, harmed]})
    assert not trained(harm, 0.5, 0.9).better


def test_what_was_not_fitted_keeps_its_blend_and_loses_its_error() -> None:
    _, verdict = verdicts(better=True)
    shipped = CalibrationRecord(
        pair=PairRecord(logit=0.5, intercept=-1.0, error=0.1),
        blends={"dense": BlendRecord(logit=0.5, first_stage=0.5, intercept=0.0, error=0.1)},
    )
    record = trained(verdict, 0.5, 0.9).record(shipped)
    assert record.blends["dense"] == shipped.blends["dense"].model_copy(update={"error": None})
    assert (record.blends["bm25"], record.pair) == (verdict.stages[0].blend, verdict.pair.pair)


# --- what is refused ----------------------------------------------------------------------------------------


def test_training_without_a_folder_is_refused_before_anything_is_asked() -> None:
    done = CliRunner().invoke(app, ["tune", "index", "j.csv", "--train"])
    assert isinstance(done.exception, SettingsError)
    assert "--train makes a new model; name its folder with --out" in done.exception.message


def test_a_model_that_cannot_be_trained_is_named_with_what_can(tmp_path: Path) -> None:
    manifest = read_manifest(tiny_cross_encoder(tmp_path / "model"))
    contract = manifest.cross_encoder
    assert contract is not None
    check_trainable(manifest.model_copy(update={"architecture": "BertForSequenceClassification"}))
    other = {"architecture": "XLMRobertaForSequenceClassification"}
    two = {
        "architecture": "BertForSequenceClassification",
        "cross_encoder": contract.model_copy(update={"labels": 2}),
    }
    for update, said in (
        (other, "XLMRobertaForSequenceClassification with 1 output"),
        (two, "with 2 outputs"),
    ):
        with pytest.raises(SettingsError, match=f"{said}; only a cross-encoder of BERT's architecture"):
            check_trainable(manifest.model_copy(update=update))
