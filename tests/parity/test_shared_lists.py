"""Lists of one run are used by other runs, also on another base model; and how lists of articles are made.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_bi_encoder, tiny_tokenizer

from es_rerank.errors import SourceError
from es_rerank.research.training import cross_encoder, kept_lists
from es_rerank.research.training.labelled_lists import LabelledLists
from es_rerank.research.training.recipe import LabelledCollection, Recipe
from es_rerank.research.training.training_list import read_lists
from es_rerank.types import FloatArray

WORDS = ["river", "stone", "night", "paper", "glass", "metal", "bird", "field", "storm", "bridge", "sugar"]
ARTICLE = 3
"""Documents that have the same title."""

SOURCE = LabelledCollection(collection="articles", splits=("train",), kind="title_first", repeats=2)
SILENT: dict[str, Any] = {"say": lambda _: None, "report": lambda _: None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, chance = tmp_path_factory.mktemp("data"), random.Random(1)
    collection = folder / "articles"
    (collection / "qrels").mkdir(parents=True)
    texts = [" ".join(chance.choices(WORDS, k=20)) for _ in range(250)]
    corpus = [
        {"_id": f"d{n}", "title": f"Title {n // ARTICLE}", "text": text} for n, text in enumerate(texts)
    ]
    queries = [{"_id": f"q{n}", "text": f"{n} {text[:20]}"} for n, text in enumerate(texts)]
    for kind, rows in (("corpus", corpus), ("queries", queries)):
        (collection / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"q{n}\td{n}\t1" for n in range(250)]
    (collection / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    embedder = tiny_bi_encoder(tmp_path_factory.mktemp("embedder") / "model")
    return Recipe(
        sources=(SOURCE,),
        embedders=(str(embedder),),
        weak=20,
        list_size=4,
        lists_per_step=4,
        lists_per_pass=2,
        max_tokens=64,
        passage_tokens=(64,),
        steps=2,
        false_negative_margin=2.0,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_torch.bi_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def other_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(base, tmp_path_factory.mktemp("other") / "base")
    weights = load_file(folder / "model.safetensors")
    save_file({name: 1.1 * value for name, value in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(recipe: Recipe, data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    cross_encoder.train(recipe, data, base, out, **SILENT)
    return out


def _unused(*_: object) -> None:
    raise AssertionError("no embedder is needed for lists that are there")


def test_a_run_on_another_base_takes_the_lists_as_they_are(
    recipe: Recipe, data: Path, other_base: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_lists, "embedder_of", _unused)
    said: list[str] = []
    cross_encoder.train(
        recipe, data, other_base, tmp_path, lists_of=run, say=said.append, report=lambda _: None
    )
    made = read_lists(run / "work" / "lists.jsonl")
    assert read_lists(tmp_path / "work" / "lists.jsonl") == made
    assert said == [f"{len(made[1])} lists of {run}"]


def test_lists_that_were_made_from_something_else_are_refused_with_what_differs(
    recipe: Recipe, data: Path, base: Path, other_base: Path, run: Path, tmp_path: Path
) -> None:
    changed = recipe.model_copy(update={"list_size": 5, "weak": 30})
    with pytest.raises(SourceError, match="something else than this run's: weak, list_size; name a run"):
        cross_encoder.train(changed, data, base, tmp_path / "a", lists_of=run, **SILENT)
    with pytest.raises(SourceError, match="is not a training run's lists"):
        cross_encoder.train(recipe, data, base, tmp_path / "b", lists_of=tmp_path, **SILENT)
    alone = recipe.model_copy(update={"embedders": ()})
    cross_encoder.train(alone, data, base, tmp_path / "c", **SILENT)
    with pytest.raises(SourceError, match="something else than this run's: base; name a run"):
        cross_encoder.train(alone, data, other_base, tmp_path / "d", lists_of=tmp_path / "c", **SILENT)
    assert not (tmp_path / "d" / "work" / "lists.jsonl").exists()


def test_a_run_on_another_base_takes_up_no_checkpoint(
    recipe: Recipe, data: Path, other_base: Path, run: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(run, tmp_path / "again")
    with pytest.raises(SourceError, match="another recipe, base, start or teacher"):
        cross_encoder.train(recipe, data, other_base, again, **SILENT)


def test_passages_are_cut_by_the_tokenizer_of_the_first_embedder(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by that of the base: there is none here."""
    pieces: list[int] = []

    def noted(_recipe: Recipe, _data: Path, tokenizer: Any, *_: object) -> list[object]:
        pieces.append(tokenizer.get_vocab_size())
        return []

    monkeypatch.setattr(kept_lists, "make_lists", noted)
    (tmp_path / "work").mkdir()
    kept_lists.prepare_lists(recipe, data, tmp_path / "none", tmp_path / "work", "mark", lambda _: None)
    assert pieces == [tiny_tokenizer().get_vocab_size()]


def _one_direction(texts: list[str], *, query: bool = False) -> FloatArray:
    return np.ones((len(texts), 1), dtype=np.float32)


@pytest.mark.parametrize(("kind", "siblings", "others"), [("title_first", 2, 3), ("same_title", 2, 1)])
def test_passages_of_the_same_article_come_first(
    kind: str, siblings: int, others: int, recipe: Recipe, data: Path
) -> None:
    """After them come mined ones, or with ``same_title`` none; the last is from anywhere."""
    source = SOURCE.model_copy(update={"kind": kind, "repeats": 1, "queries": 60})
    longer = recipe.model_copy(update={"list_size": 6, "title_share": 1.0})
    lists = list(LabelledLists(source, longer, data, tiny_tokenizer(), [_one_direction]).lists())
    assert len(lists) == 60
    for item in lists:
        title, *negatives = (passage.split("\n")[0] for passage in item.passages)
        assert negatives.count(title) == siblings or title == "Title 83"  # this article has one document
        assert len(negatives) <= siblings + others
        assert item.labels == [1] + [0] * len(negatives)
    assert max(len(item.passages) for item in lists) == 1 + siblings + others
