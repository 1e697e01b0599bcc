"""Fits blends and the calibration of a pair to first-stage windows. Pure functions, no model and no file.

What decides the order, a weight and a rule, is chosen from a small grid by nDCG@10. What turns the values of
this order into probabilities is fitted by logistic regression. In both every collection has the same weight,
and so has every window within its collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...retrievers.ranking.rerank import agreement, calibrated, is_left_alone
from ...scores import ranked, standardise
from ...types import Blend, FloatArray
from ..logistic_line import Doubles, Line, fitted_line

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Weights of the standardised first-stage score that are tried, relative to the spread of the logits."""

LEAST_AGREEMENTS: tuple[float | None, ...] = (None, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
"""Values of ``Blend.least_agreement`` that are tried."""

MOST_HARM = 0.01
"""A collection that loses more nDCG@10 than this to its first stage is harmed."""

_DISCOUNTS = 1.0 / np.log2(np.arange(2, 12))
"""What a relevant document counts by its place, for nDCG@10 (Jarvelin and Kekalainen 2002)."""

_DOUBTFUL = 3
"""So many unjudged hits of a sparse window, those with the largest logits, teach no probability.

Measured on six sparse collections and three with judged pools. Fitted to the sparse ones alone, the mean
calibration error of a pair over all nine is 0.044 with 0 such hits, 0.040 with 3, 0.038 with 5 and 0.051 with
10. Fitted to all nine: 0.037, 0.036, 0.038 and 0.040 over dense windows, 0.048, 0.044, 0.047 and 0.047 over
BM25. Where half of what is judged is relevant (product questions), 3 lower it from 0.25 to 0.19.
"""

_RIDGE = Line(1e-3, 0.0)
"""The ridge is on the slope only; the weights of all windows sum to 1."""

_EQUAL = 1e-9
"""Means of nDCG@10 that differ by less are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedWindow:
    """One query's first-stage window: the model's logits, the first stage's scores, and the labels.

    The last three are float32, (n,), in the order of the first stage. A label is 1, 0, or NaN where it is not
    known.
    ``stage`` is the key of the first stage (``calibration_windows.FirstStage``). ``sparse``: only relevant
    documents were judged, and every other one has the label 0, although a few are relevant.
    """

    collection: str
    query: str
    stage: str
    logits: FloatArray
    scores: FloatArray
    labels: FloatArray
    sparse: bool = False

    def taught(self) -> FloatArray:
        """Return the labels that probabilities are fitted to, (n,): of a sparse window, the best hits that
        nobody judged are unknown (``_DOUBTFUL``).
        """
        labels = self.labels.copy()
        if self.sparse:
            unjudged = [place for place in ranked(self.logits) if labels[place] == 0]
            labels[unjudged[:_DOUBTFUL]] = np.nan
        return labels

    def log_odds(self, blend: Blend | None) -> FloatArray:
        """Return the log-odds that a search blends, float32, (n,); without a blend, the logits."""
        return calibrated(self.logits, self.scores.tolist(), blend)


def ndcg(window: JudgedWindow, values: Sequence[float] | FloatArray) -> float:
    """Return nDCG@10 of the window ordered by ``values``, (n,). What is not judged counts as not relevant.

    The ideal order is that of the window. Equal values keep the order of the first stage.
    """
    labels = np.nan_to_num(window.labels).astype(np.float64)
    top = labels[ranked(values)[: len(_DISCOUNTS)]]
    ideal = np.sort(labels)[::-1][: len(_DISCOUNTS)]
    return float(top @ _DISCOUNTS[: len(top)] / (ideal @ _DISCOUNTS[: len(ideal)]))


def by_collection(windows: Sequence[JudgedWindow], values: Doubles) -> dict[str, Doubles]:
    """Return the mean of ``values``, (n_windows, ...), over the windows of each collection."""
    names = np.asarray([window.collection for window in windows])
    return {str(name): values[names == name].mean(axis=0) for name in np.unique(names)}


def shares(windows: Sequence[JudgedWindow]) -> Doubles:
    """Return a weight for each window, (n_windows,): all collections sum to the same, and all to 1."""
    names = [window.collection for window in windows]
    counts = {name: names.count(name) for name in set(names)}
    return np.asarray([1.0 / (counts[name] * len(counts)) for name in names])


class Order(NamedTuple):
    """What decides the order of a blend: the weight of the first stage, relative to the logits' spread, and
    the least agreement (``Blend.least_agreement``).
    """

    weight: float
    least_agreement: float | None

    def blend(self) -> Blend:
        """Return a blend with this order, whose values are no probabilities yet."""
        alone = 0.0 if self.least_agreement is None else 1.0
        return Blend(1.0, self.weight, 0.0, self.least_agreement, alone)


ORDERS = tuple(Order(*values) for values in product(WEIGHTS, LEAST_AGREEMENTS))


def gains(windows: Sequence[JudgedWindow]) -> Doubles:
    """Return what each of ``ORDERS`` gains in nDCG@10 over the first stage, (n_windows, n_orders)."""
    rows = np.zeros((len(windows), len(ORDERS)))
    for row, window in zip(rows, windows, strict=True):
        first = ndcg(window, window.scores)
        own = {w: ndcg(window, window.log_odds(Order(w, None).blend())) - first for w in WEIGHTS}
        found = agreement(window.logits, window.scores.tolist())
        for place, order in enumerate(ORDERS):
            least = order.least_agreement
            if least is None or found is None or found >= least:
                row[place] = own[order.weight]
    return rows


def choose(windows: Sequence[JudgedWindow], gained: Doubles) -> Order:
    """Return the order to use, from what each of ``ORDERS`` gains on each window, as ``gains`` returns it.

    First the orders with the least harm are kept: the sum over first stages and collections of what is lost
    beyond ``MOST_HARM``. Of these the careful one is taken: the largest weight of the first stage whose mean
    gain is within one standard error, over the collections, of the best (the one-standard-error rule; Hastie,
    Tibshirani and Friedman 2009, section 7.10). A model was trained on collections like these, and helps less
    on others. A window is left alone only if that alone gains more than the standard error.
    """
    table = np.stack(list(by_collection(windows, gained).values()))
    stages = np.asarray([window.stage for window in windows])
    harm = np.zeros(len(ORDERS))
    for stage in np.unique(stages):
        of = np.flatnonzero(stages == stage).tolist()
        for mean_gain in by_collection([windows[place] for place in of], gained[of]).values():
            harm += np.clip(-mean_gain - MOST_HARM, 0.0, None)
    mean = np.where(harm <= harm.min() + _EQUAL, table.mean(axis=0), -np.inf)
    best = int(np.argmax(mean))
    apart = table - table[:, [best]]
    error = apart.std(axis=0, ddof=1) / np.sqrt(len(table)) if len(table) > 1 else np.zeros(len(ORDERS))
    near = [place for place in range(len(ORDERS)) if mean[place] >= mean[best] - error[place] - _EQUAL]
    simple = [place for place in near if ORDERS[place].least_agreement is None] or near
    return ORDERS[max(simple, key=lambda place: (ORDERS[place].weight, mean[place]))]


def fit_line(values: Sequence[FloatArray], labels: Sequence[FloatArray], weights: Doubles) -> Line:
    """Return the line of ``fitted_line`` with the ridge of a calibration."""
    return fitted_line(values, labels, weights.tolist(), ridge=_RIDGE)


def fit_pair(windows: Sequence[JudgedWindow]) -> Line:
    """Return the line of a pair alone: x is the model's logit."""
    return fit_line([w.logits for w in windows], [w.taught() for w in windows], shares(windows))


def fit_blend(windows: Sequence[JudgedWindow], order: Order) -> Blend:
    """Return the blend with this order whose log-odds are fitted to the labels.

    Windows that are left alone have a line of their own, because a standardised score has another scale than
    a logit. Where no window is left alone, that line is fitted to all of them.
    """
    start = order.blend()
    weights = shares(windows)
    alone = np.asarray([is_left_alone(w.logits, w.scores.tolist(), start) for w in windows])

    def line(of: npt.NDArray[np.bool_], blend: Blend | None) -> Line:
        chosen = [w for w, is_of in zip(windows, of, strict=True) if is_of]
        values = [standardise(w.scores.tolist()) if blend is None else w.log_odds(blend) for w in chosen]
        return fit_line(values, [w.taught() for w in chosen], weights[of])

    mixed = line(
        ~alone if not alone.all() else np.ones_like(alone), order._replace(least_agreement=None).blend()
    )
    fitted = Blend(round(mixed.slope, 4), round(mixed.slope * order.weight, 4), round(mixed.intercept, 4))
    if order.least_agreement is None:
        return fitted
    own = line(alone if alone.any() else np.ones_like(alone), None)
    return fitted._replace(
        least_agreement=order.least_agreement,
        alone_first_stage=round(own.slope, 4),
        alone_intercept=round(own.intercept, 4),
    )
