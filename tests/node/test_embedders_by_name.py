"""The gateway searches vectors of several embedders in a real Elasticsearch, each with its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import Elasticsearch
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import load_embedder
from es_rerank.cli.serve import build_service
from es_rerank.node import Node
from es_rerank.settings import Settings

TEXTS = ["the king signed the treaty", "the moon is far", "it rained all day"]


@pytest.fixture
async def caller(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with two embedders, over one index of each."""
    folders = {
        "first": reseal(tiny_bi_encoder(tmp_path / "a", dims=8), name="first"),
        "second": reseal(tiny_bi_encoder(tmp_path / "b", dims=6, seed=1), name="second"),
    }
    try:
        for name, folder in folders.items():
            with load_embedder(folder) as embedder:
                vectors = embedder.embed(TEXTS)
            vector = {"type": "dense_vector", "dims": vectors.shape[1], "similarity": "cosine"}
            es.indices.create(
                index=f"{index}-{name}",
                mappings={"_meta": {"embedder": name}, "properties": {"vector": vector}},
            )
            for text, row in zip(TEXTS, vectors.tolist(), strict=True):
                es.index(index=f"{index}-{name}", document={"text": text, "vector": row})
        es.indices.refresh(index=f"{index}-*")
        settings = Settings(
            reranker=str(tiny_cross_encoder(tmp_path / "r")),
            embedder=str(folders["first"]),
            more_embedders=(f"b={folders['second']}",),
            log_requests=False,
        )
        async with app_client(build_service(settings, node.url)) as client:
            yield client
    finally:
        es.indices.delete(index=f"{index}-first,{index}-second")


def tree(model: str | None, kind: str) -> dict[str, Any]:
    """Return a search for the first text: a kNN alone, fused, or reranked."""
    named = {} if model is None else {"model_id": model}
    builder = {"text_embedding": {"model_text": TEXTS[0], **named}}
    knn = {"knn": {"field": "vector", "k": 3, "num_candidates": 10, "query_vector_builder": builder}}
    if kind == "rrf":
        return {"rrf": {"retrievers": [knn]}}
    if kind == "rerank":
        return {"text_similarity_reranker": {"retriever": knn, "field": "text", "inference_text": TEXTS[0]}}
    return knn


async def test_each_index_is_searched_with_its_own_embedder(caller: httpx.AsyncClient, index: str) -> None:
    for kind in ("knn", "rrf", "rerank"):
        for name, models in (("first", (None, "first")), ("second", (None, "b", "second"))):
            for model in models:
                answer = await caller.post(f"/{index}-{name}/_search", json={"retriever": tree(model, kind)})
                hits = answer.json()["hits"]["hits"]
                assert len(hits) == 3
                assert kind == "rerank" or hits[0]["_source"]["text"] == TEXTS[0]
                assert kind != "knn" or hits[0]["_score"] == pytest.approx(1, abs=1e-5)
        refused = [
            (f"/{index}-second", "first"),
            (f"/{index}-first", "b"),
            (f"/{index}-first,{index}-second", None),
        ]
        for path, model in refused:
            answer = await caller.post(f"{path}/_search", json={"retriever": tree(model, kind)})
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "index_mismatch_exception")
        unknown = await caller.post(f"/{index}-first/_search", json={"retriever": tree("c", kind)})
        assert (unknown.status_code, "served: first, b" in unknown.text) == (404, True)
    lines: list[Any] = []
    for name in ("first", "second"):
        lines += [{"index": f"{index}-{name}"}, {"retriever": tree(None, "rrf")}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    several = await caller.post("/_msearch", content=body, headers={"content-type": "application/x-ndjson"})
    for each in several.json()["responses"]:
        assert each["hits"]["hits"][0]["_source"]["text"] == TEXTS[0]
