"""Tuning with training: a mark in the passages decides what is relevant, and the start does not know it.

    pytest tests/parity

Needs the extra ``train`` (torch).
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_torch
from elasticsearch import Elasticsearch
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.cli.tune_training import JudgedWindows, trained_model
from es_rerank.export import ExportOptions, export_model
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import read_manifest
from es_rerank.node import Node
from es_rerank.research.tuning import training_lists
from es_rerank.research.tuning.trained import VERSIONS, weights_taken
from es_rerank.research.tuning.tuning import tuned
from es_rerank.research.tuning.verdict import Ratings
from es_rerank.research.tuning.windows import Read, Window
from es_rerank.settings import read_settings

WORDS = ("river", "stone", "night", "paper", "glass", "metal", "bird", "field", "storm", "train", "sugar")
QUERIES = [f"{one} {other}" for one in WORDS for other in WORDS if one != other]
HITS, MARKED = 8, 2


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an exported model with random weights, as small and as int8 as can be."""
    folder = tmp_path_factory.mktemp("start")
    options = ExportOptions(name="tiny", fp32=False, int8_range="reduced")
    export_model(str(tiny_torch.bert(folder / "torch")), folder / "tiny", options)
    return folder / "tiny"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the rates: random weights of 32 dimensions have everything to learn, a shipped model little."""
    for name in ("BODY_RATE", "HEAD_RATE"):
        monkeypatch.setattr(training_lists, name, 3e-3)
    monkeypatch.setattr(training_lists, "EPOCHS", 8)
    monkeypatch.setattr(training_lists, "START_SHARE", 0.01)


def passages(query: str, chance: random.Random) -> list[tuple[str, float]]:
    """Return passages of a query with their ratings. The relevant ones have a 7, the others another mark."""
    marks = ["7"] * MARKED + ["3"] * (HITS - MARKED)
    return [(f"{mark} {query} {chance.choice(WORDS)}", float(mark == "7")) for mark in marks]


def test_a_training_finds_what_decides_relevance(
    es: Elasticsearch, node: Node, index: str, start: Path, tmp_path: Path
) -> None:
    chance, rows, operations = random.Random(3), [("query", "docid", "rating")], list[dict[str, Any]]()
    for query in QUERIES[:96]:
        for text, rating in passages(query, chance):
            name = f"d{len(rows)}"
            operations += [{"index": {"_id": name}}, {"text": text}]
            rows.append((query, name, str(rating)))
    es.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}}})
    es.bulk(index=index, operations=operations, refresh=True)
    with (tmp_path / "j.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    out, before = tmp_path / "tuned", {path.name: path.read_bytes() for path in start.iterdir()}
    arguments = ["tune", index, str(tmp_path / "j.csv"), "--reranker", str(start), "--window", "24"]
    options = ["--train", "--out", str(out), "--elasticsearch-url", node.url, "--json"]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    training, (stage,) = answer["training"], answer["training"]["verdict"]["stages"]
    assert (answer["outcome"], answer["weights"], answer["written"]) == ("better", "trained", str(out))
    assert stage["ndcg"]["before"] == answer["stages"][0]["ndcg"]["before"]
    assert stage["ndcg"]["after"] > max(answer["stages"][0]["ndcg"]["after"], stage["ndcg"]["before"]) + 0.1
    assert training["chosen_by"]["trained"] > training["chosen_by"]["shipped"]
    assert training["trained_on"] + training["fitted_on"] == answer["queries"]["learned_from"]

    manifest = read_manifest(out)
    assert (manifest.name, set(manifest.variants)) == ("tiny-tuned", {"int8"})
    assert manifest.quantisation is not None
    assert manifest.quantisation.fitted
    assert manifest.calibration is not None
    assert manifest.calibration.blends["bm25"].logit > 0
    assert json.loads((out / "tuning.json").read_text(encoding="utf-8"))["training"] == training
    with CrossEncoder(out) as model:
        marked, other = model.score("glass storm", ["7 glass storm bird", "3 glass storm bird"]).values
    assert marked > other
    assert {path.name: path.read_bytes() for path in start.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j.csv", "tuned"]


def windows_of(model: CrossEncoder, ratings: Sequence[Sequence[float]]) -> list[Window]:
    """Return windows of made passages in an order by chance, with ratings that say nothing of them."""
    chance, made = random.Random(4), []
    for place, (query, rated) in enumerate(zip(QUERIES, ratings, strict=False)):
        texts = [text for text, _ in passages(query, chance)]
        scores = np.asarray(sorted((chance.random() for _ in texts), reverse=True), dtype=np.float32)
        names = tuple(f"d{place}-{hit}" for hit in range(HITS))
        read = tuple(Read((text,), 0) for text in texts)
        logits = model.score(query, texts).values
        made.append(Window(query, names, logits, scores, np.asarray(rated, dtype=np.float32), read))
    return made


def test_a_training_on_judgements_by_chance_is_not_better(start: Path, tmp_path: Path) -> None:
    chance = random.Random(5)
    drawn = [chance.sample([1.0] * MARKED + [0.0] * (HITS - MARKED), HITS) for _ in range(96)]
    with CrossEncoder(start) as model:
        windows = windows_of(model, drawn)
    rated = {w.query: dict(zip(w.documents, w.ratings.tolist(), strict=True)) for w in windows}
    ratings, manifest = Ratings(rated, 1.0, unjudged_count=False), read_manifest(start)
    judged = JudgedWindows({"bm25": windows}, ratings, None, 13)
    _, trained = trained_model(start, manifest, judged, tmp_path, read_settings())
    fitted = tuned({"bm25": windows}, ratings, None, embedder=None, seed=13, versions=VERSIONS)
    assert not trained.better
    assert weights_taken(fitted, trained) == "shipped"
