"""An index of random words, and trees over it whose ranking Elasticsearch can compute by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from corpus import EMBEDDER
from elasticsearch import Elasticsearch

Body = dict[str, Any]

WORDS = ("treaty", "king", "queen", "paper", "moon", "dog", "river", "stone", "archive", "crowd", "cheer")
SHARDS, DOCUMENTS, WINDOW = 3, 240, 40


@contextmanager
def filled(url: str, name: str) -> Iterator[Elasticsearch]:
    """A client, and an index of 240 documents on three shards. It is deleted in the end."""
    with Elasticsearch(url, request_timeout=60) as client:
        client.options(ignore_status=404).indices.delete(index=name)
        client.indices.create(
            index=name,
            mappings={
                "properties": {
                    "text": {
                        "type": "text",
                        "term_vector": "with_positions_offsets",
                        "fields": {"plain": {"type": "text", "analyzer": "simple"}},
                    },
                    "title": {"type": "text", "term_vector": "with_positions_offsets"},
                    "vector": {
                        "type": "dense_vector",
                        "dims": EMBEDDER.dims,
                        "similarity": "cosine",
                        "index_options": {"type": "flat"},
                    },
                    "group": {"type": "keyword"},
                    "rare": {"type": "integer"},
                    "number": {"type": "integer"},
                }
            },
            settings={"number_of_shards": SHARDS, "number_of_replicas": 0},
        )
        operations: list[Body] = []
        for number in range(DOCUMENTS):
            operations += [{"index": {"_id": f"d{number}"}}, document(number)]
        assert not client.bulk(index=name, operations=operations, refresh=True)["errors"]
        yield client
        client.indices.delete(index=name)


def document(number: int) -> Body:
    words = random.Random(number).choices(WORDS, k=3 + number % 9)
    text = " ".join(words)
    return {
        "text": text,
        "title": " ".join(words[:2]),
        "vector": EMBEDDER.embed([text])[0].tolist(),
        "group": ("red", "green", "blue")[number % 3],
        "number": number % 40,
        **({"rare": number % 7} if number % 2 else {}),
    }


def standard(words: str, **more: Any) -> Body:
    return {"standard": {"query": {"match": {"text": words}}, **more}}


def knn(words: str, **more: Any) -> Body:
    vector = EMBEDDER.embed([words])[0].tolist()
    return {"knn": {"field": "vector", "k": 30, "num_candidates": 60, "query_vector": vector, **more}}


def rescored(child: Body, window: int = WINDOW, words: str = "river", **more: Any) -> Body:
    """A retriever that Elasticsearch runs on any licence, and that ranks its documents as ours do."""
    rescore = {"window_size": window, "query": {"rescore_query": {"match": {"text": words}}}}
    return {"rescorer": {"rescore": rescore, "retriever": child, **more}}


def ours(native: Body, window: int = WINDOW) -> Body:
    """A tree that es-rerank runs, with the scores of ``native``. Its second leaf finds nothing."""
    children = [
        {"retriever": native, "weight": 1.0, "normalizer": "none"},
        {"retriever": standard("nothing")},
    ]
    return {"linear": {"rank_window_size": window, "retrievers": children}}


def reranked(child: Body, window: int = WINDOW, **more: Any) -> Body:
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": "king moon",
            "rank_window_size": window,
            **more,
        }
    }
