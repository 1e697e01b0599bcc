"""What the clients of infinity read: the text of a document is a string.

Source: michaelfeil/infinity, ``infinity_emb/fastapi_schemas/pymodels.py``. LiteLLM sends the same bytes to
infinity and to vLLM, where it reads an object. So this format has a path of its own.
"""

from __future__ import annotations

from typing import Any

from . import results
from .request import Asked, Scored

read = results.read
error = results.error


def write(asked: Asked, scored: Scored, version: str) -> dict[str, Any]:
    """Return the answer, best first. ``document`` is there if the caller asks for it."""
    answer = results.write(asked, scored, version)
    return {
        **{key: answer[key] for key in ("id", "created", "model", "usage")},
        "object": "rerank",
        "results": answer["data"],
    }
