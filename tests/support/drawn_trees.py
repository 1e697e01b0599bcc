"""Searches with retriever trees of several compounds above one another, drawn from a seed.

The trees fit the documents that ``documents`` makes. All values are valid, so each search has an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from elasticsearch import Elasticsearch

Body = dict[str, Any]

WORDS = ("treaty", "king", "queen", "paper", "moon", "dog", "river", "stone", "archive", "crowd", "cheer")
GROUPS = ("red", "green", "blue", "grey")
DIMS = 8
PROPERTIES: Body = {
    "title": {"type": "text"},
    "text": {"type": "text"},
    "group": {"type": "keyword"},
    "number": {"type": "integer"},
    "vector": {"type": "dense_vector", "dims": DIMS, "similarity": "cosine"},
    "passages": {
        "type": "nested",
        "properties": {
            "text": {"type": "text"},
            "vector": {"type": "dense_vector", "dims": DIMS, "similarity": "cosine"},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
        },
    },
}


ALIAS = "drawn-trees"
INDICES = (("drawn-trees-a", 3, 140), ("drawn-trees-b", 2, 70))
"""Name, shards and documents of each index under the alias."""


def fill(es: Elasticsearch) -> None:
    """Make the indices anew. Each of their shards is merged to one segment."""
    empty(es)
    for number, (name, shards, count) in enumerate(INDICES):
        es.indices.create(
            index=name,
            mappings={"properties": PROPERTIES},
            settings={"number_of_shards": shards, "number_of_replicas": 0},
            aliases={ALIAS: {}},
        )
        operations: list[Any] = []
        for place, document in enumerate(documents(number, count)):
            operations += [{"index": {"_id": f"{number}-{place}"}}, document]
        assert not es.bulk(index=name, operations=operations, refresh=True)["errors"]
        es.indices.forcemerge(index=name, max_num_segments=1)
        es.indices.refresh(index=name)


def empty(es: Elasticsearch) -> None:
    es.options(ignore_status=404).indices.delete(index=[name for name, _, _ in INDICES])


def documents(seed: int, count: int) -> Iterator[Body]:
    """Yield documents of random words, of which no two have an equal text.

    For equal texts a reranker gives equal scores. Elasticsearch orders these by the place in the index, and
    outside they keep the order of the first stage. A fusion over them then gives other scores.
    """
    draw = Random(seed)
    for number in range(count):
        text = f"{_words(draw, 4, 30)} {seed} {number}"
        half = len(text) // 2
        parts = [(0, half), (half, len(text))] if draw.random() < 0.8 else [(0, len(text))]
        yield {
            "title": f"{_words(draw, 1, 4)} {number} {seed}",
            "text": text,
            "group": draw.choice(GROUPS),
            "number": draw.randint(0, 50),
            "vector": _vector(draw),
            "passages": [
                {"text": text[start:end], "start": start, "end": end, "vector": _vector(draw)}
                for start, end in parts
            ],
        }


def search(seed: int | str, least: int = 3, most: int = 5) -> Body:
    """Return the search with this number: a tree, a page, and what else a search computes over its hits.

    The tree has ``least`` to ``most`` compounds above one another.
    """
    draw = Random(seed)
    window = draw.randint(8, 30)
    body: Body = {"retriever": _compound(draw, draw.randint(least, most), window), "_source": False}
    if draw.random() < 0.7:
        body["size"] = draw.randint(1, window)
    if draw.random() < 0.3:
        body["from"] = draw.randint(0, window)
    if draw.random() < 0.4:
        groups: Body = {"terms": {"field": "group"}}
        if draw.random() < 0.5:
            groups["aggs"] = {"best": {"top_hits": {"size": 3, "_source": False}}}
        body["aggs"] = {"groups": groups, "numbers": {"stats": {"field": "number"}}}
    if draw.random() < 0.25:
        body["collapse"] = {"field": draw.choice(["group", "number"])}
    if draw.random() < 0.3:
        body["highlight"] = {"fields": {"text": {}, "title": {"number_of_fragments": 0}}}
    if draw.random() < 0.15:
        body["post_filter"] = _filter(draw)
    return body


def levels(retriever: Body) -> int:
    """Return how many compounds stand above one another in a tree."""
    ((kind, content),) = retriever.items()
    if kind in ("standard", "knn"):
        return 0
    entries = content["retrievers"] if "retrievers" in content else [content["retriever"]]
    return 1 + max(levels(entry.get("retriever", entry)) for entry in entries)


def _words(draw: Random, least: int, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(least, most)))


def _vector(draw: Random) -> list[float]:
    return [round(draw.gauss(0, 1), 4) for _ in range(DIMS)]


def _filter(draw: Random) -> Body:
    return draw.choice(
        [
            {"terms": {"group": draw.sample(GROUPS, 2)}},
            {"range": {"number": {"gte": draw.randint(0, 15)}}},
            {"bool": {"must_not": {"term": {"group": draw.choice(GROUPS)}}}},
            {"match": {"text": _words(draw, 2, 3)}},
        ]
    )


def _leaf(draw: Random, window: int) -> Body:
    common: Body = {"filter": _filter(draw)} if draw.random() < 0.25 else {}
    if draw.random() < 0.5:
        if draw.random() < 0.2:
            common["min_score"] = round(draw.uniform(0.2, 1.5), 2)
        words = _words(draw, 1, 3)
        query = draw.choice(
            [
                {"match": {"text": words}},
                {"match": {"title": words}},
                {"multi_match": {"query": words, "fields": ["title^2", "text"]}},
                {"bool": {"should": [{"match": {"text": words}}, {"term": {"group": draw.choice(GROUPS)}}]}},
                # Its hits have equal scores.
                {"constant_score": {"filter": {"term": {"group": draw.choice(GROUPS)}}, "boost": 1.5}},
            ]
        )
        if draw.random() < 0.1:
            common["sort"] = [{"number": draw.choice(["asc", "desc"])}]
        return {"standard": {"query": query, **common}}
    if draw.random() < 0.2:
        common["similarity"] = round(draw.uniform(0.2, 0.6), 2)
    k = draw.randint(3, window + 5)
    vector = (
        {"query_vector_builder": {"text_embedding": {"model_text": _words(draw, 1, 5)}}}
        if draw.random() < 0.3
        else {"query_vector": _vector(draw)}
    )
    field = draw.choice(["vector", "vector", "passages.vector"])
    return {"knn": {"field": field, "k": k, "num_candidates": k + draw.randint(0, 40), **vector, **common}}


def _compound(draw: Random, depth: int, window: int) -> Body:
    """Return a tree with ``depth`` compounds above one another. ``window`` is that of the outermost."""
    common: Body = {"rank_window_size": window}
    if draw.random() < 0.2:
        common["filter"] = _filter(draw)
    # The window of a child must not be smaller than that of its parent.
    deep = _compound(draw, depth - 1, window + draw.randint(0, 12)) if depth > 1 else _leaf(draw, window)
    kind = draw.choice(["rrf", "linear", "text_similarity_reranker"])
    if kind == "text_similarity_reranker":
        return {kind: {"retriever": deep, **_reranking(draw), **common}}
    children = [deep, *(_leaf(draw, window) for _ in range(draw.randint(0, 2)))]
    draw.shuffle(children)
    return {kind: {**(_rrf if kind == "rrf" else _linear)(draw, children), **common}}


def _rrf(draw: Random, children: list[Body]) -> Body:
    content: Body = {}
    if draw.random() < 0.5:
        content["rank_constant"] = draw.choice([1, 5, 20])
    if draw.random() < 0.15:
        content["min_score"] = round(draw.uniform(0.005, 0.03), 4)
    weighted = [{"retriever": child, "weight": _weight(draw)} for child in children]
    return {"retrievers": draw.choice([children, weighted]), **content}


def _linear(draw: Random, children: list[Body]) -> Body:
    content: Body = {"retrievers": [{"retriever": child, "weight": _weight(draw)} for child in children]}
    if draw.random() < 0.2:
        content["min_score"] = round(draw.uniform(0.1, 0.8), 2)
    if draw.random() < 0.3:
        content["normalizer"] = draw.choice(["minmax", "l2_norm"])
    for entry in content["retrievers"]:
        if draw.random() < 0.6:
            entry["normalizer"] = draw.choice(["none", "minmax", "l2_norm"])
    return content


def _weight(draw: Random) -> float:
    return draw.choice([0.5, 1, 1.5, 2, 3.25])


def _reranking(draw: Random) -> Body:
    content: Body = {
        "field": draw.choice(
            ["text", "title", ["title", "text"], "passages.text", ["title", "passages.text"]]
        ),
        "inference_text": _words(draw, 2, 6),
    }
    stored = "passages" in str(content["field"])
    if draw.random() < 0.4:
        content["chunk_rescorer"] = {"size": draw.randint(1, 2)}
        if not stored and draw.random() < 0.7:
            content["chunk_rescorer"]["chunking_settings"] = draw.choice(
                [
                    {"strategy": "word", "max_chunk_size": 10, "overlap": 2},
                    {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1},
                ]
            )
    if draw.random() < 0.4:
        # The first passage and the nearest passages exclude each other.
        first = [] if "chunk_rescorer" in content else ["first"]
        content["aggregation"] = draw.choice([*first, "max", "mean", {"top_k_mean": 2}])
    if draw.random() < 0.3:
        content["min_score"] = round(draw.uniform(0.2, 0.6), 2)
    if draw.random() < 0.3:
        content["allow_rerank_failures"] = True
    return content
