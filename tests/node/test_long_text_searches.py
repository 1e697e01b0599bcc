"""A search reads long texts whole, in parts, on a real Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from long_texts import QUESTION, TEXTS, WINDOW, tree
from tiny_models import tiny_cross_encoder

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.node import Node
from es_rerank.retrievers.planning.text_source import PASSAGE_CAP


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"), max_length=WINDOW)) as model:
        yield model


@pytest.fixture
def filled(es: Elasticsearch, index: str) -> str:
    """An index of plain texts, as people have them."""
    es.indices.create(
        index=index,
        mappings={"properties": {"title": {"type": "text"}, "text": {"type": "text"}}},
        settings={"number_of_replicas": 0},
    )
    for name, text in TEXTS.items():
        es.index(index=index, id=name, document={"title": f"about {name}", "text": text})
    es.indices.refresh(index=index)
    return index


@pytest.mark.parametrize("aggregation", ["max", "first", "mean", {"top_k_mean": 2}])
def test_a_document_scores_what_its_parts_do(
    es: Elasticsearch, filled: str, model: CrossEncoder, aggregation: Any
) -> None:
    answer = RerankClient(es, reranker=model).search(
        index=filled, retriever=tree(aggregation=aggregation, field=["title", "text"])
    )
    assert answer["rerank"]["status"] == "reranked"
    assert answer["rerank"]["truncated"] == 0
    assert answer["rerank"]["capped"] == (0 if aggregation == "first" else 1)
    hits = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
    for name, text in TEXTS.items():
        title = f"about {name}"
        (parts,) = model.cut(QUESTION, [(title, text)])
        read = [f"{title}\n{part.text}" for part in parts[:PASSAGE_CAP]]
        logits = model.score(QUESTION, read).values
        expected = {"max": logits.max(), "first": logits[0], "mean": logits.mean()}.get(
            str(aggregation), np.sort(logits)[::-1][:2].mean()
        )
        assert hits[name]["fields"]["rerank.logit"][0] == pytest.approx(float(expected), abs=1e-5)
        if len(parts) > 1:
            best = parts[0] if aggregation == "first" else parts[int(np.argmax(logits))]
            assert hits[name]["fields"]["rerank.passage"] == [
                {"text": best.text, "start": best.start, "end": best.end}
            ]
            assert text[best.start : best.end] == best.text
        else:
            assert "rerank.passage" not in hits[name]["fields"]
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == sorted(
        hits, key=lambda name: -hits[name]["_score"]
    )


async def test_the_async_client_cuts_as_the_blocking_one(
    node: Node, es: Elasticsearch, filled: str, model: CrossEncoder
) -> None:
    blocking = RerankClient(es, reranker=model).search(index=filled, retriever=tree())
    async with AsyncElasticsearch(node.url) as inner:
        other = await AsyncRerankClient(inner, reranker=model).search(index=filled, retriever=tree())
    assert other["hits"] == blocking["hits"]


def test_the_nearest_chunk_is_read_where_chunks_are_asked_for(
    es: Elasticsearch, filled: str, model: CrossEncoder
) -> None:
    answer = RerankClient(es, reranker=model).search(index=filled, retriever=tree(chunk_rescorer={"size": 1}))
    assert answer["rerank"]["capped"] == 0
    assert all("rerank.passage" in hit["fields"] for hit in answer["hits"]["hits"])
