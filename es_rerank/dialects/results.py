"""One object that the clients of Cohere (v1 and v2), Jina, Voyage, vLLM and llama.cpp all read.

Their requests hold ``query`` and ``documents``, and cannot be told apart where the optional keys are left
out. So one answer holds what each of them looks for: ``results`` as in Cohere, and the same rows in ``data``
as in Voyage.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from .failures import Failure
from .reading import OF_RANKING, asked_in
from .request import Asked, Scored, usage

_UNIT = 100
"""Documents of one search unit of Cohere (https://docs.cohere.com/docs/rate-limits)."""


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for. Raises RequestError."""
    return asked_in(body, "documents", OF_RANKING)


def write(asked: Asked, scored: Scored, version: str) -> dict[str, Any]:
    """Return the answer, best first.

    ``document`` in ``results`` is an object with ``text``, as Cohere, Jina and vLLM return it, unless the
    caller refuses it. In ``data`` it is a string, as Voyage returns it, if the caller asks for it.
    """
    results, data = [], []
    for place in scored.order:
        row = {"index": place, "relevance_score": float(scored.values[place])}
        results.append(
            {**row, **({} if asked.with_texts is False else {"document": _document(asked, place)})}
        )
        data.append({**row, **({"document": asked.texts[place]} if asked.with_texts else {})})
    return {
        "id": str(uuid.uuid4()),
        "object": "list",
        "created": int(time.time()),
        "model": scored.model,
        "usage": usage(scored.tokens),
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": -(-len(asked.texts) // _UNIT)},
            "tokens": {"input_tokens": scored.tokens, "output_tokens": 0},
        },
        "results": results,
        "data": data,
    }


def _document(asked: Asked, place: int) -> dict[str, Any]:
    """Return a document as an object: what the caller sent, and its text."""
    sent = asked.documents[place]
    if not isinstance(sent, dict):
        return {"text": asked.texts[place]}
    return {**sent, "text": sent["text"] if isinstance(sent.get("text"), str) else asked.texts[place]}


def error(message: str, failure: Failure, status: int) -> dict[str, Any]:
    """Return the body of an error, with the message where each client looks for it.

    ``message`` is Cohere's, ``detail`` Jina's and Voyage's, ``error`` that of vLLM, infinity and llama.cpp.
    ``code`` is a string, as in OpenAI's API: some clients (voyage-ai-provider) read nothing of an error whose
    code is a number.
    """
    return {
        "id": str(uuid.uuid4()),
        "message": message,
        "detail": message,
        "error": {"message": message, "type": failure.type, "param": None, "code": str(status)},
    }
