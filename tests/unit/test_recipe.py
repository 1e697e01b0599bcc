from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from es_rerank.collection import held_out
from es_rerank.errors import SettingsError, SourceError
from es_rerank.models.load import model_folder
from es_rerank.research.training.recipe import Recipe
from es_rerank.research.training.recipes import (
    FIRST_ROUND,
    RECIPES,
    SECOND_ROUND,
    THIRD_ROUND,
    ZH_EN_FIRST_ROUND,
    ZH_EN_SECOND_ROUND,
    read_recipe,
)
from es_rerank.research.training.training_list import (
    TrainingList,
    add_teacher,
    differences,
    learned_from,
    mark_of,
    queue,
    read_lists,
    split_development,
)
from es_rerank.settings import BUNDLED_RERANKER
from es_rerank.testing import WordOverlapReranker


def test_a_recipe_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(
        '{"sources": [{"collection": "facts", "splits": ["train"]}], "steps": 7, "layers": [1, 4]}',
        encoding="utf-8",
    )
    recipe = read_recipe(str(path))
    assert (recipe.sources[0].collection, recipe.steps, recipe.layers) == ("facts", 7, (1, 4))
    assert recipe.passage_tokens == FIRST_ROUND.passage_tokens


def test_what_is_no_recipe_is_refused_with_the_field_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"sources": [], "stepz": 7}', encoding="utf-8")
    with pytest.raises(SettingsError, match="stepz"):
        read_recipe(str(path))
    path.write_text('{"sources": [], "steps": 0}', encoding="utf-8")
    with pytest.raises(SettingsError, match="steps\n  Input should be greater than or equal to 1"):
        read_recipe(str(path))


@pytest.mark.parametrize("layers", [(), (0, 1), (2, 1), (3, 3), 0])
def test_layers_that_no_model_has_are_refused(layers: object) -> None:
    with pytest.raises(ValueError, match=r"layers .* are not one or more layers in ascending order"):
        Recipe.model_validate({"sources": [], "layers": layers})


def test_layers_are_a_number_from_the_first_on_or_a_list() -> None:
    first = Recipe(sources=(), layers=3)
    assert first.kept_layers == (1, 2, 3)
    assert first.model_copy(update={"layers": (2, 4, 6)}).kept_layers == (2, 4, 6)


def test_a_recipe_with_heads_on_inner_layers_is_read_without_them(tmp_path: Path) -> None:
    stated = json.loads(FIRST_ROUND.model_dump_json())
    heads = {"exit_layers": [2, 3], "exit_weight": 0.4, "exit_distil_weight": 0.4}
    (tmp_path / "recipe.json").write_text(json.dumps(stated | heads), encoding="utf-8")
    assert read_recipe(str(tmp_path / "recipe.json")) == FIRST_ROUND
    (tmp_path / "recipe.json").write_text(json.dumps(stated | {"exit_share": 0.3}), encoding="utf-8")
    with pytest.raises(SettingsError, match="exit_share\n  Extra inputs"):
        read_recipe(str(tmp_path / "recipe.json"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_round_of_ours_is_read_by_its_name_and_survives_its_own_json(name: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(RECIPES[name].model_dump_json(), encoding="utf-8")
    assert read_recipe(name) == read_recipe(str(tmp_path / "recipe.json")) == RECIPES[name]


def test_what_is_neither_a_round_nor_a_file_is_refused_with_the_rounds_named() -> None:
    with pytest.raises(
        SettingsError,
        match="fifth is not a training recipe, nor one of first, second, third, fourth, left-out, "
        "two-layers, zh-en-first, zh-en-second, zh-en-third, zh-small",
    ):
        read_recipe("fifth")


def test_what_is_left_out_is_in_no_source_and_teaches_no_start() -> None:
    names = {source.collection for source in RECIPES["left-out"].sources}
    assert names == {source.collection for source in RECIPES["fourth"].sources} - {
        "scifact",
        "selqa",
        "msrd_movies",
    }
    assert not {source.without for source in RECIPES["left-out"].sources} & {
        "scifact",
        "selqa",
        "msrd_movies",
    }


def test_the_recipe_in_the_package_is_that_of_the_last_round() -> None:
    shipped = read_recipe(str(model_folder(BUNDLED_RERANKER) / "recipe.json"))
    assert shipped.model_copy(update={"checkpoint_every": THIRD_ROUND.checkpoint_every}) == THIRD_ROUND


def test_the_second_round_goes_on_where_the_first_ended() -> None:
    assert SECOND_ROUND.of_lists() == FIRST_ROUND.of_lists()
    assert SECOND_ROUND.first_list == 10_720
    assert ZH_EN_SECOND_ROUND.of_lists() == ZH_EN_FIRST_ROUND.of_lists()
    assert ZH_EN_SECOND_ROUND.first_list == 6_400


def test_both_models_for_chinese_can_be_trained_on_the_same_lists() -> None:
    assert RECIPES["zh-en-third"].of_lists() == RECIPES["zh-small"].of_lists()
    marks = [
        mark_of(RECIPES[name], base, Path("data")) for name in ("zh-small", "zh-en-third") for base in "ab"
    ]
    assert len(set(marks)) == 1
    alone = RECIPES["zh-en-first"]
    assert mark_of(alone, "a", Path("data")) != mark_of(alone, "b", Path("data"))
    assert differences(mark_of(alone, "a", Path("data")), marks[0])[:2] == ["sources", "weak"]
    assert differences("no mark", marks[0]) == ["the first line"]


@pytest.mark.parametrize("name", ["zh-small", "zh-en-third"])
def test_of_chinese_only_what_may_be_trained_on_is_read(name: str) -> None:
    """Also as passages: documents of other splits stay unread."""
    chinese = {s.collection: s for s in RECIPES[name].sources if s.collection in {"cmrc2018", "drcd"}}
    assert {name: (s.splits, s.judged_only) for name, s in chinese.items()} == {
        "cmrc2018": (("trial",), True),
        "drcd": (("dev",), True),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_trained_on_that_is_kept_for_evaluation(name: str) -> None:
    sources = RECIPES[name].sources
    splits = {source.collection: source.splits for source in sources}
    assert not {"esci_sample", "xquad"} & set(splits)
    assert splits.get("scifact", ("train",)) == ("train",)
    assert splits.get("selqa", ("dev",)) == ("dev",)
    assert splits.get("cmrc2018", ("trial",)) == ("trial",)
    assert splits.get("drcd", ("dev",)) == ("dev",)
    assert all(split.endswith("_dev") for split in splits.get("product_qa", ()))
    with_held_out_tenth = {"nq_open_oracle", "msrd_movies"} & set(splits)
    assert {source.collection for source in sources if source.part == "train"} == with_held_out_tenth


def test_a_tenth_of_the_queries_is_held_out() -> None:
    assert 80 < sum(held_out(str(number)) for number in range(1_000)) < 120


def _lists(number: int) -> list[TrainingList]:
    return [
        TrainingList(
            f"query {i}", ["a", "b"], [-1, -1] if i % 3 == 1 else [1, 0], [2.0, -1.0], made=i % 3 == 2
        )
        for i in range(number)
    ]


def test_development_lists_are_labelled_and_the_same_for_the_same_seed() -> None:
    lists = _lists(1_500)
    development, others = split_development(lists, Recipe(sources=()))
    assert len(development) == 240
    assert all(item.labels == [1, 0] and not item.made for item in development)
    with pytest.raises(SourceError, match="gave 200 labelled lists; 480 are needed"):
        split_development(_lists(600), Recipe(sources=()))
    assert sorted([*development, *others], key=lists.index) == lists
    assert (
        split_development(lists, Recipe(sources=()))[0]
        == development
        != split_development(lists, Recipe(sources=(), seed=14))[0]
    )


def test_a_second_run_passes_over_what_the_first_has_learned_and_over_a_tenth() -> None:
    lists = _lists(1_500)
    first, second = (
        Recipe(sources=(), steps=10),
        Recipe(sources=(), steps=20, first_list=160, spare_tenth=True),
    )
    _, others = split_development(lists, first)
    assert learned_from(lists, first) == queue(others, first)[:160] == others[:160]
    assert queue(others, second) == [item for item in others[160:] if not held_out(item.query)]
    assert learned_from(lists, second) == [*others[:160], *queue(others, second)[:320]]


def test_a_reranker_joins_the_teacher_without_moving_its_logits_apart() -> None:
    item = TrainingList(
        "the river", ["no such thing", "the river", "the sea"], [-1, -1, -1], [3.0, 1.0, -1.0]
    )
    (made,) = add_teacher([item], WordOverlapReranker(), Recipe(sources=(), reranker_weight=2.0))
    assert (made.query, made.passages, made.labels) == (item.query, item.passages, item.labels)
    assert int(np.argmax(made.teacher)) == 1  # twice the weight of the former best
    assert np.std(made.teacher) == pytest.approx(np.std(item.teacher), abs=1e-3)
    (alone,) = add_teacher([item], WordOverlapReranker(), Recipe(sources=(), reranker_weight=0.0))
    assert alone.teacher == pytest.approx([2.0, 0.0, -2.0], abs=1e-3)


def test_a_file_of_lists_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text("mark\n" + json.dumps(asdict(_lists(1)[0])) + "\n")
    assert read_lists(path) == ("mark", _lists(1))
    path.write_text("mark\n{}\n")
    with pytest.raises(SourceError, match="is not a training run's lists"):
        read_lists(path)
