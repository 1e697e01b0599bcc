"""A reranker that is named by its Hub id reranks the command's searches, and then the sidecar's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_client import app_client
from commands import run
from elasticsearch import Elasticsearch
from hub_stand_in import Hub, serving_hub
from ready_made import repository
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.serve import build_service
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.node import Node
from es_rerank.settings import Settings

NAME = "owner/reranker"
QUESTION = "who signed the treaty"
TEXTS = {
    "peace": "the treaty of peace",
    "bread": "the bread rises",
    "dogs": "dogs and the treaty",
    "none": "the end",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one repository, and empty caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with serving_hub(monkeypatch, tmp_path / "home/hub") as hub:
        hub.repositories[NAME] = repository(tmp_path / "remote/repo")
        yield hub


async def test_search_and_sidecar_rerank_with_a_model_of_the_hub(
    node: Node, es: Elasticsearch, index: str, hub: Hub, tmp_path: Path
) -> None:
    es.indices.create(index=index, mappings={"properties": {"content": {"type": "text"}}})
    for identifier, text in TEXTS.items():
        es.index(index=index, id=identifier, document={"content": text}, refresh=True)
    with CrossEncoder(tiny_cross_encoder(tmp_path / "exported"), threads=1) as model:
        logits = model.score(QUESTION, list(TEXTS.values())).values.tolist()
    expected = dict(zip(TEXTS, logits, strict=True))
    best = sorted(expected, key=lambda each: -expected[each])

    options = ("--first-stage", "bm25", "--elasticsearch-url", node.url, "--json", "--reranker", NAME)
    done = run("search", index, QUESTION, *options, HF_HOME=str(tmp_path / "home"), **hub.environment)
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]["hits"]
    assert {hit["_id"]: hit["fields"]["rerank.logit"][0] for hit in hits} == pytest.approx(expected, abs=1e-4)

    hub.faults[""] = (503, "")  # the sidecar takes what the command imported
    settings = Settings(reranker=NAME, embedder=str(tiny_bi_encoder(tmp_path / "e")), log_requests=False)
    ranked = {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match": {"content": QUESTION}}}},
            "field": "content",
            "inference_text": QUESTION,
        }
    }
    async with app_client(build_service(settings, node.url)) as client:
        answer = (await client.post(f"/{index}/_search", json={"retriever": ranked})).json()
        body = {"query": QUESTION, "documents": list(TEXTS.values())}
        results = (await client.post("/v1/rerank", json=body)).json()["results"]
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == best
    assert [list(TEXTS)[result["index"]] for result in results] == best
