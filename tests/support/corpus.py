"""A small index in the layout of the ingest pipeline, and rerankers that misbehave on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.types import Scores

ARTICLES = [
    ("Peace", "The treaty was signed by the king. It rained all day.", 1999),
    ("Moon", "A dog barks at the moon. Cats sleep.", 2005),
    ("Paper", "Who signed the paper? The queen signed the treaty, and the crowd cheered.", 2021),
    ("Nothing", "Stones lie on the road. Rivers run.", 2022),
    ("Treaty", "Signed and sealed, the treaty went to the archive.", 2023),
]
EMBEDDER = HashEmbedder()

MAPPINGS: dict[str, Any] = {
    "_meta": {"managed_by": "es-rerank", "embedder": EMBEDDER.name},
    "properties": {
        "title": {"type": "text"},
        "text": {"type": "text"},
        "metadata": {"properties": {"year": {"type": "integer"}}},
        "passages": {
            "type": "nested",
            "properties": {
                "text": {"type": "text"},
                "vector": {"type": "dense_vector", "dims": EMBEDDER.dims, "similarity": "cosine"},
                "start": {"type": "integer"},
                "end": {"type": "integer"},
            },
        },
    },
}


def passages(text: str) -> list[dict[str, Any]]:
    found = []
    for sentence in text.split(". "):
        start = text.index(sentence)
        found.append(
            {
                "text": sentence,
                "start": start,
                "end": start + len(sentence),
                "vector": EMBEDDER.embed([sentence])[0].tolist(),
            }
        )
    return found


def fill(
    es: Elasticsearch, index: str, articles: Sequence[tuple[str, str, int]] = ARTICLES, shards: int = 1
) -> None:
    """Index articles under the ids a0, a1, … and make them searchable."""
    es.indices.create(
        index=index, mappings=MAPPINGS, settings={"number_of_shards": shards, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number, (title, text, year) in enumerate(articles):
        operations += [
            {"index": {"_id": f"a{number}"}},
            {"title": title, "text": text, "metadata": {"year": year}, "passages": passages(text)},
        ]
    assert not es.bulk(index=index, operations=operations, refresh=True)["errors"]


class Broken:
    """Fails at every call."""

    name = "broken"
    calibration = None

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        raise RuntimeError("the model fell over")

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return self.score(query, passages, deadline=deadline)


class Late(WordOverlapReranker):
    """Scores the last ``reached`` passages only, as if the deadline had come."""

    def __init__(self, reached: int) -> None:
        super().__init__("late")
        self.reached = reached

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        whole = super().score(query, passages)
        done = np.arange(len(passages)) >= len(passages) - self.reached
        return Scores(whole.values, whole.scale, done, whole.truncated, whole.cached)


class AsyncOnly(WordOverlapReranker):
    """Fails where its blocking verb is called."""

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return super().score(query, passages, deadline=deadline)

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        raise AssertionError("the event loop was blocked")
