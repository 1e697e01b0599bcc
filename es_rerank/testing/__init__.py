"""Deterministic stand-ins for models, public so that users can test without weights."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..models import Vectors
from ..types import Calibration, Scores


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class WordOverlapReranker:
    """Scores a passage by the share of the query's words that it holds, as a logit between -4 and 4."""

    def __init__(self, name: str = "word-overlap", calibration: Calibration | None = None) -> None:
        self.name = name
        self.calibration = calibration

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the overlap of every passage, nothing where the deadline has passed; never truncated."""
        wanted = set(_words(query))
        scores = Scores.of(
            [8.0 * len(wanted & set(_words(passage))) / max(1, len(wanted)) - 4.0 for passage in passages]
        )
        return (
            scores
            if deadline is None or time.monotonic() < deadline
            else replace(scores, done=np.zeros(len(passages), dtype=np.bool_))
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score``; it can be cancelled."""
        await asyncio.sleep(0)
        return self.score(query, passages, deadline=deadline)


class HashEmbedder:
    """Embeds a text as the normalised count of its words hashed into ``dims`` buckets."""

    def __init__(self, dims: int = 64) -> None:
        self.name = f"hash-{dims}"
        self.dims = dims

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:  # noqa: ARG002 symmetric
        """Return unit vectors; a text without words gets the first axis."""
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _words(text):
                vectors[
                    row,
                    int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % self.dims,
                ] += 1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
