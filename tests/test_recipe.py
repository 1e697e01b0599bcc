from __future__ import annotations

from pathlib import Path

import pytest

from es_rerank.collection import held_out
from es_rerank.errors import SettingsError
from es_rerank.training.recipe import BUNDLED, development_lists, read_recipe


def test_a_recipe_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"sources": [{"collection": "facts", "splits": ["train"]}], "steps": 7, "exit_layers": [1, 4]}', encoding="utf-8")
    recipe = read_recipe(path)
    assert (recipe.sources[0].collection, recipe.steps, recipe.exit_layers) == ("facts", 7, (1, 4))
    assert recipe.passage_tokens == BUNDLED.passage_tokens


def test_what_is_no_recipe_is_refused_with_the_field_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"sources": [], "stepz": 7}', encoding="utf-8")
    with pytest.raises(SettingsError, match="stepz"):
        read_recipe(path)


def test_without_a_file_the_bundled_recipe_is_read_and_survives_its_own_json(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(BUNDLED.model_dump_json(), encoding="utf-8")
    assert read_recipe(None) == read_recipe(tmp_path / "recipe.json") == BUNDLED


def test_nothing_is_trained_on_that_is_kept_for_evaluation() -> None:
    splits = {source.collection: source.splits for source in BUNDLED.sources}
    assert not {"esci_sample", "xquad"} & set(splits)
    assert (splits["scifact"], splits["selqa"]) == (("train",), ("dev",))
    assert all(split.endswith("_dev") for split in splits["product_qa"])
    assert {source.collection for source in BUNDLED.sources if source.part == "train"} == {"nq_open_oracle", "msrd_movies"}


def test_a_tenth_of_the_queries_is_held_out() -> None:
    assert 80 < sum(held_out(str(number)) for number in range(1_000)) < 120


def test_development_lists_are_the_same_for_the_same_seed() -> None:
    assert development_lists(range(1_000), 13) == development_lists(range(1_000), 13) != development_lists(range(1_000), 14)
