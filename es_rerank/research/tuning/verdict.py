"""The verdict on queries that nothing was fitted to: better, equal or worse, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ...scores import logistic, ranked
from ...types import FloatArray
from ..evaluation.measures import difference, measures_by_query, run_of
from ..reliability import reliability
from .fitting import Labels
from .windows import Window

Outcome = Literal["better", "equal", "worse"]

SIGNIFICANCE = 0.05
"""Level of all tests of one tuning together; each test has its share of it (Bonferroni)."""

LEAST_QUERIES = 10
"""Queries that each half needs at least.

With 10 queries, a paired t-test of level 0.05 finds four of five changes that are as large as the standard
deviation of the queries' changes (Cohen 1988, table 2.4.1), and it misses most smaller ones.
"""

_POWER_80 = 2.8
"""Quantiles of the normal distribution for level 0.05, two-sided, and power 0.8: 1.96 + 0.84."""

_GAIN_STEPS = 1_000
"""trec_eval reads whole numbers as grades. nDCG with linear gain is the same for grades times a factor."""


class Judged(BaseModel):
    """A paired comparison of two values of every kept query.

    ``before`` and ``after`` are means, ``p_value`` is that of a paired t-test, two-sided, None for fewer than
    two queries. ``better``, ``worse`` and ``same`` count queries. ``visible`` is the smallest change of the
    mean that so many queries would show in four of five cases; None for fewer than two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: float
    after: float
    outcome: Outcome
    p_value: float | None
    better: int
    worse: int
    same: int
    visible: float | None


def judged(
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    *,
    tests: int,
    least_is_best: bool = False,
) -> Judged:
    """Return the comparison of two values of every query, (n,), n at least 1.

    The outcome is ``equal`` unless the p-value is below ``SIGNIFICANCE`` / ``tests``.
    """
    changes = (before - after) if least_is_best else (after - before)
    found = difference(changes.tolist())
    sure = found.p_value is not None and found.p_value < SIGNIFICANCE / tests
    outcome: Outcome = "equal" if not sure else "better" if found.ndcg_at_10 > 0 else "worse"
    visible = None if len(changes) < 2 else _POWER_80 * float(changes.std(ddof=1)) / math.sqrt(len(changes))
    return Judged(
        before=float(before.mean()),
        after=float(after.mean()),
        outcome=outcome,
        p_value=found.p_value,
        better=found.wins,
        worse=found.losses,
        same=found.ties,
        visible=visible,
    )


class Ratings:
    """The judgements of an index, as measures read them."""

    def __init__(
        self, ratings: Mapping[str, Mapping[str, float]], relevant_from: float, *, unjudged_count: bool
    ) -> None:
        """``unjudged_count``: a document without a rating is not relevant. Else it is unknown, and measures
        leave it out (Sakai 2007, "Alternatives to Bpref", SIGIR: condensed lists).
        """
        self._grades = {
            query: {name: round(rating * _GAIN_STEPS) for name, rating in rated.items()}
            for query, rated in ratings.items()
        }
        self._relevant_from, self._unjudged_count = relevant_from, unjudged_count

    def labels(self, window: Window) -> FloatArray:
        """Return the labels of a window, float32, (n,): 1 relevant, 0 not relevant, NaN unknown."""
        rated = ~np.isnan(window.ratings)
        unknown = np.float32(0.0 if self._unjudged_count else np.nan)
        relevant = np.where(rated, window.ratings, -np.inf) >= self._relevant_from
        return np.where(rated, relevant.astype(np.float32), unknown).astype(np.float32)

    def ndcg(self, windows: Sequence[Window], values: Sequence[FloatArray]) -> npt.NDArray[np.float64]:
        """Return nDCG@10 of every window, (n,), ordered by its ``values``; equal values keep their order.

        The gain of a document is its rating. The ideal order has all judged documents of the index, found or
        not.
        """
        run = {}
        for window, own in zip(windows, values, strict=True):
            order = [window.documents[place] for place in ranked(own)]
            grades = self._grades[window.query]
            run[window.query] = run_of([name for name in order if self._unjudged_count or name in grades])
        measured = measures_by_query({window.query: self._grades[window.query] for window in windows}, run)
        return np.asarray([measured[window.query].ndcg_at_10 for window in windows], dtype=np.float64)


def squared_errors(
    windows: Sequence[Window], odds: Sequence[FloatArray], labels: Labels
) -> npt.NDArray[np.float64]:
    """Return the mean squared error of the probabilities of each window (Brier 1950), (n,).

    ``odds`` are the log-odds of the hits. Windows without a known label have no error.
    """
    errors = []
    for window, own in zip(windows, odds, strict=True):
        label = labels(window)
        known = ~np.isnan(label)
        if known.any():
            errors.append(float(((logistic(own)[known] - label[known]) ** 2).mean()))
    return np.asarray(errors, dtype=np.float64)


def calibration_error(windows: Sequence[Window], odds: Sequence[FloatArray], labels: Labels) -> float | None:
    """Return the expected calibration error of the probabilities, 0..1; None without a known label."""
    seen: list[tuple[float, bool]] = []
    for window, own in zip(windows, odds, strict=True):
        label = labels(window)
        known = ~np.isnan(label)
        seen += zip(logistic(own)[known].tolist(), (label[known] > 0.5).tolist(), strict=True)
    measured = reliability(seen)
    return None if measured is None else round(measured.expected_error, 4)
