"""What Weaviate's module ``reranker-transformers`` asks, and what it reads.

Source: weaviate/weaviate, ``modules/reranker-transformers/clients/ranker.go``. It posts to ``/rerank`` below
the address that it is given, without a media type, and takes the scores in the order of the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .failures import Failure
from .reading import OF_SCORES, asked_in
from .request import Asked, Scored


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for. Raises RequestError."""
    return asked_in(body, "documents", OF_SCORES)


def write(asked: Asked, scored: Scored, version: str) -> dict[str, Any]:  # noqa: ARG001 one form
    """Return the answer: a score for each document, in the order of the documents."""
    return {
        "query": asked.queries[0],
        "scores": [
            {"document": text, "score": float(value)}
            for text, value in zip(asked.texts, scored.values, strict=True)
        ],
    }


def error(message: str, failure: Failure, status: int) -> dict[str, Any]:  # noqa: ARG001 no place for them
    """Return the body of an error."""
    return {"error": message}
