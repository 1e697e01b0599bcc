"""Fits a line that turns a value into the log-odds of relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..types import FloatArray

Doubles = npt.NDArray[np.float64]

LEAST_SLOPE = 1e-3
"""Probabilities never turn an order around, whatever the labels say."""


class Line(NamedTuple):
    """Log-odds = ``slope`` * x + ``intercept``."""

    slope: float
    intercept: float

    def of(self, values: FloatArray) -> FloatArray:
        """Return the log-odds of ``values``, float32, (n,)."""
        return np.asarray(self.slope * values + self.intercept, dtype=np.float32)


def fitted_line(
    values: Sequence[FloatArray], labels: Sequence[FloatArray], weights: Sequence[float], *, ridge: Line
) -> Line:
    """Return the line of a logistic regression of the labels, (n,) for each window, on the values, (n,).

    Labels between 0 and 1 are probabilities; NaN is left out. ``weights`` has a number for each window, which
    its labels share. ``ridge``: the weight of half the square of slope and intercept in what is minimised,
    which keeps them finite where the labels separate the values. The slope is at least ``LEAST_SLOPE``.
    Without a known label the line is (1, 0).
    """
    known = [~np.isnan(own) for own in labels]
    if not any(k.any() for k in known):
        return Line(1.0, 0.0)
    x = np.concatenate([v[k] for v, k in zip(values, known, strict=True)]).astype(np.float64)
    y = np.concatenate([own[k] for own, k in zip(labels, known, strict=True)]).astype(np.float64)
    share = np.concatenate(
        [np.full(int(k.sum()), w / max(int(k.sum()), 1)) for w, k in zip(weights, known, strict=True)]
    )
    held = np.asarray(ridge)

    def loss(line: Doubles) -> tuple[float, Doubles]:
        odds = line[0] * x + line[1]
        wrong = share * (1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500))) - y)
        value = (share * (np.logaddexp(0.0, odds) - y * odds)).sum() + 0.5 * (held * line**2).sum()
        return float(value), np.array([wrong @ x, wrong.sum()]) + held * line

    from scipy.optimize import minimize  # noqa: PLC0415 takes a second to import, which no help should pay

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(LEAST_SLOPE, None), (None, None)]
    )
    return Line(float(found.x[0]), float(found.x[1]))
