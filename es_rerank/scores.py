"""Computes with scores: logits and probabilities, a document's logit from its passages, ranks and ties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import ScoreError
from .types import Aggregation, Calibration, FloatArray, Scores

_PROBABILITY_EDGE = 1e-7


def logistic(logits: npt.ArrayLike) -> FloatArray:
    """Return the probabilities 1 / (1 + exp(-x)) of logits x, float32, in the shape of ``logits``.

    Large logits do not overflow. The computation is in float64, so that the result keeps the order of the
    logits.
    """
    x = np.asarray(logits, dtype=np.float64)
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), dtype=np.float32)


def pair_log_odds(logits: npt.ArrayLike, calibration: Calibration | None) -> FloatArray:
    """Return the log-odds of relevance of pairs alone, float32, in the shape of a model's ``logits``.

    They do not depend on what else is in a window. Without a calibration they are the logits. NaN stays NaN.
    """
    values = np.asarray(logits, dtype=np.float32)
    if calibration is None:
        return values
    factor, intercept = calibration.pair
    return np.asarray(factor * values + intercept, dtype=np.float32)


def as_logits(scores: Scores) -> FloatArray:
    """Return the scores as logits, float32, (n,). Probabilities are converted with log(p / (1 - p)).

    Raises ScoreError when a score that is ``done`` is not a finite number.
    """
    values = scores.values
    if not np.isfinite(values[scores.done]).all():
        raise ScoreError(
            "the reranker returned a score that is not a finite number; "
            "the model's graph or weights are broken, export the model again"
        )
    if scores.scale == "logit":
        return values
    clipped = np.clip(values.astype(np.float64), _PROBABILITY_EDGE, 1 - _PROBABILITY_EDGE)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def standardise(values: Sequence[float]) -> FloatArray:
    """Return (x - mean) / standard deviation, float32, (n,).

    All are zero where the values do not differ, or one of them is not a finite number.
    """
    x = np.asarray(values, dtype=np.float64)
    spread = x.std() if len(x) and np.isfinite(x).all() else 0.0
    if not spread > 1e-12 * max(1.0, float(np.abs(x).max(initial=0.0))):
        return np.zeros(len(x), dtype=np.float32)
    return np.asarray((x - x.mean()) / spread, dtype=np.float32)


def aggregated(logits: FloatArray, aggregation: Aggregation) -> float:
    """Return the logit of a document, computed from the logits of its passages.

    ``logits``: float32, (n_passages,), in document order, NaN for a passage without a logit. Passages without
    a logit are left out. Returns NaN when no passage has a logit, and for ``first`` when the first passage
    has none.
    """
    if aggregation.kind == "first":
        return float(logits[0])
    known = np.sort(logits[~np.isnan(logits)])[::-1]
    if not len(known):
        return math.nan
    counted = {"max": 1, "mean": len(known), "top_k_mean": aggregation.k}[aggregation.kind]
    # math.fsum: the mean does not depend on the order of the passages.
    return math.fsum(known[:counted].tolist()) / min(counted, len(known))


def ranked(logits: Sequence[float] | FloatArray) -> list[int]:
    """Return the positions of ``logits`` in descending order of logit. Equal logits keep their order."""
    return [int(i) for i in np.argsort(-np.asarray(logits, dtype=np.float32), kind="stable")]


def behind(logits: FloatArray, lowest: float) -> FloatArray:
    """Return the logits, float32, (n,), all lower by the same amount if needed, so that all are below
    ``lowest``. ``logits`` are finite and not empty.
    """
    below = np.nextafter(np.float32(lowest), np.float32(-np.inf))
    moved = logits.astype(np.float64) - max(0.0, float(logits.max()) - float(below))
    # After rounding to float32 the highest logit may be equal to ``lowest``.
    return np.minimum(moved.astype(np.float32), below)
