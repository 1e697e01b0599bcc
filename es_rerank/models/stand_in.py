"""What a cheap reranker says about a better one: the logit to expect of it, and how far off that may be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from ..scores import standardise
from ..types import Calibration, FirstStageScores, FloatArray
from .contracts import ManifestPart

FIRST_STAGE_PART = 0.2
"""Weight of the first stage beside a cheap model for which nothing was fitted, relative to the spread of its
logits. Least squares gave 0.23 over dense windows of training splits, 0.21 over BM25 and 0.13 over hybrid
ones, with the bundled model's first three layers as the cheap model (``es-rerank bench cascade`` fits so)."""


class Prediction(NamedTuple):
    """Coefficients that turn a cheap model's logit into the logit to expect of the better model.

    Expected logit = ``logit`` * (cheap logit) + ``first_stage`` * (standard deviation of the cheap logits of
    the window's documents) * (first-stage score, standardised over the window) + ``intercept``. ``margin``,
    not negative, in logits: how far above the expected logit the better model's own may be, infinite where
    nobody measured it.
    """

    logit: float
    first_stage: float
    intercept: float
    margin: float = np.inf

    def expected(self, logits: FloatArray, first_stage: FirstStageScores) -> FloatArray:
        """Return the logits to expect of the better model, float32, (n_texts,), from those of the cheap one.

        ``logits`` are finite, (n_texts,).
        """
        spread = float(best_of_each(logits, first_stage).astype(np.float64).std()) if len(logits) else 0.0
        places = np.repeat(standardise(first_stage.scores), first_stage.counts)
        return np.asarray(
            self.logit * logits + self.first_stage * spread * places + self.intercept, dtype=np.float32
        )


class PredictionRecord(ManifestPart):
    """The coefficients of a ``Prediction``, as a manifest holds them."""

    logit: float
    first_stage: float
    intercept: float
    margin: float = Field(ge=0)

    def coefficients(self) -> Prediction:
        """Return them as the NamedTuple that scoring uses."""
        return Prediction(self.logit, self.first_stage, self.intercept, self.margin)


class StandIn(ManifestPart):
    """The better model that a cheap one was fitted to, and what its logits say about that model's.

    ``model`` and ``sha256``: the better model's name, and the checksum of its default graph. ``joined`` uses
    the first stage's scores, ``alone`` does without them. ``quantile``: the share of the passages of the
    windows of the fit whose logit is not above expectation by more than the margin. ``share``: the share of
    a window that the better model then read on average. ``es-rerank bench cascade --write`` measures them.
    """

    model: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    joined: PredictionRecord
    alone: PredictionRecord
    quantile: float = Field(gt=0, le=1)
    share: float = Field(gt=0, le=1)

    def prediction(self, *, joined: bool) -> Prediction:
        """Return the coefficients with the first stage's scores, or without them."""
        return (self.joined if joined else self.alone).coefficients()


def best_of_each(logits: FloatArray, first_stage: FirstStageScores) -> FloatArray:
    """Return the largest logit of each document, float32, (n_documents,), from those of its texts."""
    if not first_stage.counts:
        return np.zeros(0, dtype=np.float32)
    starts = np.concatenate([[0], np.cumsum(first_stage.counts)[:-1]])
    return np.asarray(np.maximum.reduceat(logits, starts), dtype=np.float32)


def from_calibrations(cheap: Calibration | None, better: Calibration | None, *, joined: bool) -> Prediction:
    """Return the prediction for two models for which nothing was fitted: equal log-odds of relevance.

    ``joined``: whether first-stage scores are known. Their weight is ``FIRST_STAGE_PART``. A model without a
    calibration has its logits for log-odds.
    """
    factor, intercept = (1.0, 0.0) if cheap is None else cheap.pair
    by, and_then = (1.0, 0.0) if better is None else better.pair
    if by == 0:
        by, and_then = 1.0, 0.0
    scale = factor / by
    part = FIRST_STAGE_PART * abs(scale) if joined else 0.0
    return Prediction(scale, part, (intercept - and_then) / by)
