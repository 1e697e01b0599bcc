"""A cross-encoder's calibration: what is learned from windows, and the command that writes it into a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.models.manifest import read_manifest
from es_rerank.scores import standardise
from es_rerank.training.calibration import Window, fit, quality
from es_rerank.types import Calibration

TRUE = Calibration(0.7, 0.35, -1.0)


def windows(number: int, seed: int = 0) -> list[Window]:
    """Windows whose labels are drawn by the log-odds of ``TRUE``."""
    chance, drawn = np.random.default_rng(seed), []
    for _ in range(number):
        logits = chance.normal(0, 2, 50).astype(np.float32)
        first_stage = standardise(chance.normal(size=50).tolist())
        odds = TRUE.logit * logits + TRUE.first_stage * logits.std() * first_stage + TRUE.intercept
        labels = (chance.random(50) < 1 / (1 + np.exp(-odds))).astype(np.float32)
        drawn.append(Window("drawn", logits, first_stage, labels))
    return drawn


def test_the_coefficients_that_labels_were_drawn_by_are_found() -> None:
    assert tuple(fit(windows(400))) == pytest.approx(tuple(TRUE), abs=0.05)


def test_what_is_not_judged_teaches_nothing() -> None:
    def half_judged(drawn: list[Window]) -> list[Window]:
        return [replace(w, labels=np.where(judged, w.labels, np.nan).astype(np.float32)) for w in drawn]

    judged = np.arange(50) < 25
    drawn = windows(40)
    others = [replace(w, labels=np.where(judged, w.labels, 1 - w.labels).astype(np.float32)) for w in drawn]
    assert fit(half_judged(drawn)) == fit(half_judged(others)) != fit(others)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_a_given_weight_of_the_first_stage_is_kept(weight: float) -> None:
    found = fit(windows(100), weight)
    assert found.first_stage == pytest.approx(weight * found.logit, abs=1e-4)
    assert found.logit > 0 > found.intercept


def test_the_weight_that_is_learned_is_the_one_that_fits_best() -> None:
    free = fit(windows(100))
    assert tuple(fit(windows(100), free.first_stage / free.logit)) == pytest.approx(tuple(free), abs=2e-3)


def test_quality_is_that_of_each_order() -> None:
    logits, first_stage = np.array([3, 2, 1], dtype=np.float32), standardise([1.0, 2.0, 3.0])
    row = quality([Window("one", logits, first_stage, np.array([1, 0, 0], dtype=np.float32))], Calibration(1.0, 0.0, 0.0))["one"]
    assert (row["queries"], row["cross_encoder"], row["first_stage"], row["calibrated"]) == (1, 1.0, 0.5, 1.0)


def test_the_command_writes_into_the_manifest_what_it_learned(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "facts"
    (folder / "qrels").mkdir(parents=True)
    words = ["river", "mountain", "forest", "desert", "island", "valley", "glacier", "meadow", "canyon", "harbour"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": w, "title": "", "text": f"a {w} is a {w}"}) + "\n" for w in words), encoding="utf-8")
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{w}", "text": f"what is a {w}"}) + "\n" for w in words), encoding="utf-8")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{w}\t{w}\t1\n" for w in words), encoding="utf-8")
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"sources": [{"collection": "facts", "splits": ["train"]}]}', encoding="utf-8")
    model, embedder = tiny_cross_encoder(tmp_path / "model"), tiny_bi_encoder(tmp_path / "embedder")
    arguments = ["calibrate", str(model), str(tmp_path / "data"), "--recipe", str(recipe), "--embedder", str(embedder), "--json"]
    done = CliRunner().invoke(app, [*arguments, "--first-stage-weight", "0.5"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["development"]["facts"]["queries"] == len(words)
    learned = read_manifest(model).calibration
    assert learned is not None
    assert learned.model_dump() == answer["calibration"]
    assert learned.first_stage == pytest.approx(0.5 * learned.logit, abs=1e-4)
