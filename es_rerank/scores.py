"""Scores and ranks: the logistic, passage aggregation and the one rule for ties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import ScoreError
from .types import Aggregation, FloatArray, Scores

_PROBABILITY_EDGE = 1e-7


def logistic(logits: npt.ArrayLike) -> FloatArray:
    """Return 1 / (1 + exp(-x)) as float32, without overflow; computed in float64 so that order survives."""
    x = np.asarray(logits, dtype=np.float64)
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), dtype=np.float32)


def as_logits(scores: Scores) -> FloatArray:
    """Return the scores as logits, float32, (n,).

    Raises ScoreError when a score that is done is not finite.
    """
    values = scores.values
    if not np.isfinite(values[scores.done]).all():
        raise ScoreError(
            "the reranker returned a score that is not a finite number; the model's graph or weights are broken, export it again"
        )
    if scores.scale == "logit":
        return values
    clipped = np.clip(values.astype(np.float64), _PROBABILITY_EDGE, 1 - _PROBABILITY_EDGE)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def standardise(values: Sequence[float]) -> FloatArray:
    """Return (x - mean) / standard deviation as float32, (n,); all zero where the values do not differ."""
    x = np.asarray(values, dtype=np.float64)
    spread = x.std() if len(x) else 0.0
    if not spread > 1e-12 * max(1.0, float(np.abs(x).max(initial=0.0))):
        return np.zeros(len(x), dtype=np.float32)
    return np.asarray((x - x.mean()) / spread, dtype=np.float32)


def aggregated(logits: FloatArray, aggregation: Aggregation) -> float:
    """Return a document's logit from those of its passages, in document order; NaN stands for a passage without one.

    NaN where no passage that counts has a logit.
    """
    if aggregation.kind == "first":
        return float(logits[0])
    known = np.sort(logits[~np.isnan(logits)])[::-1]
    if not len(known):
        return math.nan
    counted = {"max": 1, "mean": len(known), "top_k_mean": aggregation.k}[aggregation.kind]
    # fsum, so that a mean does not depend on the order of the passages.
    return math.fsum(known[:counted].tolist()) / min(counted, len(known))


def ranked(logits: Sequence[float] | FloatArray) -> list[int]:
    """Return positions in descending order of logit; equal logits keep the order in which they came."""
    return [int(i) for i in np.argsort(-np.asarray(logits, dtype=np.float32), kind="stable")]
