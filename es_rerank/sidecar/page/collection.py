"""The documents of the examples: an index ``articles`` with three short articles."""

from __future__ import annotations

from typing import Any

QUESTION = "who signed the treaty"

SIGNED = "The king of Norway and the president signed the treaty in Oslo in 1905."
RAINED = "It rained in Oslo for most of the autumn."
RATIFIED = "A treaty is signed by the heads of state and then ratified by the parliaments."

ARTICLES = {
    "1": {"title": "The treaty of Oslo", "text": SIGNED},
    "2": {"title": "Weather in Oslo", "text": RAINED},
    "3": {"title": "How treaties are made", "text": RATIFIED},
}
"""The articles by their ``_id``. Title and text are fields of the type ``text``."""

IN_TEXT = {"standard": {"query": {"match": {"text": QUESTION}}}}
IN_TITLE = {"standard": {"query": {"match": {"title": QUESTION}}}}


def hit(number: str, score: float | None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 JSON
    """Return a hit of a search."""
    return {"_index": "articles", "_id": number, "_score": score, **more}


def titled(number: str, score: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 JSON
    """Return a hit of a search with its title."""
    return hit(number, score, _source={"title": ARTICLES[number]["title"]}, **more)


def told(score: float, rank: int, logit: float, probability: float) -> dict[str, list[float]]:
    """Return what a hit tells of its first stage and of the reranker."""
    return {
        "rerank.first_stage_score": [score],
        "rerank.first_stage_rank": [rank],
        "rerank.logit": [logit],
        "rerank.probability": [probability],
    }


def answered(took: int, hits: list[dict[str, Any]], **more: Any) -> dict[str, Any]:  # noqa: ANN401 JSON
    """Return the answer to a search that finds all three articles and returns some of them."""
    return {
        "took": took,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": 3, "relation": "eq"},
            "max_score": hits[0]["_score"],
            "hits": hits,
        },
        **more,
    }


def block(
    status: str,
    window: int,
    candidates: int,
    milliseconds: dict[str, float],
    traffic: tuple[int, int, int],
    **more: str,
) -> dict[str, Any]:
    """Return the block ``rerank`` of an answer.

    ``traffic``: the requests to Elasticsearch, the bytes that it sent, and those that were sent to it.
    """
    requests, received, sent = traffic
    return {
        "status": status,
        "window": window,
        "candidates": candidates,
        "truncated": 0,
        "cached": 0,
        "capped": 0,
        "without_text": 0,
        "requests": requests,
        "bytes": received,
        "bytes_sent": sent,
        "milliseconds": milliseconds,
        **more,
    }
