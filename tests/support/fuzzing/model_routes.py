"""A valid request for each route that uses the models: rescore, rerank, inference, the plugin's own."""

from __future__ import annotations

from random import Random

from es_rerank.dialects.table import PATHS
from es_rerank.dialects.vectors import BY_PATH

from . import searches
from .drafts import INDEX, Draft
from .json_texts import Value
from .searches import chosen, words


def _hit(draw: Random, place: int) -> Value:
    return {
        "_index": INDEX,
        "_id": str(place),
        "_score": round(draw.random() * 9, 3),
        "_source": {
            "title": words(draw),
            "text": words(draw),
            "passages": [{"text": words(draw), "start": 0}],
        },
        **chosen(
            draw,
            {
                "fields": lambda: {"text": [words(draw)]},
                "sort": lambda: [place],
                "highlight": lambda: {"text": ["a"]},
                "inner_hits": lambda: {
                    "passages": {"hits": {"hits": [{"fields": {"passages": [{"text": ["a"]}]}}]}}
                },
                "_explanation": lambda: {"value": 1, "description": "a", "details": []},
                "matched_queries": lambda: ["a"],
                "_ignored": lambda: ["text"],
                "_routing": lambda: "a",
                "ignored_field_values": lambda: {"text": ["a"]},
            },
            0.15,
        ),
    }


def rescore(draw: Random) -> Draft:
    response = {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": 9, "relation": "eq"},
            "max_score": 1.5,
            "hits": [_hit(draw, place) for place in range(draw.randint(0, 6))],
        },
    }
    if draw.random() < 0.2:
        response["_shards"] = {
            "total": 2,
            "successful": 1,
            "failed": 1,
            "failures": [{"shard": 0, "index": "a", "reason": {"type": "a", "reason": "b"}}],
        }
    response |= chosen(
        draw,
        {
            "_clusters": lambda: {
                "total": 2,
                "successful": 1,
                "skipped": 1,
                "details": {"a": {"status": "skipped"}},
            },
            "terminated_early": lambda: True,
            "aggregations": lambda: {"a": {"value": 1}},
            "timed_out": lambda: True,
        },
        0.1,
    )
    body = {
        "query": words(draw),
        "response": response,
        "field": draw.choice(["text", ["title", "text"], "passages", ["title", "passages.text"]]),
        **chosen(
            draw,
            {
                "blend": lambda: False,
                "min_score": lambda: 0.1,
                "min_probability": lambda: 0.1,
                "inference_id": lambda: "tiny-cross-encoder",
                "first_stage": lambda: draw.choice(["knn", "bm25", "hybrid"]),
                "embedder": lambda: "tiny-bi-encoder",
            },
            0.2,
        ),
    }
    return Draft("/rescore", "POST", "/rescore", body)


def _document(draw: Random) -> Value:
    return draw.choice(
        [
            words(draw),
            words(draw),
            {"text": words(draw), "title": words(draw)},
            {"content": [{"type": "text", "text": words(draw)}]},
            {"title": words(draw), "year": 1666},
        ]
    )


def rerank(draw: Random) -> Draft:
    path = draw.choice(["/rerank", *PATHS])
    texts = [_document(draw) for _ in range(draw.randint(1, 6))]
    if "score" in path:
        first, second = draw.choice(
            [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
        )
        needed = {first: draw.choice([words(draw), [words(draw) for _ in texts]]), second: texts}
    else:
        own = {"/weaviate/rerank": "documents", "/infinity/rerank": "documents", "/v1/ranking": "passages"}
        key = own.get(path) or draw.choice(["texts", "documents"])
        needed = {"query": words(draw), key: texts}
    body = {
        **needed,
        **chosen(
            draw,
            {
                "model": lambda: draw.choice(["tiny-cross-encoder", "rerank-v3.5"]),
                "raw_scores": lambda: True,
                "use_activation": lambda: draw.choice([True, "False"]),
                "return_text": lambda: True,
                "return_documents": lambda: draw.choice([True, "false"]),
                "truncate": lambda: draw.choice([True, False]),
                "truncation": lambda: True,
                "truncation_direction": lambda: draw.choice(["Right", "right"]),
                "truncation_side": lambda: "right",
                "top_n": lambda: 2,
                "top_k": lambda: 2,
                "rank_fields": lambda: ["title", "text"],
                "max_chunks_per_doc": lambda: 2,
                "max_tokens_per_doc": lambda: 4096,
                "instruction": lambda: words(draw),
            },
        ),
    }
    return Draft(
        path,
        "POST",
        path,
        body,
        chosen(draw, {"model": lambda: "tiny-cross-encoder"}, 0.1),
        style="tei",
    )


def inference(draw: Random) -> Draft:
    name = draw.choice(["tiny-cross-encoder", ".rerank-v1-elasticsearch"])
    settings = chosen(draw, {"return_documents": lambda: True, "top_n": lambda: 2})
    body = {
        "query": words(draw),
        "input": draw.choice([[words(draw), words(draw), words(draw)], words(draw)]),
        **chosen(
            draw,
            {"return_documents": lambda: True, "top_n": lambda: 2, "task_settings": lambda: settings},
        ),
    }
    return Draft("/_inference/rerank", "POST", f"/_inference/rerank/{name}", body)


def vectors(draw: Random) -> Draft:
    path = draw.choice(list(BY_PATH))
    key = {"openai": "input", "tei": "inputs", "cohere": draw.choice(["texts", "inputs"])}[BY_PATH[path].name]
    texts = [draw.choice([words(draw), {"text": words(draw)}]) for _ in range(draw.randint(1, 6))]
    body = {
        key: draw.choice([texts, words(draw)]),
        **chosen(
            draw,
            {
                "model": lambda: draw.choice(["tiny-bi-encoder", "tiny-bi-encoder-query", "embed-v4.0"]),
                "input_type": lambda: draw.choice(["query", "search_document"]),
                "task": lambda: "retrieval.query",
                "prompt_name": lambda: "query",
                "dimensions": lambda: 8,
                "encoding_format": lambda: draw.choice(["float", "base64"]),
                "embedding_types": lambda: ["float", "base64"],
                "embedding_type": lambda: "float",
                "normalize": lambda: draw.choice([True, "False"]),
                "truncate": lambda: draw.choice([True, False, "END", "NONE"]),
                "user": lambda: words(draw),
            },
            0.2,
        ),
    }
    model = chosen(draw, {"model": lambda: "tiny-bi-encoder"}, 0.1)
    return Draft(path, "POST", path, body, model, style="tei")


def embedding(draw: Random) -> Draft:
    body = {
        "input": draw.choice([[words(draw), words(draw)], words(draw)]),
        **chosen(draw, {"input_type": lambda: "search", "task_settings": lambda: {"a": 1}}),
    }
    return Draft("/_inference/text_embedding", "POST", "/_inference/text_embedding/tiny-bi-encoder", body)


def score(draw: Random) -> Draft:
    stored = draw.random() < 0.5
    passages = [{"text": words(draw), "start": 0, "end": 4} for _ in range(3 if stored else 1)]
    body = {
        "query": words(draw),
        "documents": [
            {
                "passages": passages,
                **chosen(draw, {"context": lambda: words(draw), "first_stage_score": lambda: 1.5}, 0.5),
            }
            for _ in range(draw.randint(0, 5))
        ],
        "passages_stored": stored,
        **chosen(
            draw,
            {
                "model": lambda: "tiny-cross-encoder",
                "chunk_rescorer": lambda: searches.chunk_rescorer(draw),
                "aggregation": lambda: draw.choice(["mean", {"top_k_mean": 2}]),
                "allow_failures": lambda: True,
                "blend": lambda: True,
                "first_stage": lambda: draw.choice(["dense", "bm25", "hybrid"]),
                "recorded_embedders": lambda: ["tiny-bi-encoder"],
                "vector_models": lambda: [None, "tiny-bi-encoder"],
            },
        ),
    }
    return Draft("/_rerank/v1/score", "POST", "/_rerank/v1/score", body)


def embed(draw: Random) -> Draft:
    body = {
        "texts": [words(draw), words(draw)],
        "purpose": draw.choice(["query", "passage"]),
        **chosen(draw, {"model": lambda: "tiny-bi-encoder"}),
    }
    return Draft("/_rerank/v1/embed", "POST", "/_rerank/v1/embed", body)


def passages(draw: Random) -> Draft:
    body = {
        "documents": [
            {"title": words(draw), "text": f"{words(draw)}. {words(draw)}."},
            {"text": words(draw)},
        ],
        **chosen(draw, {"model": lambda: "tiny-bi-encoder"}),
    }
    return Draft("/_rerank/v1/passages", "POST", "/_rerank/v1/passages", body)


def info(draw: Random) -> Draft:
    return Draft("/_rerank/v1/info", "POST", "/_rerank/v1/info", {})
