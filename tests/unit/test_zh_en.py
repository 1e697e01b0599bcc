"""The bundle for Chinese and English: small enough, called as its package says,
and able to tell what is now from what was.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from now_and_before import PAIRS, Pair

from es_rerank import load_embedder, load_reranker
from es_rerank.models import LoadedReranker
from es_rerank.models.manifest import read_manifest
from es_rerank.research.training.recipes import ZH_EN_SECOND_ROUND, read_recipe

BUNDLE = Path(__file__).parents[2] / "bundles" / "zh-en"
MODELS = BUNDLE / "es_rerank_zh_en"
RERANKER, EMBEDDER = MODELS / "es-rerank-zh-en-l6", MODELS / "multilingual-e5-small-zh-en"


@pytest.fixture(scope="module")
def reranker() -> Iterator[LoadedReranker]:
    with load_reranker(RERANKER) as loaded:
        yield loaded


def test_its_models_are_called_as_its_entry_points_say() -> None:
    stated = tomllib.loads((BUNDLE / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "entry-points"
    ]["es_rerank.models"]
    assert stated == {folder.name: MODELS.name for folder in (RERANKER, EMBEDDER)}
    assert (
        read_manifest(RERANKER, kind="cross-encoder").name,
        read_manifest(EMBEDDER, kind="bi-encoder").name,
    ) == tuple(stated)


def test_both_models_are_at_most_60_mb() -> None:
    assert (
        sum(path.stat().st_size for path in MODELS.rglob("*") if path.suffix in {".onnx", ".json", ".md"})
        <= 60_000_000
    )


def test_the_recipe_in_the_bundle_is_that_of_the_last_round() -> None:
    assert read_recipe(str(RERANKER / "recipe.json")) == ZH_EN_SECOND_ROUND


def test_its_embedder_reads_both_languages() -> None:
    with load_embedder(EMBEDDER) as embedder:
        questions = embedder.embed(["谁签署了条约", "Who signed the treaty?"], purpose="query")
        passages = embedder.embed(
            ["国王签署了条约。", "The king signed the treaty.", "昨天下了一整天的雨。", "It rained all day."]
        )
    for right, in_the_other_language, *wrong in (questions @ passages.T).tolist():
        assert min(right, in_the_other_language) > max(wrong)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.thing)
def test_what_is_true_now_stands_clearly_before_what_was_true_once(
    reranker: LoadedReranker, pair: Pair
) -> None:
    now, before = reranker.score(pair.query, [pair.now, pair.before]).values
    assert now > before + 0.5
