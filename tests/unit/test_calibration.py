"""A cross-encoder's calibration: what is learned from windows,
and the command that writes it into a manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner, Result

from es_rerank.cli.app import app
from es_rerank.errors import SettingsError
from es_rerank.models.manifest import read_manifest
from es_rerank.research.training.calibration import (
    LabelledWindow,
    errors,
    fit_blend,
    pair_from_blend,
    quality,
    with_pair,
)
from es_rerank.research.training.recipe import Recipe
from es_rerank.research.training.training_list import TrainingList, learned_from, mark_of
from es_rerank.scores import logistic, pair_log_odds, standardise
from es_rerank.types import Blend, Calibration

TRUE = Blend(0.7, 0.35, -1.0)


def windows(number: int, seed: int = 0) -> list[LabelledWindow]:
    """Windows whose labels are drawn by the log-odds of ``TRUE``."""
    chance, drawn = np.random.default_rng(seed), []
    for _ in range(number):
        logits = chance.normal(0, 2, 50).astype(np.float32)
        first_stage = standardise(chance.normal(size=50).tolist())
        odds = TRUE.logit * logits + TRUE.first_stage * logits.std() * first_stage + TRUE.intercept
        labels = (chance.random(50) < 1 / (1 + np.exp(-odds))).astype(np.float32)
        drawn.append(LabelledWindow("drawn", logits, first_stage, labels))
    return drawn


def test_the_coefficients_that_labels_were_drawn_by_are_found() -> None:
    assert fit_blend(windows(400))[:3] == pytest.approx(TRUE[:3], abs=0.05)


def test_what_is_not_judged_teaches_nothing() -> None:
    def half_judged(drawn: list[LabelledWindow]) -> list[LabelledWindow]:
        return [replace(w, labels=np.where(judged, w.labels, np.nan).astype(np.float32)) for w in drawn]

    judged = np.arange(50) < 25
    drawn = windows(40)
    others = [replace(w, labels=np.where(judged, w.labels, 1 - w.labels).astype(np.float32)) for w in drawn]
    assert fit_blend(half_judged(drawn)) == fit_blend(half_judged(others)) != fit_blend(others)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_a_given_weight_of_the_first_stage_is_kept(weight: float) -> None:
    found = fit_blend(windows(100), weight)
    assert found.first_stage == pytest.approx(weight * found.logit, abs=1e-4)
    assert found.logit > 0 > found.intercept


def test_the_weight_that_is_learned_is_the_one_that_fits_best() -> None:
    free = fit_blend(windows(100))
    assert fit_blend(windows(100), free.first_stage / free.logit)[:3] == pytest.approx(free[:3], abs=2e-3)


def test_the_probability_of_a_pair_is_right_on_average() -> None:
    drawn = windows(400)
    calibration = with_pair(drawn, TRUE)
    assert calibration.blends == {"dense": TRUE}
    logits = np.concatenate([window.logits for window in drawn])
    labels = np.concatenate([window.labels for window in drawn])
    probabilities = logistic(pair_log_odds(logits, calibration))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        among = (probabilities >= low) & (probabilities < high)
        assert probabilities[among].mean() == pytest.approx(labels[among].mean(), abs=0.03)


def test_the_pair_of_a_blend_needs_no_labels() -> None:
    drawn = windows(400)
    unjudged = [replace(window, labels=np.full_like(window.labels, np.nan)) for window in drawn]
    assert pair_from_blend(unjudged, TRUE).pair == pytest.approx(with_pair(drawn, TRUE).pair, abs=0.05)


def test_the_errors_are_measured_on_windows_that_were_not_fitted_to() -> None:
    drawn = windows(400)
    right = errors(drawn, lambda to: with_pair(to, fit_blend(to)))
    assert max(right) < 0.02
    assert errors(drawn, lambda _: Calibration(5.0, 3.0, {"dense": Blend(5.0, 0.0, 3.0)})).pair > 0.2

    def noted(to: Sequence[LabelledWindow]) -> Calibration:
        seen.append({id(window) for window in to})
        return Calibration(blends={"dense": TRUE})

    seen: list[set[int]] = []
    errors(drawn, noted)
    assert [len(part) for part in seen] == [200, 200]
    assert not seen[0] & seen[1]


def test_one_window_alone_has_errors_too() -> None:
    assert all(0 <= error <= 1 for error in errors(windows(1), lambda _: Calibration(blends={"dense": TRUE})))


def test_quality_is_that_of_each_order() -> None:
    logits, first_stage = np.array([3, 2, 1], dtype=np.float32), standardise([1.0, 2.0, 3.0])
    row = quality(
        [LabelledWindow("one", logits, first_stage, np.array([1, 0, 0], dtype=np.float32))],
        Blend(1.0, 0.0, 0.0),
    )["one"]
    assert (row["queries"], row["cross_encoder"], row["first_stage"], row["calibrated"]) == (1, 1.0, 0.5, 1.0)
    # The passages lie as far apart in both orders, so that what weighs less gives way.
    assert {weight: value for weight, value in row["by_weight"].items() if weight != "1"} == dict.fromkeys(
        ("0.2", "0.4", "0.5", "0.65", "0.8"), 1.0
    )


def facts(folder: Path, queries: Sequence[str]) -> Path:
    """A collection of as many documents as queries, each of its own query, in a folder of its own."""
    (folder / "facts" / "qrels").mkdir(parents=True)
    words = [
        "river",
        "mountain",
        "forest",
        "desert",
        "island",
        "valley",
        "glacier",
        "meadow",
        "canyon",
        "harbour",
    ]
    asked = list(enumerate(queries))
    for name, lines in (
        (
            "corpus.jsonl",
            [
                json.dumps({"_id": f"d{n}", "title": "", "text": f"a {words[n % 10]} is a {words[n // 10]}"})
                for n, _ in asked
            ],
        ),
        ("queries.jsonl", [json.dumps({"_id": f"q{n}", "text": text}) for n, text in asked]),
        ("qrels/train.tsv", ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n, _ in asked)]),
    ):
        (folder / "facts" / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def calibrated(tmp_path: Path, data: Path, *options: str) -> Result:
    """What ``calibrate`` answers for tiny models, which it leaves in ``tmp_path``."""
    recipe = tmp_path / "facts.json"
    recipe.write_text('{"sources": [{"collection": "facts", "splits": ["train"]}]}', encoding="utf-8")
    model, embedder = tiny_cross_encoder(tmp_path / "model"), tiny_bi_encoder(tmp_path / "embedder")
    return CliRunner().invoke(
        app,
        [
            "calibrate",
            str(model),
            str(data),
            "--recipe",
            str(recipe),
            "--embedder",
            str(embedder),
            "--json",
            *options,
        ],
    )


def test_the_command_writes_into_the_manifest_what_it_learned(tmp_path: Path) -> None:
    done = calibrated(
        tmp_path,
        facts(tmp_path / "data", ["what is a river", "where is the mountain", "a forest"]),
        "--first-stage-weight",
        "0.5",
    )
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["development"]["facts"]["queries"] == 3
    learned = read_manifest(tmp_path / "model").calibration
    assert learned is not None
    assert learned.model_dump() == answer["calibration"]
    assert learned.pair is not None
    blend = learned.blends["dense"]
    assert blend.first_stage == pytest.approx(0.5 * blend.logit, abs=1e-4)
    assert None not in {blend.error, learned.pair.error}


def run_of(folder: Path, queries: Sequence[str]) -> tuple[Path, set[str]]:
    """The folder of a run of one step over a quarter of the queries' lists, and what it learned from."""
    recipe = Recipe(sources=(), steps=1, lists_per_step=len(queries) // 4)
    lists = [TrainingList(query, ["a", "b"], [1, 0], [1.0, 0.0]) for query in queries]
    (folder / "work").mkdir(parents=True)
    (folder / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    rows = [mark_of(recipe, "the digest of a base", folder), *(json.dumps(asdict(item)) for item in lists)]
    (folder / "work" / "lists.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder, {item.query for item in learned_from(lists, recipe)}


def test_queries_that_a_run_has_learned_from_are_left_out_whichever_run_it_was(tmp_path: Path) -> None:
    (one, first), (two, second) = (
        run_of(tmp_path / name, [f"{name} {n}" for n in range(480)]) for name in ("one", "two")
    )
    asked = [*sorted(first)[:4], *sorted(second)[:5], "what is a river", "where is the mountain", "a forest"]
    done = calibrated(tmp_path, facts(tmp_path / "data", asked), "--trained", str(one), "--trained", str(two))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["development"]["facts"]["queries"] == 3


def test_a_run_whose_lists_are_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", [f"query {n}" for n in range(480)])
    (run / "recipe.json").write_text('{"sources": [], "list_size": 3}', encoding="utf-8")
    done = calibrated(tmp_path, facts(tmp_path / "data", ["what is a river"]), "--trained", str(run))
    assert isinstance(done.exception, SettingsError)
    assert "was made by another recipe than" in str(done.exception)
