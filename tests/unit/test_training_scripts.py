"""Lists in simplified and in traditional characters: what is converted, and what stays."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.errors import MissingExtraError, SettingsError
from es_rerank.research.training.recipe import Recipe
from es_rerank.research.training.scripts import Scripts
from es_rerank.research.training.training_list import TrainingList, queue

RECIPE = Recipe(sources=(), scripts=("t2s", "s2tw"), spare_tenth=True)
SCRIPTS = Scripts(RECIPE)
SIMPLIFIED = "后来头发干了。皇后在里面看书。"
TRADITIONAL = "後來頭髮乾了。皇后在裡面看書。"
CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def _lists(number: int) -> list[TrainingList]:
    return [
        TrainingList(f"{number} 号列车开往哪里", [SIMPLIFIED, "The train stops here."], [1, 0], [1.0, 0.0])
        for number in range(number)
    ]


@settings(deadline=None)
@given(st.text(), st.sampled_from(RECIPE.scripts))
def test_what_is_not_a_chinese_character_stays_where_it_is(text: str, name: str) -> None:
    assert CHINESE.split(SCRIPTS.text(text, name)) == CHINESE.split(text)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Lo"))), st.sampled_from(RECIPE.scripts)
)
def test_a_text_without_chinese_characters_is_not_touched(text: str, name: str) -> None:
    assert SCRIPTS.text(text, name) == text


def test_a_text_gets_the_other_script_and_keeps_its_own() -> None:
    assert SCRIPTS.text(TRADITIONAL, "t2s") == SIMPLIFIED
    assert SCRIPTS.text(SIMPLIFIED, "t2s") == SIMPLIFIED
    assert SCRIPTS.text(TRADITIONAL, "s2tw") == TRADITIONAL
    assert SCRIPTS.text("头发干了 NBA 2020", "s2tw") == "頭髮幹了 NBA 2020"


def test_query_and_passages_of_a_list_have_one_script_and_half_of_the_lists_another() -> None:
    lists = _lists(1_000)
    drawn = Scripts(RECIPE).drawn(lists)
    assert drawn == Scripts(RECIPE).drawn(lists)
    other = [item for item in drawn if item.query != lists[0].query and "號列車" in item.query]
    assert 450 < len(other) < 550
    for item, before in zip(drawn, lists, strict=True):
        assert ("號" in item.query) == ("頭" in item.passages[0])
        assert item.passages[1] == before.passages[1]
        assert item.query_of_collection == before.query
        assert (item.labels, item.teacher) == (before.labels, before.teacher)


def test_what_is_spared_is_spared_in_both_scripts() -> None:
    lists = _lists(1_000)
    kept = {item.query for item in queue(lists, RECIPE)}
    assert 850 < len(kept) < 950
    assert {item.query_of_collection for item in queue(Scripts(RECIPE).drawn(lists), RECIPE)} == kept


def test_a_recipe_without_scripts_leaves_its_lists_and_says_nothing_of_them() -> None:
    plain = Recipe(sources=())
    assert Scripts(plain).drawn(_lists(3)) == _lists(3)
    assert "scripts" not in plain.of_lists()
    assert "s2tw" in RECIPE.of_lists()


def test_a_script_that_opencc_does_not_know_is_named() -> None:
    with pytest.raises(SettingsError, match="scripts name 's2x', which is not a configuration of OpenCC"):
        Scripts(Recipe(sources=(), scripts=("s2x",)))


def test_without_opencc_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(
        MissingExtraError, match=r"by OpenCC \(t2s\), which is not installed; install the extra"
    ):
        Scripts(RECIPE)
