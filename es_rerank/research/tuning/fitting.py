"""Fits a blend and the calibration of a pair to one index: few numbers, because judgements are few.

The weight between model and first stage is chosen from a grid by nDCG@10. Slope and intercept, which make
probabilities of the log-odds and do not change the order, are fitted by logistic regression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ...retrievers.ranking.rerank import calibrated, is_left_alone
from ...scores import standardise
from ...types import Blend, FloatArray
from ..logistic_line import Line, fitted_line
from .windows import Window

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the first stage in the order that are tried: 0 is the model alone, 1 the first stage alone."""

_RIDGE = Line(0.01, 0.01)
"""Weight of the ridge, in queries: few judgements may separate the hits perfectly, or be of one kind."""

_DIGITS = 6
"""Decimals of coefficients: with the least slope and the least share, none is rounded to zero."""

_ROUNDING = 1e-9
"""Two means of nDCG@10 that differ by less are equal."""

Labels = Callable[[Window], FloatArray]
"""Returns the labels of a window, float32, (n,): 1 relevant, 0 not relevant, NaN unknown."""

Quality = Callable[[Sequence[Window], Sequence[FloatArray]], npt.NDArray[np.float64]]
"""Returns nDCG@10 of every window, (n,), ordered by the values that are given for each."""


def log_odds(windows: Iterable[Window], blend: Blend | None) -> list[FloatArray]:
    """Return the log-odds of the hits of every window, float32, (n,), as a search computes them."""
    return [calibrated(window.logits, window.first_stage.tolist(), blend) for window in windows]


def fit_order(windows: Sequence[Window], shipped: Blend | None, quality: Quality, labels: Labels) -> Blend:
    """Return the blend with the best mean nDCG@10 over the windows.

    Each share of the first stage of ``SHARES`` is tried, with and without the rule of ``shipped`` that leaves
    windows alone. Of equally good ones the nearest to ``shipped`` is taken.
    """
    rules = {None} if shipped is None else {None, shipped.least_agreement}
    alone = (0.0, 0.0) if shipped is None else (shipped.alone_first_stage, shipped.alone_intercept)
    tried = [
        Blend(1.0 - share, share, 0.0, rule, *alone)
        for share in SHARES
        for rule in sorted(rules, key=lambda rule: rule is None)
    ]
    means = [float(quality(windows, log_odds(windows, blend)).mean()) for blend in tried]
    best = [blend for blend, mean in zip(tried, means, strict=True) if mean > max(means) - _ROUNDING]
    wanted = share_of(shipped)
    chosen = min(best, key=lambda blend: (abs(blend.first_stage - wanted), blend.least_agreement is None))
    return with_probabilities(windows, chosen, labels)


def share_of(blend: Blend | None) -> float:
    """Return the first stage's share in the order, 0..1: its coefficient by the sum of both."""
    if blend is None or not blend.logit + blend.first_stage:
        return 0.0
    return blend.first_stage / (blend.logit + blend.first_stage)


def with_probabilities(windows: Sequence[Window], blend: Blend | None, labels: Labels) -> Blend:
    """Return a blend with the order of ``blend`` whose log-odds are fitted to the labels.

    Without a blend the order is that of the logits. Windows that the rule leaves alone have a line of their
    own, because the standardised scores of a first stage have another scale than logits.
    """
    start = blend or Blend(1.0, 0.0, 0.0)
    mixed, alone = (
        [
            window
            for window in windows
            if is_left_alone(window.logits, window.first_stage.tolist(), start) is left_alone
        ]
        for left_alone in (False, True)
    )
    line = fit_line([(x, labels(w)) for w, x in zip(mixed, log_odds(mixed, start), strict=True)])
    own = Line(start.alone_first_stage, start.alone_intercept)
    if alone:
        own = fit_line([(standardise(w.first_stage.tolist()), labels(w)) for w in alone])
    return Blend(
        round(line.slope * start.logit, _DIGITS),
        round(line.slope * start.first_stage, _DIGITS),
        round(line.slope * start.intercept + line.intercept, _DIGITS),
        start.least_agreement,
        round(own.slope, _DIGITS),
        round(own.intercept, _DIGITS),
    )


def fit_line(windows: Sequence[tuple[FloatArray, FloatArray]]) -> Line:
    """Return the line of a logistic regression over the known labels, given as (x, labels) for each window.

    Every window has the same weight. A small ridge (``_RIDGE``) keeps the line finite. Without a known label
    the line is (1, 0).
    """
    values, labels = [x for x, _ in windows], [own for _, own in windows]
    return fitted_line(values, labels, [1.0] * len(windows), ridge=_RIDGE)


def fit_pair(windows: Sequence[Window], labels: Labels) -> Line:
    """Return the line of a pair alone: its x is the model's logit."""
    line = fit_line([(window.logits, labels(window)) for window in windows])
    return Line(round(line.slope, _DIGITS), round(line.intercept, _DIGITS))
