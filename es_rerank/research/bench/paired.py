"""Statistics of the timings of one run: their spread, and the paired differences of two systems."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Milliseconds = npt.NDArray[np.float64]

_RESAMPLES = 2_000
_TAILS = (2.5, 97.5)


class Spread(NamedTuple):
    """Median, 95th percentile, minimum and maximum of timings, in milliseconds."""

    p50: float
    p95: float
    low: float
    high: float


class Added(NamedTuple):
    """Median of paired differences in milliseconds, and its 95 % interval."""

    median: float
    low: float
    high: float


def spread(times: Milliseconds) -> Spread:
    """Return the spread of at least one timing in milliseconds."""
    return Spread(
        float(np.median(times)), float(np.percentile(times, 95)), float(times.min()), float(times.max())
    )


def added(times: Milliseconds, baseline: Milliseconds, *, seed: int = 0) -> Added:
    """Return how much slower ``times`` are than ``baseline``. Both are milliseconds of the same rounds, in
    the same order.

    The interval is the percentile bootstrap of the median over rounds; the same ``seed`` gives the same
    interval. Raises ValueError for arrays of different lengths.
    """
    if times.shape != baseline.shape:
        raise ValueError(f"{times.shape} timings cannot be paired with {baseline.shape}")
    differences, draw = times - baseline, np.random.default_rng(seed)
    medians = [
        np.median(differences[draw.integers(differences.size, size=differences.size)])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(medians, _TAILS)
    return Added(float(np.median(differences)), float(low), float(high))


def ratio(times: Milliseconds, baseline: Milliseconds, *, seed: int = 0) -> Added:
    """Return how many times faster ``times`` are than ``baseline``, and the 95 % interval.

    Both are times of the same rounds. They are compared on the logarithm, where a ratio and its inverse are
    equally far from 1. Raises what ``added`` raises.
    """
    return Added(*np.exp(added(np.log(baseline), np.log(times), seed=seed)).tolist())
