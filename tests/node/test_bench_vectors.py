"""``es-rerank bench vectors``: distinct passages, an index for each type, and the exact search beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from ingests import chunker
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import SettingsError, SourceError
from es_rerank.node import Node
from es_rerank.research.bench.vector_passages import passages_of
from es_rerank.research.bench.vectors import WAYS, chosen_ways
from es_rerank.testing import HashEmbedder


def collection(folder: Path, documents: int) -> Path:
    (folder / "qrels").mkdir(parents=True)
    lines = [
        {"_id": str(number), "title": "", "text": f"{'even' if number % 2 else 'odd'} number {number} is it"}
        for number in range(documents)
    ]
    lines.append({"_id": "again", "title": "", "text": "odd number 0 is it"})
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    queries = [{"_id": f"q{number}", "text": f"number {number}"} for number in range(5)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    judged = "".join(f"q{number}\t{number}\t1\n" for number in range(5))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    return folder


@pytest.mark.long
def test_a_run_measures_each_way_over_distinct_passages(
    es: Elasticsearch, node: Node, tmp_path: Path
) -> None:
    folder = collection(tmp_path / "numbers", 40)
    arguments = ["bench", "vectors", str(folder), "--passages", "30", "--queries", "5", "--type", "bbq_flat"]
    kept = ["--keep", str(tmp_path / "kept"), "--elasticsearch-url", node.url]
    plot = tmp_path / "plot.svg"
    result = CliRunner().invoke(app, [*arguments, *kept, "--json", "--plot", str(plot)])
    report = json.loads(result.stdout)
    assert (report["passages"], report["queries"], report["dims"]) == (30, 5, 384)
    ways = {way["type"]: way for way in report["ways"]}
    assert list(ways) == ["hnsw", "bbq_flat"]
    assert ways["hnsw"]["recall_at_10"] == 1.0
    assert ways["bbq_flat"]["memory_bytes"] < ways["hnsw"]["memory_bytes"] <= ways["hnsw"]["disk_bytes"]
    assert ways["hnsw"]["ndcg_at_10"] > 0
    assert plot.read_text().count("bbq_flat, oversample 3") == 1
    assert not es.indices.get(index="bench-vectors-*", expand_wildcards="all").body
    vectors = np.load(tmp_path / "kept" / "vectors.npy")
    assert vectors.shape == (30, 384)
    written = (tmp_path / "kept" / "vectors.npy").stat().st_mtime_ns
    table = CliRunner().invoke(app, [*arguments, *kept]).stdout
    assert "recall@10" in table
    assert (tmp_path / "kept" / "vectors.npy").stat().st_mtime_ns == written  # nothing was embedded again


def test_a_passage_that_was_there_before_is_left_out(tmp_path: Path) -> None:
    folder = collection(tmp_path / "numbers", 7)
    embedder = HashEmbedder(16)
    corpus = passages_of(tmp_path / "kept", [folder], embedder, chunker(), passages=7, queries=2)
    assert [document.id for document in corpus.documents()] == [f"numbers/{number}" for number in range(7)]
    assert corpus.vectors.shape == (7, 16)
    assert len(corpus.queries) == len(corpus.qrels) == 2
    assert all(name.startswith("numbers/") for grades in corpus.qrels for name in grades)
    with pytest.raises(SourceError, match="have 7 distinct passages, fewer than 8"):
        passages_of(tmp_path / "kept", [folder], embedder, chunker(), passages=8, queries=2)
    with pytest.raises(SettingsError, match="--type hsnw is not measured here"):
        chosen_ways(["hsnw"])
    assert chosen_ways([]) == WAYS
