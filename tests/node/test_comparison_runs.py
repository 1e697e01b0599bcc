"""Several collections, first stages and rerankers are compared on a real Elasticsearch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import fault, run
from elasticsearch import Elasticsearch
from evaluations import Page, numbered_collection
from tiny_models import tiny_bi_encoder, tiny_cross_encoder, tiny_tokenizer

from es_rerank.client import RerankClient
from es_rerank.collection import read_corpus
from es_rerank.models.manifest import parse_manifest, write_manifest
from es_rerank.models.wrappers.cached import ScoreCache, cached
from es_rerank.node import Node
from es_rerank.research.evaluation.experiment import Setup, experiments
from es_rerank.research.evaluation.topics import read_topics
from es_rerank.retrievers.grammar.tree import FirstStage
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.text.chunking import Chunker
from es_rerank.types import Scores
from ingest_pipelines import Ingest


@pytest.mark.node
@pytest.mark.long
def test_several_collections_stages_embedders_and_rerankers_in_one_run(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    collections = [numbered_collection(tmp_path / f"{index}-{name}", 6) for name in ("a", "b")]
    rerankers = [
        str(tiny_cross_encoder(tmp_path / name, seed)) for seed, name in enumerate(("first", "second"))
    ]
    embedders = [
        _named(tiny_bi_encoder(tmp_path / name, seed=seed), name)
        for seed, name in enumerate(("vectors-a", "vectors-b"))
    ]
    page_file = tmp_path / "report.html"
    arguments = [
        *(f"{folder}:all" for folder in collections),
        *(part for name in rerankers for part in ("--reranker", name)),
        *(part for folder in embedders for part in ("--embedder", str(folder))),
        *("--first-stage", "hybrid", "--first-stage", "bm25", "--first-stage", "knn"),
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
    stages = [
        *(("knn", "vectors-a"), ("knn", "vectors-b"), ("bm25", None)),
        *(("hybrid", "vectors-a"), ("hybrid", "vectors-b")),
    ]
    assert [(*each["kind"], each["reranker"]) for each in map(_with_kind, found["results"])] == [
        (folder.name, *stage, name) for folder in collections for stage in stages for name in rerankers
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
    orders = {
        (*each["kind"], each["reranker"]): [
            (row["first_stage"], row["cross_encoder"]) for row in each["per_query"]
        ]
        for each in map(_with_kind, found["results"])
    }
    name = collections[0].name
    assert any(orders[name, *stage, rerankers[0]] != orders[name, *stage, rerankers[1]] for stage in stages)
    assert any(  # each embedder's own index is searched
        orders[folder.name, "knn", "vectors-a", rerankers[0]]
        != orders[folder.name, "knn", "vectors-b", rerankers[0]]
        for folder in collections
    )
    assert json.loads(one.stdout)["per_query"] == found["results"][1]["per_query"]
    # The later stages were remembered in part.
    assert [each["search_p50"] is None for each in found["results"][:10]] == [False] * 2 + [True] * 8
    assert len(found["means"]) == 10
    contrasts = len({(each["order"], each["against"]) for each in found["contrasts"]})
    assert (
        contrasts == 4 * 2 + 5 * 2
    )  # each default with BM25, the second reranker's two orders with the first
    assert sum(line.startswith("mean ") for line in as_tables.stdout.splitlines()) == 10 + contrasts
    assert "cross-encoder alone" in Page(page_file.read_text()).text
    assert "secret" not in page_file.read_text()


def _named(folder: Path, name: str) -> Path:
    """Give a model folder another name in its manifest."""
    manifest = parse_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"name": name}))
    return folder


def _with_kind(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "kind": (result["collection"], result["recalled_by"], result["embedder"])}


class _Counting(WordOverlapReranker):
    """Counts how often each pair of query and passage is scored."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: Counter[tuple[str, str]] = Counter()

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        self.pairs.update((query, passage) for passage in passages)
        return super().score(query, passages, deadline=deadline)


@pytest.mark.node
def test_a_pair_is_scored_once_over_all_first_stages_and_embedders(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    folder = numbered_collection(tmp_path / index, 6)
    embedders = {each.name: each for each in (HashEmbedder(64), HashEmbedder(4))}
    for name, embedder in embedders.items():
        Ingest(es, embedder, chunker=Chunker(tiny_tokenizer())).run(f"{index}-{name}", read_corpus(folder))
    counting, done = _Counting(), list[int]()
    client = RerankClient(
        es, reranker=cached(counting, ScoreCache(), "one"), embedder=embedders, timeout_s=None
    )
    setups = [
        Setup(f"{index}-{name}", stage, 4, embedder=name) for stage in ("knn", "hybrid") for name in embedders
    ] + [Setup(f"{index}-hash-64", "bm25", 4)]
    results = experiments(client, read_topics(folder, "all"), setups, on_progress=done.append)
    assert set(counting.pairs.values()) == {1}
    assert len(counting.pairs) > 6 * 4  # the first stages find different documents
    assert done == list(range(1, 6 * len(setups) + 1))
    assert [each.stage for each in results] == [
        *(f"{stage} ({name})" for stage in ("knn", "hybrid") for name in ("hash-64", "hash-4")),
        "bm25",
    ]
    first, other = results[:2]
    assert [row.first_stage for row in first.per_query] != [row.first_stage for row in other.per_query]


@pytest.mark.node
@pytest.mark.long
def test_embedders_that_could_not_be_told_apart_or_would_not_be_used_are_refused(
    node: Node, tmp_path: Path
) -> None:
    folder = str(numbered_collection(tmp_path / "c", 3))
    same = [str(tiny_bi_encoder(tmp_path / place / "same")) for place in ("a", "b")]
    told = fault(
        run("evaluate", folder, "--embedder", same[0], "--embedder", same[1], ELASTICSEARCH_URL=node.url)
    )
    assert f"--embedder {same[0]} and {same[1]} are both called tiny-bi-encoder" in told
    told = fault(
        run("evaluate", folder, "--first-stage", "bm25", "--embedder", same[0], "--embedder", same[1])
    )
    assert f"--first-stage bm25 uses no vectors, so it would not use --embedder {same[1]}; leave" in told


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
