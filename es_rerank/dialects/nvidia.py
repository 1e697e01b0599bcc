"""What NVIDIA's reranking service is asked: ``passages`` in, ``rankings`` with logits out.

Source: https://docs.nvidia.com/nim/nemo-retriever/text-reranking (``POST /v1/ranking``). RAGFlow asks below
``reranking``, the last part of the path of NVIDIA's hosted service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .reading import asked_in
from .request import Asked, Scored, usage

_HONOURED = ("model", "top_n", "whole", "chunks")


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for: logits, always. Raises RequestError."""
    return replace(asked_in(body, "passages", _HONOURED), raw_scores=True)


def write(asked: Asked, scored: Scored, version: str) -> dict[str, Any]:  # noqa: ARG001 one form
    """Return the answer: ``{"rankings": [{"index", "logit"}]}``, best first, with the usage."""
    return {
        "rankings": [{"index": place, "logit": float(scored.values[place])} for place in scored.order],
        "usage": usage(scored.tokens),
    }
