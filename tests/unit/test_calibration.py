"""A cross-encoder's calibrations: what is learned from windows,
and the command that writes it into a manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner, Result

from es_rerank.cli.app import app
from es_rerank.collection import held_out
from es_rerank.errors import SettingsError
from es_rerank.models.manifest import read_manifest
from es_rerank.research.logistic_line import Line
from es_rerank.research.training.calibration import learn
from es_rerank.research.training.calibration_fit import (
    ORDERS,
    JudgedWindow,
    Order,
    by_collection,
    choose,
    fit_blend,
    fit_pair,
    gains,
    shares,
)
from es_rerank.research.training.recipe import Recipe
from es_rerank.research.training.training_list import TrainingList, learned_from, mark_of
from es_rerank.scores import logistic, standardise
from es_rerank.types import Blend

TRUE = Blend(0.7, 0.35, -1.0)


def windows(
    number: int, seed: int = 0, *, collection: str = "drawn", stage: str = "dense", blend: Blend = TRUE
) -> list[JudgedWindow]:
    """Windows whose labels are drawn by the log-odds of ``blend``."""
    chance, drawn = np.random.default_rng(seed), []
    for query in range(number):
        logits = chance.normal(0, 2, 50).astype(np.float32)
        scores = chance.normal(size=50).astype(np.float32)
        odds = blend.logit * logits + blend.first_stage * logits.std() * standardise(scores.tolist())
        labels = chance.random(50) < 1 / (1 + np.exp(-odds - blend.intercept))
        labels[0] |= not labels.any()
        window = JudgedWindow(collection, str(query), stage, logits, scores, labels.astype(np.float32))
        drawn.append(window)
    return drawn


def test_the_coefficients_that_labels_were_drawn_by_are_found() -> None:
    found = fit_blend(windows(400), Order(0.5, None))
    assert found[:3] == pytest.approx(TRUE[:3], abs=0.08)
    assert found.least_agreement is None


def test_what_is_not_judged_teaches_nothing() -> None:
    def half_judged(drawn: list[JudgedWindow]) -> list[JudgedWindow]:
        return [replace(w, labels=np.where(judged, w.labels, np.nan).astype(np.float32)) for w in drawn]

    judged = np.arange(50) < 25
    drawn = windows(40)
    others = [replace(w, labels=np.where(judged, w.labels, 1 - w.labels).astype(np.float32)) for w in drawn]
    assert fit_pair(half_judged(drawn)) == fit_pair(half_judged(others)) != fit_pair(others)
    unknown = [replace(w, labels=np.full(50, np.nan, dtype=np.float32)) for w in drawn]
    assert fit_pair(unknown) == Line(1.0, 0.0)


def test_the_best_unjudged_hits_teach_nothing_where_only_relevant_documents_are_judged() -> None:
    logits = np.array([5, 4, 3, 2, 1, 0], dtype=np.float32)
    labels = np.array([0, 1, 0, 0, 0, 0], dtype=np.float32)
    window = JudgedWindow("one", "q", "dense", logits, logits, labels)
    assert window.taught().tolist() == labels.tolist()
    unknown = np.isnan(replace(window, sparse=True).taught())
    assert unknown.tolist() == [True, False, True, True, False, False]
    drawn = windows(60)
    sparse = [replace(w, sparse=True) for w in drawn]
    assert fit_pair(sparse).of(np.zeros(1, dtype=np.float32)) > fit_pair(drawn).of(
        np.zeros(1, dtype=np.float32)
    )
    # Calibration errors and nDCG@10 count them, as the judgements say.
    assert [row["first_stage_ndcg"] for row in learn(sparse).rows] == [
        row["first_stage_ndcg"] for row in learn(drawn).rows
    ]


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_order_of_a_blend_is_the_one_that_was_asked_for(weight: float) -> None:
    found = fit_blend(windows(100), Order(weight, None))
    assert found.first_stage == pytest.approx(weight * found.logit, abs=1e-3)
    assert found.logit > 0 > found.intercept


def test_windows_that_are_left_alone_have_a_line_of_their_own() -> None:
    drawn = windows(200)
    found = fit_blend(drawn, Order(0.5, 0.0))
    assert found.least_agreement == 0.0
    assert found.alone_first_stage > 0
    for window in drawn:
        agrees = float((standardise(window.logits.tolist()) * standardise(window.scores.tolist())).mean())
        values = window.log_odds(found)
        line = found.alone_first_stage * standardise(window.scores.tolist()) + found.alone_intercept
        assert np.allclose(values, line, atol=1e-5) is (agrees < 0)


def test_the_probability_of_a_pair_is_right_on_average() -> None:
    drawn = windows(400)
    logits = np.concatenate([window.logits for window in drawn])
    labels = np.concatenate([window.labels for window in drawn])
    probabilities = logistic(fit_pair(drawn).of(logits))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        among = (probabilities >= low) & (probabilities < high)
        assert probabilities[among].mean() == pytest.approx(labels[among].mean(), abs=0.03)


def test_every_collection_and_every_window_in_it_weighs_the_same() -> None:
    drawn = [*windows(3, collection="small"), *windows(9, 1, collection="large")]
    weights = shares(drawn)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:3].tolist() == pytest.approx([1 / 6] * 3)
    assert weights[3:].tolist() == pytest.approx([1 / 18] * 9)
    # Whatever was drawn again adds nothing to what a collection teaches.
    assert fit_pair([*drawn, *drawn[3:]]) == pytest.approx(fit_pair(drawn), abs=1e-3)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(ORDERS))
def test_an_order_that_keeps_the_first_stage_gains_nothing(seed: int, order: Order) -> None:
    drawn = windows(2, seed)
    same = [replace(window, logits=window.scores) for window in drawn]
    opposite = [replace(window, logits=-window.scores) for window in drawn]
    place = ORDERS.index(order)
    assert gains(same)[:, place].tolist() == [0.0, 0.0]
    if order.least_agreement is not None:
        assert gains(opposite)[:, place].tolist() == [0.0, 0.0]


def place_of(weight: float, least_agreement: float | None = None) -> int:
    return ORDERS.index(Order(weight, least_agreement))


def test_the_most_careful_of_equally_good_orders_that_harm_least_is_chosen() -> None:
    two = [*windows(1, collection="a"), *windows(1, collection="b")]
    gained = np.full((2, len(ORDERS)), -0.3)
    gained[:, place_of(0.4)] = [0.10, 0.20]
    gained[:, place_of(1.0)] = [0.07, 0.22]  # less on average, but within one standard error
    gained[:, place_of(1.5)] = [0.05, 0.15]  # less on both collections
    gained[:, place_of(0.1)] = [0.50, -0.02]  # the best mean, but it harms a collection
    gained[:, place_of(2.0, 0.1)] = [0.10, 0.20]  # as good, but a rule without need
    assert choose(two, gained) == Order(1.0, None)
    gained[:, place_of(2.0, 0.1)] = [0.40, 0.50]
    assert choose(two, gained) == Order(2.0, 0.1)


def test_harm_over_one_first_stage_is_not_made_up_for_by_another() -> None:
    two = [*windows(1), *windows(1, stage="dense:other")]
    gained = np.full((2, len(ORDERS)), -0.3)
    gained[:, place_of(0.4)] = [0.30, -0.05]
    gained[:, place_of(1.0)] = [0.01, 0.01]
    assert choose(two, gained) == Order(1.0, None)


def test_one_collection_alone_gets_the_best_order() -> None:
    drawn = windows(2)
    gained = np.zeros((2, len(ORDERS)))
    gained[:, place_of(0.3)] = 0.1
    assert by_collection(drawn, gained)["drawn"].shape == (len(ORDERS),)
    assert choose(drawn, gained) == Order(0.3, None)


def test_each_kind_of_first_stage_gets_the_weight_that_it_deserves() -> None:
    strong, weak = Blend(0.5, 1.0, -3.0), Blend(1.0, 0.0, -3.0)
    learned = learn(
        [
            window
            for seed, name in enumerate(("a", "b", "c"))
            for stage, blend in (("dense:one", strong), ("bm25", weak))
            for window in windows(20, seed, collection=name, stage=stage, blend=blend)
        ]
    )
    blends = learned.record.blends
    assert set(blends) == {"dense", "bm25"}  # one embedder needs no blend of its own
    assert blends["dense"].first_stage > blends["dense"].logit
    assert blends["bm25"].first_stage < 0.5 * blends["bm25"].logit
    assert [(row["first_stage"], row["collection"], row["by"]) for row in learned.rows] == [
        (stage, name, stage.partition(":")[0]) for stage in ("dense:one", "bm25") for name in ("a", "b", "c")
    ]
    for row in learned.rows:
        assert row["blended_ndcg"] > row["first_stage_ndcg"]
        assert max(row["blend_error"], row["pair_error"]) < 0.1
    assert learned.record.pair is not None
    assert learned.record.pair.error == pytest.approx(
        np.mean([row["pair_error"] for row in learned.rows]), abs=1e-4
    )


def test_an_embedder_that_differs_gets_a_blend_of_its_own_from_three_collections_on() -> None:
    drawn = [
        window
        for seed, name in enumerate(("a", "b", "c"))
        for stage, blend in (("dense:weak", Blend(1.0, 0.0, -3.0)), ("dense:strong", Blend(0.2, 1.2, -3.0)))
        for window in windows(20, seed, collection=name, stage=stage, blend=blend)
    ]
    learned = learn(drawn)
    blends = learned.record.blends
    weights = {key: blend.first_stage / blend.logit for key, blend in blends.items()}
    assert weights["dense:strong"] > weights["dense"]
    assert {row["by"] for row in learned.rows if row["first_stage"] == "dense:strong"} == {"dense:strong"}
    fewer = learn([window for window in drawn if window.collection != "c"])
    assert set(fewer.record.blends) == {"dense"}


def test_a_collection_is_judged_by_what_the_others_teach() -> None:
    right = [*windows(30, collection="a"), *windows(30, 1, collection="b")]
    odd = [replace(window, collection="odd", labels=1 - window.labels) for window in windows(30, 2)]
    rows = {row["collection"]: row for row in learn([*right, *odd]).rows}
    assert rows["odd"]["pair_error"] > 0.3
    assert {row["queries"] for row in rows.values()} == {30}


def test_a_single_collection_and_a_single_window_are_judged_too() -> None:
    for number in (1, 2, 3):
        (row,) = learn(windows(number)).rows
        assert row["queries"] == number
        assert 0 <= row["pair_error"] <= 1


def test_a_given_weight_is_kept_for_every_first_stage() -> None:
    learned = learn([*windows(20), *windows(20, 1, stage="bm25")], 0.65)
    assert set(learned.orders.values()) == {Order(0.65, None)}
    for blend in learned.record.blends.values():
        assert blend.first_stage == pytest.approx(0.65 * blend.logit, abs=1e-3)


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


def calibrated(tmp_path: Path, data: Path, *options: str, json_too: bool = True, seed: int = 0) -> Result:
    """What ``calibrate`` answers for tiny models, which it leaves in ``tmp_path``. ``seed`` gives the
    embedder's weights.
    """
    recipe = tmp_path / "facts.json"
    recipe.write_text('{"sources": [{"collection": "facts", "splits": ["train"]}]}', encoding="utf-8")
    model = tiny_cross_encoder(tmp_path / "model")
    embedder = tiny_bi_encoder(tmp_path / "embedder", seed=seed)
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
            *(["--json"] if json_too else []),
            *options,
        ],
    )


def test_the_command_writes_into_the_manifest_what_it_learned(tmp_path: Path) -> None:
    data = facts(tmp_path / "data", ["what is a river", "where is the mountain", "a forest"])
    done = calibrated(tmp_path, data, "--first-stage-weight", "0.5")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert {row["first_stage"].partition(":")[0]: row["queries"] for row in answer["left_out"]} == {
        "dense": 3,
        "bm25": 3,
        "hybrid": 3,
    }
    learned = read_manifest(tmp_path / "model").calibration
    assert learned is not None
    assert learned.model_dump() == answer["calibration"]
    assert set(learned.blends) == {"dense", "bm25", "hybrid"}
    assert learned.pair is not None
    assert learned.pair.error is not None
    for blend in learned.blends.values():
        assert blend.first_stage == pytest.approx(0.5 * blend.logit, abs=1e-4)
        assert blend.error is not None


def test_a_collection_that_the_recipe_does_not_have_is_named(tmp_path: Path) -> None:
    done = calibrated(tmp_path, tmp_path, "--collection", "facts", "--collection", "fact")
    assert isinstance(done.exception, SettingsError)
    assert "--collection fact is not in the recipe; choose of: facts" in done.exception.message


def test_the_command_keeps_windows_and_says_what_was_searched(tmp_path: Path) -> None:
    data = facts(tmp_path / "data", ["what is a river", "where is the mountain", "a forest"])
    options = ("--first-stage", "dense", "--documents", "2", "--windows", str(tmp_path / "kept"))
    first, again = (calibrated(tmp_path, data, *options) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert first.stdout == again.stdout
    assert set(json.loads(first.stdout)["calibration"]["blends"]) == {"dense"}
    said = [" ".join(done.stderr.split()) for done in (first, again)]
    assert "3 of 3 documents searched; 9 pairs scored" in said[0]
    assert "3 of 3 documents searched (kept); 9 pairs scored (kept)" in said[1]


def test_windows_of_an_embedder_with_other_weights_are_made_anew(tmp_path: Path) -> None:
    data = facts(tmp_path / "data", ["what is a river", "where is the mountain", "a forest"])
    options = ("--first-stage", "dense", "--windows", str(tmp_path / "kept"))
    assert calibrated(tmp_path, data, *options).exit_code == 0
    done = calibrated(tmp_path, data, *options, seed=1)
    assert done.exit_code == 0, done.output
    assert "3 of 3 documents searched;" in " ".join(done.stderr.split())


def test_only_spared_queries_are_used_when_that_is_asked_for(tmp_path: Path) -> None:
    asked = [f"what is river {n}" for n in range(40)]
    spared = [text for text in asked if held_out(text)]
    done = calibrated(tmp_path, facts(tmp_path / "data", asked), "--spared", "--first-stage", "dense")
    assert done.exit_code == 0, done.output
    assert 0 < len(spared) < 40
    assert json.loads(done.stdout)["left_out"][0]["queries"] == len(spared)


def test_a_table_says_what_each_first_stage_gains(tmp_path: Path) -> None:
    data = facts(tmp_path / "data", ["what is a river", "where is the mountain", "a forest"])
    done = calibrated(tmp_path, data, json_too=False)
    assert done.exit_code == 0, done.output
    shown = " ".join(done.stdout.split())
    for part in ("bm25: nDCG@10 within windows of 50", "mean", "bm25: weight of the first stage"):
        assert part in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--first-stage", "knn"), "--first-stage knn is not a kind of first stage; choose of: dense, bm25"),
        (("--embedder", "{folder}/copy"), "two models have the name"),
    ],
)
def test_a_first_stage_that_has_no_key_is_refused(tmp_path: Path, options: Sequence[str], said: str) -> None:
    tiny_bi_encoder(tmp_path / "copy")
    data = facts(tmp_path / "data", ["what is a river"])
    done = calibrated(tmp_path, data, *(option.format(folder=tmp_path) for option in options))
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)


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
    assert json.loads(done.stdout)["left_out"][0]["queries"] == 3


def test_a_run_whose_lists_are_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", [f"query {n}" for n in range(480)])
    (run / "recipe.json").write_text('{"sources": [], "list_size": 3}', encoding="utf-8")
    done = calibrated(tmp_path, facts(tmp_path / "data", ["what is a river"]), "--trained", str(run))
    assert isinstance(done.exception, SettingsError)
    assert "was made by another recipe than" in str(done.exception)
