"""From candidates and scores to ranks. Pure: arrays in, order out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ScoreError
from ...scores import aggregated, as_logits, logistic, ranked, standardise
from ...types import Aggregation, Calibration, Candidate, FloatArray, Passage, Scores

BEST_PASSAGE = Aggregation("max")
"""What decides unless a request names something else."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """A candidate after the reranker. ``probability`` and ``logit`` are None where the deadline came first.

    ``logit`` is the log-odds of relevance that decides the order, ``probability`` its logistic, ``model_logit`` what
    the model itself said: of the best ``passage``, unless the logits of several were aggregated.
    """

    candidate: Candidate
    probability: float | None = None
    logit: float | None = None
    model_logit: float | None = None
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The window in its new order. ``complete`` is false where some candidates were not scored in time."""

    hits: list[Reranked]
    complete: bool
    truncated: int
    cached: int


def texts_of(candidates: Sequence[Candidate]) -> list[str]:
    """Return all texts that the reranker reads for the window, in order."""
    return [text for candidate in candidates for text in candidate.texts()]


def of_documents(
    scores: Scores, counts: Sequence[int], aggregation: Aggregation = BEST_PASSAGE
) -> tuple[FloatArray, list[int]]:
    """Return, per document, the logit of its passages that are done (NaN where it has none) and the position of the best.

    ``counts`` says how many consecutive scores belong to each document. Raises ScoreError when they do not add up or
    a score is not finite.
    """
    if sum(counts) != len(scores):
        raise ScoreError(
            f"the reranker returned {len(scores)} scores for {sum(counts)} passages; a reranker must return one score per passage"
        )
    logits = np.where(scores.done, as_logits(scores), np.float32(np.nan)).astype(np.float32)
    parts = np.split(logits, np.cumsum(counts)[:-1]) if len(counts) else []
    values = np.asarray([aggregated(part, aggregation) for part in parts], dtype=np.float32)
    return values, [int(np.argmax(np.where(np.isnan(part), -np.inf, part))) for part in parts]


def rank(
    candidates: Sequence[Candidate],
    scores: Scores,
    calibration: Calibration | None,
    min_score: float | None = None,
    aggregation: Aggregation = BEST_PASSAGE,
) -> Ranking:
    """Return the window in descending order of logit; equal logits keep first-stage order.

    Candidates that were not scored follow in first-stage order. ``min_score`` leaves out those whose probability is
    known to be below it.
    """
    counts = [len(candidate.texts()) for candidate in candidates]
    model_logits, best = of_documents(scores, counts, aggregation)
    logits = calibrated(model_logits, [candidate.score for candidate in candidates], calibration)
    done = ~np.isnan(model_logits)
    probabilities = logistic(np.where(done, logits, 0.0))
    order = [
        *(i for i in ranked(np.where(done, logits, -np.inf)) if done[i]),
        *(i for i in range(len(candidates)) if not done[i]),
    ]
    hits = [
        _reranked(candidates[i], float(probabilities[i]), float(logits[i]), float(model_logits[i]), best[i])
        if done[i]
        else Reranked(candidates[i])
        for i in order
    ]
    if min_score is not None:
        hits = [
            hit
            for hit in hits
            if hit.probability is None or np.float32(hit.probability) >= np.float32(min_score)
        ]
    return Ranking(
        hits,
        complete=bool(done.all()),
        truncated=int(scores.truncated.sum()),
        cached=int(scores.cached.sum()),
    )


def _reranked(
    candidate: Candidate, probability: float, logit: float, model_logit: float, best: int
) -> Reranked:
    return Reranked(
        candidate, probability, logit, model_logit, candidate.passages[best] if candidate.passages else None
    )


def calibrated(
    logits: FloatArray, first_stage: Sequence[float], calibration: Calibration | None
) -> FloatArray:
    """Return log-odds of relevance, float32, (n,); NaN stays NaN."""
    if calibration is None:
        return logits
    known = logits[~np.isnan(logits)].astype(np.float64)
    spread = float(known.std()) if len(known) else 0.0
    return np.asarray(
        calibration.logit * logits
        + calibration.first_stage * spread * standardise(first_stage)
        + calibration.intercept,
        dtype=np.float32,
    )


def first_stage_order(candidates: Sequence[Candidate]) -> Ranking:
    """Return the window as it came, unscored."""
    return Ranking([Reranked(candidate) for candidate in candidates], complete=False, truncated=0, cached=0)
