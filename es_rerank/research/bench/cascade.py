"""What a cascade costs and what it is worth: the share of a full window's multiply-adds, and nDCG@10.

Every model scores every passage of the windows once. All cascades are computed from these scores: a score
does not depend on what else is read, so they are exactly those of the served cascade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...models.stand_in import Prediction, from_calibrations
from ...models.wrappers.cascade import kept
from ...models.wrappers.certain_page import CertainPage
from ...retrievers.ranking.rerank import rank
from ...scores import standardise
from ...types import Blend, Calibration, Candidate, FirstStageScores, FloatArray, Passage, Scores

SHARES = (0.2, 0.25, 0.3, 0.4, 0.5)
"""Shares of a window that are compared: those of a smaller window and of a cascade."""

QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Quantiles of the residuals that are compared as margins of windows that end by themselves."""

TOP = 10
"""The documents that such a window makes sure of: the depth of nDCG@10."""

Judge = Callable[[Mapping[str, Sequence[str]]], float]
"""A function from document ids, best first, by query id, to mean nDCG@10."""


@dataclass(frozen=True, slots=True)
class CascadeWindow:
    """One query's window, in first-stage order, one text for each document.

    ``documents``: their ids, (n,). ``first_stage``: the first stage's scores, float64, (n,). ``cheap`` and
    ``better``: the models' logits, float32, (n,). ``costs``: the multiply-adds of the cheap and of the better
    model, (n, 2).
    """

    query: str
    documents: list[str]
    first_stage: npt.NDArray[np.float64]
    cheap: FloatArray
    better: FloatArray
    costs: npt.NDArray[np.float64]

    def known(self, blend: Blend | None) -> FirstStageScores:
        """Return what a cascade knows before it reads the window."""
        return FirstStageScores(tuple(self.first_stage.tolist()), (1,) * len(self.documents), blend)


class Fit(NamedTuple):
    """The two predictions of a cheap model, without margins, and the residuals of the fit, ascending.

    ``joined`` uses the first stage's scores, ``alone`` does not. A residual is the better model's logit minus
    the expected one. ``shares``: the weight of each residual, summed up, ending at 1: every window has the
    same weight.
    """

    joined: Prediction
    alone: Prediction
    residuals: npt.NDArray[np.float64]
    alone_residuals: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    alone_shares: npt.NDArray[np.float64]

    def with_margin(self, quantile: float) -> tuple[Prediction, Prediction]:
        """Return (joined, alone) with the margin that so large a share of the passages keeps to."""
        return (
            self.joined._replace(margin=_quantile(self.residuals, self.shares, quantile)),
            self.alone._replace(margin=_quantile(self.alone_residuals, self.alone_shares, quantile)),
        )


def _quantile(values: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], quantile: float) -> float:
    at = min(int(np.searchsorted(shares, quantile)), len(values) - 1)
    return max(0.0, round(float(values[at]), 4))


def fit(windows: Sequence[CascadeWindow]) -> Fit:
    """Return the coefficients by weighted least squares; every window has the same weight."""
    found = [_least_squares(windows, joined=joined) for joined in (True, False)]
    (joined, residuals, shares), (alone, alone_residuals, alone_shares) = found
    return Fit(joined, alone, residuals, alone_residuals, shares, alone_shares)


def _least_squares(
    windows: Sequence[CascadeWindow], *, joined: bool
) -> tuple[Prediction, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rows, wanted, weights = [], [], []
    for window in windows:
        cheap = window.cheap.astype(np.float64)
        places = standardise(window.first_stage.tolist()).astype(np.float64)
        columns = [cheap, *([cheap.std() * places] if joined else []), np.ones(len(cheap))]
        rows.append(np.stack(columns, axis=1))
        wanted.append(window.better.astype(np.float64))
        weights.append(np.full(len(cheap), 1.0 / len(cheap)))
    features, logits, weight = np.concatenate(rows), np.concatenate(wanted), np.concatenate(weights)
    root = np.sqrt(weight)
    solution = np.linalg.lstsq(features * root[:, None], logits * root, rcond=None)[0].round(4)
    residuals = logits - features @ solution
    order = np.argsort(residuals, kind="stable")
    prediction = Prediction(float(solution[0]), float(solution[1]) if joined else 0.0, float(solution[-1]))
    return prediction, residuals[order], np.cumsum(weight[order]) / weight.sum()


class Read(NamedTuple):
    """What became of a window: the scores of its first ``len(scores)`` documents, and the multiply-adds."""

    scores: Scores
    cost: float


class Way(NamedTuple):
    """One way to read a window: its name, and the function that reads it."""

    name: str
    read: Callable[[CascadeWindow], Read]


def whole_window() -> Way:
    """Return the way in which the better model reads everything."""
    return Way("whole window", lambda window: Read(Scores.of(window.better), float(window.costs[:, 1].sum())))


def smaller_window(share: float) -> Way:
    """Return the way in which the better model reads the best of the first stage, as if the rest were not in
    the window.
    """

    def read(window: CascadeWindow) -> Read:
        number = kept(share, len(window.documents))
        return Read(Scores.of(window.better[:number]), float(window.costs[:number, 1].sum()))

    return Way(f"smaller window, {share:g}", read)


def cheap_alone(share: float, cheap: Calibration | None, better: Calibration | None) -> Way:
    """Return the way of a cascade whose cheap model alone chooses, with the logits as they are."""

    def read(window: CascadeWindow) -> Read:
        known = FirstStageScores.unknown(len(window.documents))
        return _read(window, from_calibrations(cheap, better, joined=False), known, number=share)

    return Way(f"cheap model alone, {share:g}", read)


def together(share: float, prediction: Prediction, blend: Blend | None) -> Way:
    """Return the way of a cascade in which first stage and cheap model choose together."""
    return Way(
        f"first stage and cheap model, {share:g}",
        lambda window: _read(window, prediction, window.known(blend), number=share),
    )


def by_itself(quantile: float, prediction: Prediction, blend: Blend | None) -> Way:
    """Return the way in which a window ends by itself; the margin of ``prediction`` has that ``quantile``."""
    return Way(
        f"ends by itself, {quantile:g} (margin {prediction.margin:.2f})",
        lambda window: _read(window, prediction, window.known(blend), number=None),
    )


def _read(
    window: CascadeWindow, prediction: Prediction, known: FirstStageScores, *, number: float | None
) -> Read:
    """Read a window as ``models.wrappers.cascade`` does: a share, or with None until the page is known."""
    count = len(window.documents)
    expected = prediction.expected(window.cheap, known)
    page = CertainPage(expected, prediction.margin, known, TOP)
    estimated = np.ones(count, dtype=np.bool_)
    while wanted := page.next(None if number is None else kept(number, count)):
        estimated[wanted] = False
        page.tell(wanted, window.better[wanted])
        if number is not None:
            break
    scores = Scores.of(np.where(estimated, expected, window.better))
    cost = window.costs[:, 0].sum() + window.costs[~estimated, 1].sum()
    return Read(replace(scores, estimated=estimated), float(cost))


class Measured(NamedTuple):
    """Means over windows: the multiply-adds as a share of the whole window's, the share of the passages that
    the better model has read, and nDCG@10.
    """

    cost: float
    read: float
    ndcg: float


def measured(
    way: Way,
    windows: Sequence[CascadeWindow],
    calibration: Calibration | None,
    blend: Blend | None,
    judge: Judge,
) -> Measured:
    """Return what a way costs and is worth on at least one window. The order is that of a search."""
    costs, read = list[float](), list[float]()
    orders: dict[str, list[str]] = {}
    for window in windows:
        scores, cost = way.read(window)
        candidates = [
            Candidate("", document, float(score), place, passages=(Passage("-", 0, 0),))
            for place, (document, score) in enumerate(
                zip(window.documents, window.first_stage, strict=True), 1
            )
        ]
        ranking = rank(candidates[: len(scores)], scores, calibration, blend=blend)
        orders[window.query] = [hit.candidate.id for hit in ranking.hits] + window.documents[len(scores) :]
        costs.append(cost / float(window.costs[:, 1].sum()))
        estimated = 0 if scores.estimated is None else int(scores.estimated.sum())
        read.append((len(scores) - estimated) / len(window.documents))
    return Measured(fmean(costs), fmean(read), judge(orders))


def ways(found: Fit, blend: Blend | None, cheap: Calibration | None, better: Calibration | None) -> list[Way]:
    """Return the ways that are compared, the whole window first."""
    return [
        whole_window(),
        *(smaller_window(share) for share in SHARES),
        *(cheap_alone(share, cheap, better) for share in SHARES),
        *(together(share, found.joined, blend) for share in SHARES),
        *(by_itself(each, found.with_margin(each)[0], blend) for each in QUANTILES),
    ]
