"""What other tools read of a reranker's answer, written anew from their sources.

Each function returns the score of each text, by its position, as the tool makes it of the answer's JSON
value. It raises an exception where the tool would fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def by_index(answer: Any, texts: Sequence[str]) -> dict[int, float]:
    return {row["index"]: row["relevance_score"] for row in answer["results"]}


def by_position(answer: Any, texts: list[str]) -> dict[int, float]:
    """Read scores that stand for the texts by their position: without a result for one text, or with two,
    those behind it get the score of another.
    """
    rows = sorted(answer["results"], key=lambda row: int(row["index"]))
    return dict(zip(range(len(texts)), (row["relevance_score"] for row in rows), strict=True))


def dify(answer: Any, texts: list[str]) -> dict[int, float]:
    found = {}
    for row in answer.get("results", []):
        text = row.get("document", {}).get("text", texts[row["index"]])  # no object: it fails
        assert text == texts[row["index"]]
        found[row.get("index", 0)] = row.get("relevance_score", 0.0)
    assert isinstance(answer.get("usage", {}).get("total_tokens", 0), int)
    return found


def dify_sdk(answer: Any, texts: list[str]) -> dict[int, float]:
    """Read it as the SDK does, which takes every score for a logit."""
    for row in answer["results"]:
        document = row.get("document", {})
        assert (document["text"] if isinstance(document, dict) else document) == texts[row["index"]]
    return {row["index"]: 1 / (1 + math.exp(-row["relevance_score"])) for row in answer["results"]}


def ragflow(answer: Any, texts: list[str]) -> dict[int, float]:
    rank = {**dict.fromkeys(range(len(texts)), 0.0), **by_index(answer, texts)}
    low, high = min(rank.values()), max(rank.values())
    assert high - low > 1e-3, "RAGFlow takes all texts for equal"
    return {place: (score - low) / (high - low) for place, score in rank.items()}


def with_tokens(answer: Any, texts: list[str]) -> dict[int, float]:
    tokens = answer["meta"]["tokens"]
    assert tokens["input_tokens"] + tokens["output_tokens"] > 0
    return by_index(answer, texts)


def with_usage(answer: Any, texts: list[str]) -> dict[int, float]:
    assert isinstance(answer["model"], str)
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
    assert [row["document"]["text"] for row in answer["results"]] == [
        texts[row["index"]] for row in answer["results"]
    ]
    return by_index(answer, texts)


def cohere_client(answer: Any, texts: list[str]) -> dict[int, float]:
    assert isinstance(answer["id"], str)
    assert answer["meta"]["api_version"]["version"]
    return by_index(answer, texts)


def librechat(answer: Any, texts: list[str]) -> dict[int, float]:
    assert answer["results"], "LibreChat leaves the order as it was"
    assert all(row["document"]["text"] == texts[row["index"]] for row in answer["results"])
    return by_index(answer, texts)


def fastgpt(answer: Any, texts: list[str]) -> dict[int, float]:
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == sorted(scores, reverse=True), "FastGPT takes the first result of a text for its best"
    assert answer["meta"]["tokens"]["input_tokens"] > 0
    return by_index(answer, texts)


def tei(answer: Any, texts: Sequence[str]) -> dict[int, float]:
    return {row["index"]: row["score"] for row in answer}


def weaviate(answer: Any, texts: list[str]) -> dict[int, float]:
    """Read the scores as Weaviate does: in the order of the texts, whatever ``document`` says."""
    assert [row["document"] for row in answer["scores"]] == texts
    return {place: row["score"] for place, row in enumerate(answer["scores"])}


def elasticsearch(rows: Any, scores: set[str], texts: set[str]) -> dict[int, float]:
    """Read rows as Elasticsearch's parsers do, which refuse a key that they do not know."""
    found: dict[int, float] = {}
    for row in rows:
        assert set(row) <= {"index", *scores, *texts}, f"Elasticsearch refuses one of {sorted(row)}"
        (score,) = set(row) & scores
        found[row["index"]] = row[score]
    return found


def elasticsearch_cohere(answer: Any, texts: list[str]) -> dict[int, float]:
    rows = answer["results"]
    assert all(isinstance(row.get("document", {}), dict) for row in rows)
    return elasticsearch(rows, {"relevance_score"}, {"document"})


def elasticsearch_voyage(answer: Any, texts: list[str]) -> dict[int, float]:
    rows = answer["data"]
    assert all(isinstance(row.get("document", ""), str) for row in rows)
    return elasticsearch(rows, {"relevance_score"}, {"document"})


def elasticsearch_tei(answer: Any, texts: list[str]) -> dict[int, float]:
    return elasticsearch(answer, {"score", "relevance_score"}, {"text", "document"})


def rankings(answer: Any, texts: Sequence[str]) -> dict[int, float]:
    logits = [row["logit"] for row in answer["rankings"]]
    assert logits == sorted(logits, reverse=True), "LangChain takes the first ones for the best"
    return {row["index"]: row["logit"] for row in answer["rankings"]}
