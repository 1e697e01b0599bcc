"""Computes the ranking from candidates and scores of a reranker. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ScoreError
from ...scores import aggregated, as_logits, logistic, ranked, standardise
from ...types import Aggregation, Calibration, Candidate, FloatArray, Passage, Scores

BEST_PASSAGE = Aggregation("max")
"""The default: the best passage gives the document its score."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """The result of a reranker for one candidate. The scores are None if the deadline passed before they were
    known.

    ``model_logit`` is the logit of the model: the aggregation of the logits of the passages, by default the
    largest. ``logit`` is the log-odds of relevance after calibration; it decides the order. ``probability``
    (0..1) is the logistic of ``logit``. ``passage`` is the passage with the largest logit.
    """

    candidate: Candidate
    probability: float | None = None
    logit: float | None = None
    model_logit: float | None = None
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The window in its new order.

    ``complete`` is false if some candidates were not scored before the deadline. ``truncated`` and ``cached``
    count the passages that were cut to the model's window and the passages whose scores came from a cache.
    """

    hits: list[Reranked]
    complete: bool
    truncated: int
    cached: int


def texts_of(candidates: Sequence[Candidate]) -> list[str]:
    """Return all texts that the reranker reads for the candidates, in order."""
    return [text for candidate in candidates for text in candidate.texts()]


def of_documents(
    scores: Scores, counts: Sequence[int], aggregation: Aggregation = BEST_PASSAGE
) -> tuple[FloatArray, list[int]]:
    """Return (logits, best): for each document its logit and the position of its best passage.

    ``logits`` is float32, (n_documents,): the aggregation of the logits of the scored passages, NaN if none
    was scored. ``counts`` says how many consecutive scores belong to each document. Raises ScoreError when
    ``counts`` and the scores do not add up or a score is not finite.
    """
    if sum(counts) != len(scores):
        raise ScoreError(
            f"the reranker returned {len(scores)} scores for {sum(counts)} passages; "
            "a reranker must return one score per passage"
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
    """Return the candidates in descending order of logit. Equal logits keep the first-stage order.

    Candidates without a score follow in first-stage order. Candidates whose probability is below
    ``min_score`` are left out; candidates without a score are kept. Raises ScoreError as ``of_documents``
    does.
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
    """Return the log-odds of relevance, float32, (n,), for the logits of a model, (n,).

    ``first_stage`` holds the first-stage scores, (n,). Without a calibration the logits are returned
    unchanged. NaN stays NaN.
    """
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
    """Return the candidates in first-stage order, without scores of the reranker."""
    return Ranking([Reranked(candidate) for candidate in candidates], complete=False, truncated=0, cached=0)
