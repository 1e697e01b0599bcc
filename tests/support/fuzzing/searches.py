"""Valid bodies of searches: every retriever with every key, knn, queries, and what a page may hold."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from drawn_trees import DIMS, PROPERTIES, Body

WORDS = ("treaty", "king", "paper", "moon", "river", "stone", "archive", "crowd")
MAPPINGS: Body = {**PROPERTIES, "at": {"type": "date"}}
"""Properties of the index that the requests search."""


def documents(count: int) -> list[Body]:
    """Return documents for the index."""
    draw = Random(count)
    return [
        {
            "title": words(draw),
            "text": f"{words(draw)} {words(draw)} {place}",
            "group": draw.choice(("red", "green")),
            "number": place,
            "at": "2024-01-01",
            "vector": vector(draw),
            "passages": [{"text": words(draw), "vector": vector(draw), "start": 0, "end": 4}],
        }
        for place in range(count)
    ]


def words(draw: Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 4)))


def vector(draw: Random) -> list[float]:
    return [round(draw.gauss(0, 1), 3) for _ in range(DIMS)]


class Drawing(Random):
    """Random draws of one request. ``share``: at least this share of the optional keys is there."""

    share = 0.0


def chosen(draw: Random, keys: dict[str, Callable[[], Any]], share: float = 0.3) -> Body:
    """Return an object with some of the keys."""
    share = max(share, draw.share if isinstance(draw, Drawing) else 0.0)
    return {key: make() for key, make in keys.items() if draw.random() < share}


def query(draw: Random, depth: int = 2) -> Body:
    kinds: list[Callable[[], Body]] = [
        lambda: {"match": {"text": words(draw)}},
        lambda: {
            "match": {"text": {"query": words(draw), "operator": "and", "boost": 2, "fuzziness": "AUTO"}}
        },
        lambda: {"multi_match": {"query": words(draw), "fields": ["title^2", "text"]}},
        lambda: {"match_all": {"boost": 1.5}},
        lambda: {"term": {"group": {"value": "red", "_name": "reds"}}},
        lambda: {"terms": {"group": ["red", "green"]}},
        lambda: {"range": {"number": {"gte": 1, "lt": 9}}},
        lambda: {"range": {"at": {"gte": "now-1d/d"}}},
        lambda: {"ids": {"values": ["1", "2"]}},
        lambda: {"exists": {"field": "title"}},
        lambda: {"prefix": {"title": "ki"}},
        lambda: {"wildcard": {"title": {"value": "k*g"}}},
        lambda: {"regexp": {"title": "k.*"}},
        lambda: {"query_string": {"query": f"text:({words(draw)})", "default_field": "text"}},
        lambda: {"simple_query_string": {"query": "king + moon", "fields": ["text"]}},
        lambda: {"knn": {"field": "vector", "query_vector": vector(draw), "k": 3, "num_candidates": 9}},
        lambda: {"more_like_this": {"fields": ["text"], "like": words(draw), "min_term_freq": 1}},
    ]
    nested: list[Callable[[], Body]] = [
        lambda: {
            "bool": {
                "must": [query(draw, depth - 1)],
                "should": query(draw, depth - 1),
                "filter": [query(draw, 0)],
                "minimum_should_match": 1,
            }
        },
        lambda: {
            "nested": {"path": "passages", "query": {"match": {"passages.text": "moon"}}, "inner_hits": {}}
        },
        lambda: {"constant_score": {"filter": query(draw, depth - 1), "boost": 1.2}},
        lambda: {"function_score": {"query": query(draw, depth - 1), "functions": [{"weight": 2}]}},
        lambda: {"dis_max": {"queries": [query(draw, depth - 1)], "tie_breaker": 0.7}},
        lambda: {"boosting": {"positive": query(draw, 0), "negative": query(draw, 0), "negative_boost": 0.5}},
    ]
    return draw.choice(kinds if depth <= 0 or draw.random() < 0.6 else nested)()


def builder(draw: Random) -> Body:
    return {
        "text_embedding": {"model_text": words(draw), **chosen(draw, {"model_id": lambda: "tiny-bi-encoder"})}
    }


def knn(draw: Random, *, section: bool = True) -> Body:
    built = draw.random() < (0.03 if section else 0.4)
    near = {"query_vector_builder": builder(draw)} if built else {"query_vector": vector(draw)}
    more = chosen(
        draw,
        {
            "num_candidates": lambda: 20,
            "similarity": lambda: 0.1,
            "filter": lambda: draw.choice([query(draw, 0), [query(draw, 0)]]),
            "rescore_vector": lambda: {"oversample": 2.0},
            "visit_percentage": lambda: 50.0,
            **({"boost": lambda: 1.5, "inner_hits": lambda: {"size": 1}} if section else {}),
        },
        0.15,
    )
    return {"field": draw.choice(["vector", "passages.vector"]), "k": draw.randint(1, 9), **near, **more}


def _common(draw: Random) -> Body:
    return chosen(
        draw,
        {
            "filter": lambda: draw.choice([query(draw, 0), [query(draw, 0), query(draw, 0)]]),
            "min_score": lambda: 0.01,
            "_name": lambda: "named",
        },
        0.15,
    )


def rescore(draw: Random) -> Body:
    return {
        "window_size": 10,
        "query": {
            "rescore_query": query(draw, 0),
            **chosen(draw, {"query_weight": lambda: 0.7, "score_mode": lambda: "total"}),
        },
    }


def chunk_rescorer(draw: Random) -> Body:
    word = {"strategy": "word", "max_chunk_size": 25, "overlap": 5}
    sentence = {"strategy": "sentence", "max_chunk_size": 25, "sentence_overlap": 1}
    recursive = {
        "strategy": "recursive",
        "max_chunk_size": 25,
        **draw.choice([{"separators": ["\n\n", "\\. "]}, {"separator_group": "markdown"}]),
    }
    settings = draw.choice([word, sentence, recursive, {"strategy": "none"}, None])
    return {"size": draw.randint(1, 3), "chunking_settings": settings} if draw.random() < 0.8 else {}


def retriever(draw: Random, depth: int = 3) -> Body:
    """Return a retriever with at most ``depth`` retrievers below one another."""
    leaves = [_standard, _knn_retriever]
    compounds = [_rrf, _linear, _pinned, _rescorer, _reranker, _reranker, _reranker]
    if draw.random() < 0.02:
        return _native(draw)
    if depth <= 0:
        return draw.choice(leaves)(draw, 0)
    return draw.choice(compounds if draw.random() < 0.85 else leaves)(draw, depth - 1)


def _standard(draw: Random, depth: int) -> Body:
    return {
        "standard": {
            **chosen(draw, {"query": lambda: query(draw)}, 0.8),
            **chosen(
                draw,
                {
                    "sort": lambda: draw.choice([[{"number": "desc"}, "_score"], ["_score"]]),
                    "terminate_after": lambda: 100,
                    "collapse": lambda: {"field": "group"},
                    "search_after": lambda: [3],
                },
                0.03,
            ),
            **_common(draw),
        }
    }


def _knn_retriever(draw: Random, depth: int) -> Body:
    return {"knn": {**knn(draw, section=False), **_common(draw)}}


def _windowed(draw: Random) -> Body:
    return chosen(draw, {"rank_window_size": lambda: draw.choice([10, 10, 10, 30])}, 0.4) | _common(draw)


def _rrf(draw: Random, depth: int) -> Body:
    if draw.random() < 0.2:
        return {"rrf": {"query": words(draw), "fields": ["title^2", "text"], **_windowed(draw)}}
    children = [retriever(draw, depth) for _ in range(draw.randint(1, 3))]
    if draw.random() < 0.3:
        children = [{"retriever": child, "weight": 2} for child in children]
    return {"rrf": {"retrievers": children, **chosen(draw, {"rank_constant": lambda: 20}), **_windowed(draw)}}


def _linear(draw: Random, depth: int) -> Body:
    more = chosen(draw, {"normalizer": lambda: "minmax"})
    if draw.random() < 0.2:
        return {
            "linear": {
                "query": words(draw),
                "fields": ["title", "text"],
                "normalizer": "l2_norm",
                **_windowed(draw),
            }
        }
    children = [
        {
            "retriever": retriever(draw, depth),
            **chosen(draw, {"weight": lambda: 0.5, "normalizer": lambda: "none"}),
        }
        for _ in range(draw.randint(1, 3))
    ]
    return {"linear": {"retrievers": children, **more, **_windowed(draw)}}


def _pinned(draw: Random, depth: int) -> Body:
    pins: Body = draw.choice([{"ids": ["1", "2"]}, {"docs": [{"_id": "1", "_index": "INDEX"}, {"_id": "2"}]}])
    return {"pinned": {**pins, "retriever": retriever(draw, depth), **_windowed(draw)}}


def _rescorer(draw: Random, depth: int) -> Body:
    entries = draw.choice([rescore(draw), [rescore(draw), rescore(draw)]])
    return {"rescorer": {"retriever": retriever(draw, depth), "rescore": entries, **_common(draw)}}


def _reranker(draw: Random, depth: int) -> Body:
    content = {
        "retriever": retriever(draw, depth),
        "field": draw.choice(["text", "text", ["title", "text"]]),
        "inference_text": words(draw),
    }
    more = chosen(
        draw,
        {
            "inference_id": lambda: draw.choice(["tiny-cross-encoder", ".rerank-v1-elasticsearch"]),
            "allow_rerank_failures": lambda: True,
            "chunk_rescorer": lambda: chunk_rescorer(draw),
            "aggregation": lambda: draw.choice(["max", "first", "mean", {"top_k_mean": 2}]),
            "blend": lambda: True,
            "min_probability": lambda: 0.1,
        },
        0.2,
    )
    if "blend" in more:
        return {"text_similarity_reranker": {**content, **more}}
    return {"text_similarity_reranker": {**content, **more, **_windowed(draw)}}


def _native(draw: Random) -> Body:
    depth = draw.choice([0, 0, 0, 1])
    return draw.choice(
        [
            {
                "rule": {
                    "retriever": retriever(draw, depth),
                    "ruleset_ids": ["r"],
                    "match_criteria": {"a": "b"},
                }
            },
            {"diversify": {"type": "mmr", "field": "vector", "retriever": retriever(draw, depth), "size": 3}},
            {"es_rrf": {"retrievers": [retriever(draw, depth)]}},
            {"es_rerank": {"retriever": retriever(draw, depth), "field": "text", "inference_text": "king"}},
        ]
    )


def _ranked(draw: Random) -> Body:
    """Return the older form of ``rrf``: ``rank`` and the searches that it fuses."""
    parameters = {"rank_window_size": lambda: 20, "rank_constant": lambda: 30}
    words = {"query": query(draw)}
    several = {"sub_searches": [{"query": query(draw)} for _ in range(draw.randint(1, 3))]}
    near = {"knn": draw.choice([knn(draw), [knn(draw) for _ in range(draw.randint(1, 2))]])}
    return {
        **draw.choice([words, several, {}]),
        **(near if draw.random() < 0.8 else {}),
        "rank": {"rrf": chosen(draw, parameters, 0.4)},
    }


def aggregations(draw: Random) -> Body:
    best = {"best": {"top_hits": {"size": 2, "_source": False}}}
    return draw.choice(
        [
            {"groups": {"terms": {"field": "group", "size": 3}, "aggs": best}},
            {"numbers": {"stats": {"field": "number"}}},
            {"steps": {"histogram": {"field": "number", "interval": 10}}},
            {"days": {"date_histogram": {"field": "at", "calendar_interval": "day"}}},
            {"red": {"filter": {"term": {"group": "red"}}, "aggs": {"most": {"max": {"field": "number"}}}}},
            {"all": {"global": {}, "aggs": {"c": {"value_count": {"field": "number"}}}}},
        ]
    )


def page(draw: Random) -> Body:
    """Return keys of a search beside what it searches for."""
    return chosen(
        draw,
        {
            "size": lambda: draw.randint(0, 5),
            "from": lambda: draw.randint(0, 5),
            "_source": lambda: draw.choice(
                [False, ["title"], "text", {"includes": ["t*"], "excludes": ["x"]}]
            ),
            "fields": lambda: ["title", {"field": "at", "format": "yyyy"}],
            "docvalue_fields": lambda: ["group"],
            "stored_fields": lambda: draw.choice(["_none_", ["title"]]),
            "highlight": lambda: {
                "fields": {"text": {"number_of_fragments": 0}},
                "pre_tags": ["<b>"],
                "post_tags": ["</b>"],
            },
            "aggs": lambda: aggregations(draw),
            "collapse": lambda: {"field": "group", "inner_hits": {"name": "i", "size": 2}},
            "post_filter": lambda: query(draw, 0),
            "track_total_hits": lambda: draw.choice([True, False, 7, -1]),
            "track_scores": lambda: True,
            "version": lambda: True,
            "seq_no_primary_term": lambda: True,
            "explain": lambda: True,
            "profile": lambda: True,
            "timeout": lambda: "5s",
            "runtime_mappings": lambda: {"kind": {"type": "keyword"}},
            "suggest": lambda: {"s": {"text": "kign", "term": {"field": "title"}}},
            "stats": lambda: ["a"],
            "indices_boost": lambda: [{"INDEX": 1.5}],
            "ext": dict,
        },
        0.08,
    )


def search(draw: Random) -> Body:
    """Return the body of a search; three of four have a tree of retrievers."""
    if draw.random() < 0.75:
        return {"retriever": retriever(draw, draw.randint(1, 3)), **page(draw)}
    if draw.random() < 0.2:
        return {**_ranked(draw), **page(draw)}
    body = {"query": query(draw), **page(draw)}
    if draw.random() < 0.3:
        body["knn"] = knn(draw)
    if draw.random() < 0.2:
        body["rescore"] = rescore(draw)
    if draw.random() < 0.2:
        body["sort"] = [{"number": "desc"}, "_score"]
    return body
