"""The format of Hugging Face's text-embeddings-inference (TEI): ``texts`` in, a bare list out.

Source: huggingface/text-embeddings-inference, ``router/src/http``. Elasticsearch's ``hugging_face`` inference
service uses it, with ``top_n``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .documents import query_in, texts_in
from .failures import Failure
from .options import options_in
from .request import Asked, Scored

_HONOURED = ("model", "top_n", "raw_scores", "with_texts", "whole", "direction", "rank_fields")


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for. Raises RequestError."""
    options = options_in(body, ("query", "texts"), _HONOURED)
    options.pop("direction", None)
    query = query_in(body.get("query"))
    texts, documents = texts_in(body.get("texts"), "texts", options.pop("rank_fields", None))
    return Asked((query,), tuple(texts), tuple(documents), **options)


def write(asked: Asked, scored: Scored, version: str) -> list[dict[str, Any]]:  # noqa: ARG001 one form
    """Return the answer: ``[{"index", "text"?, "score"}]``, best first."""
    return [
        {
            "index": place,
            **({"text": asked.texts[place]} if asked.with_texts else {}),
            "score": float(scored.values[place]),
        }
        for place in scored.order
    ]


def error(message: str, failure: Failure, status: int) -> dict[str, Any]:  # noqa: ARG001 the status stands above
    """Return the body of an error."""
    return {"error": message, "error_type": failure.tei_type}
