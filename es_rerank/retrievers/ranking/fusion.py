"""Fuses ranked lists: reciprocal rank fusion, and the weighted sum of normalised scores. Pure functions, no
I/O.

Scores are float32 and are added in the order of the children, as in Elasticsearch. The scores here are
therefore exactly the scores that Elasticsearch prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...types import Candidate, DocumentKey, FloatArray
from ..grammar.tree import Normalizer

_EPSILON = 1e-6
"""A spread (minmax) or norm (l2_norm) below this value counts as zero; observed on Elasticsearch 9.5."""

_LAST = 1 << 62
"""Sorts documents without ``shard_doc`` behind all documents that have one."""


@dataclass(slots=True)
class _Fused:
    candidate: Candidate
    seen: int
    score: np.float32 = field(default_factory=lambda: np.float32(0.0))


def rrf(
    lists: Sequence[Sequence[Candidate]], weights: Sequence[float], rank_constant: int, size: int
) -> list[Candidate]:
    """Return the ``size`` best documents of all lists by the sum of weight / (rank_constant + rank).

    Formula: Cormack, Clarke and Buettcher, SIGIR 2009. Weights:
    https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers (since Elasticsearch 9.2).
    """
    one = np.float32(1.0)
    shares = [
        [np.float32(weight) * (one / np.float32(rank_constant + rank)) for rank in range(1, len(ranked) + 1)]
        for ranked, weight in zip(lists, weights, strict=True)
    ]
    return _summed(lists, shares, size)


def linear(
    lists: Sequence[Sequence[Candidate]],
    weights: Sequence[float],
    normalizers: Sequence[Normalizer],
    size: int,
) -> list[Candidate]:
    """Return the ``size`` best documents of all lists by the sum of weight * normalised score.

    A list adds 0 to the score of a document that it lacks or holds without a score (observed on Elasticsearch
    9.5).
    """
    shares = []
    for ranked, weight, normalizer in zip(lists, weights, normalizers, strict=True):
        scores = np.nan_to_num(normalised([candidate.score for candidate in ranked], normalizer))
        with np.errstate(over="ignore"):  # infinite, as in Elasticsearch
            shares.append([np.float32(weight) * score for score in scores])
    return _summed(lists, shares, size)


def normalised(scores: Sequence[float], normalizer: Normalizer) -> FloatArray:
    """Return normalised scores, float32, (n,).

    "none" returns the scores unchanged. "minmax" scales them to 0..1; if all scores are equal, each becomes
    1. "l2_norm" divides them by their L2 norm. NaN (a document without a score) stays NaN.
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
    """Return the ``size`` documents with the largest sums of ``shares``.

    Documents with equal sums are ordered by ``shard_doc``, and without one by the place where they were first
    seen.
    """
    documents: dict[DocumentKey, _Fused] = {}
    for ranked, values in zip(lists, shares, strict=True):
        for candidate, value in zip(ranked, values, strict=True):
            fused = documents.setdefault(candidate.key, _Fused(candidate, len(documents)))
            if fused.candidate.shard_doc is None and candidate.shard_doc is not None:
                fused.candidate = candidate
            fused.score = np.float32(fused.score + value)
    order = sorted(
        documents.values(),
        key=lambda fused: (
            -fused.score,
            _LAST if fused.candidate.shard_doc is None else fused.candidate.shard_doc,
            fused.seen,
        ),
    )
    return _ranked_as(order[:size])


def _ranked_as(fused: Sequence[_Fused]) -> list[Candidate]:
    """Return fused documents as candidates with their new scores and ranks from 1."""
    return [
        replace(document.candidate, score=float(document.score), rank=rank)
        for rank, document in enumerate(fused, 1)
    ]


def renumbered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the same candidates in the same order, with ranks from 1."""
    return [
        candidate if candidate.rank == rank else replace(candidate, rank=rank)
        for rank, candidate in enumerate(candidates, 1)
    ]


def pinned_scores(count: int) -> list[float]:
    """Return the scores of ``count`` pinned documents, descending float32 values above the score of any other
    document.

    Observed on Elasticsearch 9.5: the largest score of other documents is 2^127. The bits of this float32 are
    read as an integer; the next integers, read as float32 again, are the scores.
    """
    highest_organic = np.array([np.float32(2.0**127)]).view(np.int32)[0]
    return [
        float(np.array([highest_organic + 1 + count - position], dtype=np.int32).view(np.float32)[0])
        for position in range(count)
    ]
