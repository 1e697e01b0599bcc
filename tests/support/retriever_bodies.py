"""Bodies of retrievers, each valid as it stands; a keyword changes a key, and GONE leaves it out."""

from __future__ import annotations

from typing import Any

ILLEGAL, CONTENT, PARSING, NOT_A_NUMBER = (
    "illegal_argument_exception",
    "x_content_parse_exception",
    "parsing_exception",
    "number_format_exception",
)

MATCH = {"match": {"text": "treaty"}}
LEAF: dict[str, Any] = {"standard": {"query": MATCH}}
RESCORE: dict[str, Any] = {"window_size": 20, "query": {"rescore_query": MATCH}}
BUILDER = {"text_embedding": {"model_text": "who signed"}}
GONE = object()


def without_gone(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not GONE}


def standard(**content: Any) -> dict[str, Any]:
    return {"standard": content}


def knn(**changes: Any) -> dict[str, Any]:
    return {
        "knn": without_gone(
            {"field": "vector", "k": 5, "num_candidates": 10, "query_vector": [1.0, 0.0], **changes}
        )
    }


def rrf(*children: Any, **more: Any) -> dict[str, Any]:
    return {"rrf": {"retrievers": list(children or (LEAF,)), **more}}


def linear(*children: Any, **more: Any) -> dict[str, Any]:
    return {"linear": {"retrievers": list(children or ({"retriever": LEAF},)), **more}}


def pinned(**changes: Any) -> dict[str, Any]:
    return {"pinned": without_gone({"ids": ["1"], "retriever": LEAF, **changes})}


def rescorer(**changes: Any) -> dict[str, Any]:
    return {"rescorer": without_gone({"retriever": LEAF, "rescore": RESCORE, **changes})}


def reranker(**changes: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": without_gone(
            {"retriever": LEAF, "field": "text", "inference_text": "who signed", **changes}
        )
    }
