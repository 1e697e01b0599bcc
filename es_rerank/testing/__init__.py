"""Deterministic replacements for models, so that users can test their code without model weights."""

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
    """A reranker whose logit grows with the share of the query's words in the passage, from -4 to 4."""

    def __init__(self, name: str = "word-overlap", calibration: Calibration | None = None) -> None:
        self.name = name
        self.calibration = calibration

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one logit per passage. No passage is truncated.

        ``deadline`` is a moment of ``time.monotonic()``, None for no deadline. If it has passed, no passage
        is done.
        """
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
        """Return the same as ``score``. The call can be cancelled."""
        await asyncio.sleep(0)
        return self.score(query, passages, deadline=deadline)


class HashEmbedder:
    """An embedder that counts a text's words in ``dims`` hash buckets and scales the counts to length 1."""

    def __init__(self, dims: int = 64) -> None:
        self.name = f"hash-{dims}"
        self.dims = dims

    def embed(
        self,
        texts: Sequence[str],
        *,
        purpose: Literal["query", "passage"] = "passage",  # noqa: ARG002 both give the same vector
    ) -> Vectors:
        """Return unit vectors, float32, (n, dims). A text without words gets the first axis."""
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _words(text):
                digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
                vectors[row, int.from_bytes(digest, "big") % self.dims] += 1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
