"""Several collections, first stages and rerankers are compared on a real Elasticsearch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run
from elasticsearch import Elasticsearch
from evaluations import Page, numbered_collection
from tiny_models import tiny_bi_encoder, tiny_cross_encoder, tiny_tokenizer

from es_rerank.client import RerankClient
from es_rerank.collection import read_corpus
from es_rerank.node import Node
from es_rerank.research.evaluation.experiment import Setup, experiments
from es_rerank.research.evaluation.topics import read_topics
from es_rerank.retrievers.grammar.tree import FirstStage
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest


@pytest.mark.node
@pytest.mark.long
def test_several_collections_stages_and_rerankers_in_one_run(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    collections = [numbered_collection(tmp_path / f"{index}-{name}", 6) for name in ("a", "b")]
    rerankers = [
        str(tiny_cross_encoder(tmp_path / name, seed)) for seed, name in enumerate(("first", "second"))
    ]
    page_file = tmp_path / "report.html"
    arguments = [
        *(f"{folder}:all" for folder in collections),
        *(part for name in rerankers for part in ("--reranker", name)),
        *(
            "--embedder",
            str(tiny_bi_encoder(tmp_path / "tiny-bi-encoder")),
            "--first-stage",
            "hybrid",
            "--first-stage",
            "bm25",
            "--first-stage",
            "knn",
        ),
        *(
            "--window",
            "4",
            "--elasticsearch-url",
            node.url.replace("://", "://elastic:secret@"),
            "--html",
            str(page_file),
        ),
    ]
    try:
        as_json, as_tables = run("evaluate", *arguments, "--json"), run("evaluate", *arguments)
        one = run(
            "evaluate",
            str(collections[0]),
            "--reranker",
            rerankers[1],
            *arguments[6:8],
            "--window",
            "4",
            "--elasticsearch-url",
            node.url,
            "--json",
        )
    finally:
        for name in es.indices.get(index=f"es-rerank-evaluate-{index}-*"):
            es.indices.delete(index=name)
    assert (as_json.returncode, as_tables.returncode) == (0, 0), as_json.stderr + as_tables.stderr
    found = json.loads(as_json.stdout)
    combinations = [(each["collection"], each["recalled_by"], each["reranker"]) for each in found["results"]]
    assert combinations == [
        (folder.name, stage, name)
        for folder in collections
        for stage in ("knn", "bm25", "hybrid")
        for name in rerankers
    ]
    for result in found["results"]:
        rows = result["per_query"]
        assert len(rows) == 6
        for order in ("first_stage", "cross_encoder", "reranked"):
            assert result[order]["ndcg@10"] == pytest.approx(np.mean([row[order] for row in rows]))
        assert 0 < result["recall@window"] <= 1
        assert result["reliability"]["documents"] == sum(
            each["documents"] for each in result["reliability"]["bins"]
        )
        assert result["pair_reliability"]["documents"] == result["reliability"]["documents"]
    alone = {
        (each["collection"], each["recalled_by"], each["reranker"]): [
            row["cross_encoder"] for row in each["per_query"]
        ]
        for each in found["results"]
    }
    assert any(
        alone[collections[0].name, stage, rerankers[0]] != alone[collections[0].name, stage, rerankers[1]]
        for stage in ("knn", "bm25", "hybrid")
    )
    assert json.loads(one.stdout)["per_query"] == found["results"][1]["per_query"]
    assert [each["search_p50"] is None for each in found["results"][:6]] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]  # the later stages were remembered in part
    assert len(found["means"]) == 6
    assert sum(line.startswith("mean ") for line in as_tables.stdout.splitlines()) == 6
    assert "cross-encoder alone" in Page(page_file.read_text()).text
    assert "secret" not in page_file.read_text()


@pytest.mark.node
@pytest.mark.parametrize("first_stage", ["knn", "bm25", "hybrid"])
def test_each_query_is_asked_of_its_own_pool_alone(
    es: Elasticsearch, index: str, tmp_path: Path, first_stage: FirstStage
) -> None:
    folder = numbered_collection(tmp_path / index, 6)
    embedder, words = HashEmbedder(), "the word"
    Ingest(es, embedder, chunker=Chunker(tiny_tokenizer())).run(index, read_corpus(folder))
    topics = read_topics(folder, "all")
    pools = {query: [f"d{(int(query[1:]) + step) % 6}" for step in range(3)] for query in topics.queries}
    asked = replace(topics, pools=pools, queries=dict.fromkeys(topics.queries, words))
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=embedder, timeout_s=None)
    (result,) = experiments(client, asked, [Setup(index, first_stage, 6)])
    assert result.recall_at_window == result.first_stage.recall_at_100 == 1.0
    (whole,) = experiments(client, replace(asked, pools={}), [Setup(index, first_stage, 2)])
    assert whole.recall_at_window < 1  # of six alike, two are seen
    (own,) = experiments(
        client,
        replace(asked, pools={query: [f"d{query[1:]}"] for query in topics.queries}),
        [Setup(index, first_stage, 2)],
    )
    assert own.reranked.ndcg_at_10 == own.recall_at_window == 1.0
