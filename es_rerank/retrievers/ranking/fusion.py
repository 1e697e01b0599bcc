"""Fusing ranked lists: reciprocal rank fusion and the weighted sum of normalised scores. Pure.

Scores are float32 and added in the order of the children, as Elasticsearch adds them, so that a score that it prints is
the score printed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...types import Candidate, DocumentKey, FloatArray
from ..grammar.tree import Normalizer

_EPSILON = 1e-6
"""MinMaxScoreNormalizer and L2ScoreNormalizer: a spread or norm under it counts as none."""

_LAST = 1 << 62


@dataclass(slots=True)
class _Fused:
    candidate: Candidate
    seen: int
    score: np.float32 = field(default_factory=lambda: np.float32(0.0))


def rrf(
    lists: Sequence[Sequence[Candidate]], weights: Sequence[float], rank_constant: int, size: int
) -> list[Candidate]:
    """Return the documents of all lists by the sum of weight / (rank_constant + rank), the first ``size`` of them.

    Formula: Cormack, Clarke and Buettcher, SIGIR 2009; weights as in Elasticsearch 9.2 (RRFRetrieverBuilder).
    """
    one = np.float32(1.0)
    shares = [
        [np.float32(weight) * (one / np.float32(rank_constant + rank)) for rank in range(1, len(each) + 1)]
        for each, weight in zip(lists, weights, strict=True)
    ]
    return _summed(lists, shares, size)


def linear(
    lists: Sequence[Sequence[Candidate]],
    weights: Sequence[float],
    normalizers: Sequence[Normalizer],
    size: int,
) -> list[Candidate]:
    """Return the documents of all lists by the sum of weight * normalised score, the first ``size`` of them.

    A document that a list lacks, or holds without a score, gets nothing from it (LinearRetrieverBuilder).
    """
    shares = []
    for each, weight, normalizer in zip(lists, weights, normalizers, strict=True):
        scores = np.nan_to_num(normalised([candidate.score for candidate in each], normalizer))
        shares.append([np.float32(weight) * score for score in scores])
    return _summed(lists, shares, size)


def normalised(scores: Sequence[float], normalizer: Normalizer) -> FloatArray:
    """Return scores as float32, (n,): as they are, scaled to 0..1 (all 1 where they do not differ), or divided by their L2 norm.

    NaN, a document without a score, stays NaN.
    """
    values = np.asarray(scores, dtype=np.float32)
    known = values[~np.isnan(values)]
    if normalizer == "none" or not len(known):
        return values
    if normalizer == "minmax":
        low, high = known.min(), known.max()
        if abs(float(high) - float(low)) < _EPSILON:
            return np.where(np.isnan(values), values, np.float32(1.0))
        return np.asarray((values - low) / (high - low), dtype=np.float32)
    norm = float(np.sqrt(np.sum(np.square(known.astype(np.float64)))))
    return values if norm < _EPSILON else np.asarray(values.astype(np.float64) / norm, dtype=np.float32)


def _summed(
    lists: Sequence[Sequence[Candidate]], shares: Sequence[Sequence[np.float32]], size: int
) -> list[Candidate]:
    """Return documents by their summed shares; equal sums by shard and position in it, else by where they were first seen."""
    found: dict[DocumentKey, _Fused] = {}
    for each, share in zip(lists, shares, strict=True):
        for candidate, value in zip(each, share, strict=True):
            fused = found.setdefault(candidate.key, _Fused(candidate, len(found)))
            if fused.candidate.shard_doc is None and candidate.shard_doc is not None:
                fused.candidate = candidate
            fused.score = np.float32(fused.score + value)
    order = sorted(
        found.values(),
        key=lambda fused: (
            -fused.score,
            _LAST if fused.candidate.shard_doc is None else fused.candidate.shard_doc,
            fused.seen,
        ),
    )
    return _ranked_as(order[:size])


def _ranked_as(fused: Sequence[_Fused]) -> list[Candidate]:
    """Return fused documents as candidates with their new scores and ranks from 1."""
    return [replace(each.candidate, score=float(each.score), rank=rank) for rank, each in enumerate(fused, 1)]


def renumbered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates with ranks counted anew from 1."""
    return [
        candidate if candidate.rank == rank else replace(candidate, rank=rank)
        for rank, candidate in enumerate(candidates, 1)
    ]


def pinned_scores(count: int) -> list[float]:
    """Return the scores of ``count`` pinned documents, float32, descending: just above every organic one.

    PinnedQueryBuilder: the integers above the bits of its largest organic score, 2^127, read as floats.
    """
    highest_organic = np.array([np.float32(2.0**127)]).view(np.int32)[0]
    return [
        float(np.array([highest_organic + 1 + count - position], dtype=np.int32).view(np.float32)[0])
        for position in range(count)
    ]
