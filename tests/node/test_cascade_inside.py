"""A cascade reads the same candidates inside Elasticsearch and outside, by first stage and cheap model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from plugin_searches import until_asked
from server import sidecar
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_reranker
from es_rerank.models.contracts import CalibrationRecord
from es_rerank.models.manifest import read_manifest
from es_rerank.models.stand_in import PredictionRecord, StandIn
from es_rerank.node import Node
from es_rerank.types import Blend, Calibration

QUERY = "the king of the river"
INDEX = "cascade-inside"
WORDS = ("king", "river", "treaty", "moon", "the", "of", "forest", "night")


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cascade")
    record = CalibrationRecord.of(Calibration(0.5, -1.0, {"dense": Blend(1.0, 0.6, 0.5)}))
    large = tiny_cross_encoder(folder / "large", 1, calibration=record)
    manifest = read_manifest(large)
    expected = {"logit": 0.1, "intercept": 0.0, "margin": 0.05}
    fitted = StandIn(
        model=manifest.name,
        sha256=manifest.files[manifest.variant(None)].sha256,
        joined=PredictionRecord(first_stage=0.3, **expected),
        alone=PredictionRecord(first_stage=0.0, **expected),
        quantile=0.5,
        share=0.5,
    )
    small = reseal(tiny_cross_encoder(folder / "small", 0), stand_in=fitted)
    return f"cascade:top10+{small}+{large}"


@pytest.fixture(scope="module")
def address(
    plugin_node: Node, sidecar_port: int, cascade: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cascade-log")
    embedder = tiny_bi_encoder(folder / "embedder")
    with sidecar(plugin_node.url, Path(cascade), embedder, folder / "log", sidecar_port) as (url, _):
        until_asked(plugin_node.url)
        yield url


@pytest.fixture(scope="module")
def clients(
    plugin_es: Elasticsearch, cascade: str, address: str
) -> Iterator[tuple[RerankClient, RerankClient]]:
    """A client whose searches run inside, and one whose searches run outside."""
    assert address
    plugin_es.options(ignore_status=404).indices.delete(index=INDEX)
    plugin_es.indices.create(
        index=INDEX,
        mappings={"properties": {"text": {"type": "text"}}},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    operations: list[Any] = []
    for number in range(60):
        text = " ".join(WORDS[(number * step + number // 8) % 8] for step in range(2 + number % 9))
        operations += [{"index": {"_id": str(number)}}, {"text": text}]
    assert not plugin_es.bulk(index=INDEX, operations=operations, refresh=True)["errors"]
    with load_reranker(cascade) as reranker:
        yield (
            RerankClient(plugin_es, reranker=reranker, plugin="always"),
            RerankClient(plugin_es, reranker=reranker, plugin="never"),
        )
    plugin_es.indices.delete(index=INDEX)


def reranked(**more: Any) -> dict[str, Any]:
    wanted = {
        "retriever": {"standard": {"query": {"match": {"text": QUERY}}}},
        "field": "text",
        "inference_text": QUERY,
        "rank_window_size": 40,
        **more,
    }
    return {"text_similarity_reranker": wanted}


def shown(answer: Any) -> list[tuple[Any, ...]]:
    return [
        (
            hit["_id"],
            pytest.approx(hit["_score"], abs=1e-6),
            pytest.approx(hit["fields"]["rerank.logit"][0], abs=1e-5),
            pytest.approx(hit["fields"]["rerank.probability"][0], abs=1e-6),
        )
        for hit in answer["hits"]["hits"]
    ]


@pytest.mark.parametrize("more", [{}, {"blend": True}, {"min_score": 0.2}])
def test_a_window_that_ends_by_itself_is_the_same_inside_and_outside(
    clients: tuple[RerankClient, RerankClient], more: dict[str, Any]
) -> None:
    here, there = (client.search(index=INDEX, retriever=reranked(**more), size=40) for client in clients)
    assert here["rerank"]["inside"] is True
    assert shown(here) == shown(there)
    scores = [hit["_score"] for hit in there["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 < there["rerank"]["estimated"] <= there["rerank"]["candidates"] - 10
    assert "estimated" not in here["rerank"]


def test_all_pages_come_from_one_order(clients: tuple[RerankClient, RerankClient]) -> None:
    for client in clients:
        whole = client.search(index=INDEX, retriever=reranked(), size=40)["hits"]["hits"]
        pages = [
            hit["_id"]
            for start in (0, 10, 20, 30)
            for hit in client.search(index=INDEX, retriever=reranked(), size=10, from_=start)["hits"]["hits"]
        ]
        assert pages == [hit["_id"] for hit in whole]
