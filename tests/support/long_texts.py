"""Texts from shorter to far longer than a reranker reads at once, and a retriever that reads them whole."""

from __future__ import annotations

from typing import Any

QUESTION = "who signed the treaty"
WINDOW = 64
TEXTS = {
    "short": "the king signed",
    "long": " ".join(f"word{i} came and went." for i in range(10)),
    "longer": " ".join(f"the moon rose over stone {i}." for i in range(25)),
    "endless": "rain and " * 3_000,
}


def tree(**more: Any) -> dict[str, Any]:
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    return {
        "text_similarity_reranker": {"retriever": child, "field": "text", "inference_text": QUESTION, **more}
    }
