"""Measuring end to end, on a real Elasticsearch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from commands import run
from elasticsearch import Elasticsearch
from evaluations import write_collection
from tiny_models import model_options, tiny_bi_encoder, tiny_tokenizer

from es_rerank.cli.evaluate import indexed
from es_rerank.cli.evaluation_tables import table_of, verdict
from es_rerank.client import RerankClient
from es_rerank.collection import read_corpus
from es_rerank.errors import ModelError
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.node import Node
from es_rerank.research.evaluation.experiment import OnSearchesDone, Result, Setup, experiments
from es_rerank.research.evaluation.topics import read_topics
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.text.chunking import Chunker
from es_rerank.types import Blend, Calibration, Scores
from ingest_pipelines import Ingest
from ingest_pipelines.collection_index import collection_alias

WORDS = [
    "anchor",
    "bridge",
    "candle",
    "desert",
    "engine",
    "falcon",
    "garden",
    "harbor",
    "island",
    "jungle",
    "kettle",
    "ladder",
    "magnet",
    "needle",
    "orange",
    "pepper",
    "quartz",
    "ribbon",
    "saddle",
    "temple",
]


@pytest.fixture
def made(tmp_path: Path, index: str) -> Path:
    """Twenty documents of two words each; the query of a word finds its own document, graded 2,
    and the one before, graded 1.
    """
    texts = {f"d{i}": f"the {word} and the {WORDS[(i + 1) % len(WORDS)]}" for i, word in enumerate(WORDS)}
    queries = {f"q{i}": f"where is the {word}" for i, word in enumerate(WORDS[:6])}
    rows = [
        (f"q{i}", f"d{i - shift if i >= shift else len(WORDS) - 1}", 2 - shift)
        for i in range(6)
        for shift in (0, 1)
    ]
    return write_collection(
        tmp_path / index, texts, queries, {"test": [*rows, ("q6", "d1", 0)], "other": rows[:2]}
    )


@pytest.fixture
def whole(made: Path) -> Path:
    """The collection with the query that has no relevant document."""
    with (made / "queries.jsonl").open("a") as queries:
        queries.write('{"_id": "q6", "text": "anything"}\n')
    return made


def _ingest(es: Elasticsearch, index: str, folder: Path) -> HashEmbedder:
    embedder = HashEmbedder()
    Ingest(es, embedder, chunker=Chunker(tiny_tokenizer())).run(index, read_corpus(folder))
    return embedder


def _experiment(
    es: Elasticsearch,
    index: str,
    folder: Path,
    reranker: WordOverlapReranker,
    setup: Setup,
    on_progress: OnSearchesDone | None = None,
) -> Result:
    client = RerankClient(es, reranker=reranker, embedder=_ingest(es, index, folder), timeout_s=None)
    return experiments(client, read_topics(folder, "test"), [setup], on_progress=on_progress)[0]


@pytest.mark.node
def test_an_experiment_measures_three_runs(es: Elasticsearch, index: str, whole: Path) -> None:
    done: list[int] = []
    # The overlap alone ties the two documents of a word, and ties keep first-stage order.
    result = _experiment(
        es,
        index,
        whole,
        WordOverlapReranker(calibration=Calibration(blends={"dense": Blend(-1.0, 0.0, 0.0)})),
        Setup(index, window=10),
        done.append,
    )
    assert done == [1, 2, 3, 4, 5, 6]
    assert (result.queries, result.skipped_queries, result.window) == (6, 1, 10)
    assert (result.model, result.recalled_by, result.collection, result.split) == (
        "word-overlap",
        "knn",
        index,
        "test",
    )
    assert result.cross_encoder.rr_at_10 == 1.0
    assert (
        result.reranked.rr_at_10 < 0.2
    )  # the calibration turns the model's order around: shipped is not the model alone
    assert (
        result.first_stage.recall_at_100
        == result.cross_encoder.recall_at_100
        == result.reranked.recall_at_100
        == 1.0
    )
    assert result.difference.ndcg_at_10 == pytest.approx(
        result.reranked.ndcg_at_10 - result.first_stage.ndcg_at_10
    )
    assert result.difference.losses == 6


@pytest.mark.node
def test_the_result_prints_what_the_command_line_promises(es: Elasticsearch, index: str, whole: Path) -> None:
    result = _experiment(es, index, whole, WordOverlapReranker(), Setup(index, "bm25", 5, ("text",)))
    shown = json.loads(json.dumps(result.as_json(), allow_nan=False))
    promised = {
        "collection",
        "split",
        "queries",
        "window",
        "first_stage",
        "cross_encoder",
        "reranked",
        "difference",
        "pairs_per_second",
    }
    assert promised <= set(shown)
    for order in ("first_stage", "cross_encoder", "reranked"):
        assert set(shown[order]) == {"ndcg@10", "rr@10", "recall@100"}
    assert {"ndcg@10", "p_value"} <= set(shown["difference"])
    assert shown["cross_encoder"] == shown["reranked"]
    assert list(table_of(result).columns[0].cells) == [
        "first stage",
        "cross-encoder alone",
        "shipped default",
    ]
    assert "queries better" in verdict(result)


class _BrokenReranker(WordOverlapReranker):
    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        raise ModelError("out of order")


@pytest.mark.node
def test_an_answer_that_was_not_reranked_is_no_measurement(
    es: Elasticsearch, index: str, whole: Path
) -> None:
    with pytest.raises(ModelError, match=r"not reranked \(first_stage: the reranker failed: out of order\)"):
        _experiment(es, index, whole, _BrokenReranker(), Setup(index, window=5))


@pytest.fixture
def embedder(tmp_path: Path) -> Iterator[BiEncoder]:
    with BiEncoder(tiny_bi_encoder(tmp_path / "tiny-bi-encoder"), threads=1) as model:
        yield model


@pytest.mark.node
def test_an_index_of_the_commands_own_is_reused_and_kept_to_the_collection(
    es: Elasticsearch, index: str, made: Path, embedder: BiEncoder
) -> None:
    indexed(es, index, made, embedder, len(WORDS))
    indexed(es, index, made, embedder, len(WORDS))
    hits = es.search(index=index, size=100, version=True)["hits"]["hits"]
    assert {(hit["_index"], hit["_version"]) for hit in hits} == {(f"{index}-000001", 1)}
    es.index(index=index, id="stray", document={"text": "stray"}, refresh=True)
    indexed(es, index, made, embedder, len(WORDS))
    hits = es.search(index=index, size=100)["hits"]["hits"]
    assert {hit["_index"] for hit in hits} == {f"{index}-000002"}
    assert {hit["_id"] for hit in hits} == {f"d{number}" for number in range(len(WORDS))}


def test_the_index_is_named_after_folder_content_and_embedder(made: Path) -> None:
    name = collection_alias(made, "one")
    assert re.fullmatch(r"es-rerank-evaluate-test-[0-9a-f]{12}-[0-9a-f]{10}", name)
    assert collection_alias(made, "other") != name
    (made / "corpus.jsonl").write_text('{"_id": "1", "text": "other"}\n')
    assert collection_alias(made, "one") != name


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Options that name tiny models."""
    return model_options(tmp_path)


@pytest.mark.long
@pytest.mark.node
def test_evaluate_from_the_command_line(
    node: Node, es: Elasticsearch, whole: Path, models: list[str]
) -> None:
    arguments = [
        str(whole),
        "--split",
        "test",
        "--window",
        "5",
        "--limit",
        "4",
        "--elasticsearch-url",
        node.url,
        *models,
    ]
    try:
        first, second = run("evaluate", *arguments, "--json"), run("evaluate", *arguments)
    finally:
        for name in es.indices.get(index=f"es-rerank-evaluate-{whole.resolve().name}-*"):
            es.indices.delete(index=name)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    shown = json.loads(first.stdout)
    assert (shown["queries"], shown["window"], shown["split"]) == (4, 5, "test")
    assert "shipped default" in second.stdout
    assert f"{shown['reranked']['ndcg@10']:.4f}" in second.stdout


def test_faults_of_the_collection_come_before_anything_else(made: Path) -> None:
    several = run("evaluate", str(made))
    assert several.returncode == 2
    assert "name one: DIR:SPLIT, or --split SPLIT" in several.stderr
    dangling = run("evaluate", str(made), "--split", "test")  # q6 is judged and not asked
    assert dangling.returncode == 3
    assert "'q6'" in dangling.stderr
