"""The format of Hugging Face's text-embeddings-inference (TEI): ``texts`` in, a bare list out.

Source: huggingface/text-embeddings-inference, ``router/src/http``. Elasticsearch's ``hugging_face`` inference
service uses it, with ``top_n``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .failures import Failure
from .reading import OF_RANKING, asked_in
from .request import Asked, Scored


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for. Raises RequestError."""
    return asked_in(body, "texts", OF_RANKING)


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
