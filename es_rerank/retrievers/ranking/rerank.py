"""Computes the ranking from candidates and scores of a reranker. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import ScoreError
from ...scores import aggregated, as_logits, behind, logistic, pair_log_odds, ranked, standardise
from ...types import (
    Aggregation,
    Blend,
    BoolArray,
    Calibration,
    Candidate,
    FirstStageScores,
    FloatArray,
    Passage,
    Scores,
)

_NEAREST, _WIDEST = np.float32(2**-24), np.float32(256)
"""Least and largest distance of two log-odds that is tried until their scores differ in float32: a score has
24 binary digits, and is 0 below -104.
"""

BEST_PASSAGE = Aggregation("max")
"""The default: the best passage gives the document its score."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """The result of a reranker for one candidate. The numbers are None if the deadline passed before they
    were known.

    ``score`` (0..1) decides the order: it is ``probability``, or with blending the logistic of the blended
    log-odds. ``probability`` (0..1) is that of the pair alone, ``logit`` the model's logit of the pair: the
    aggregation of the logits of the passages, by default the largest. ``passage`` is the passage with the
    largest logit.
    """

    candidate: Candidate
    score: float | None = None
    probability: float | None = None
    logit: float | None = None
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The window in its new order.

    ``complete`` is false if some candidates were not scored before the deadline. ``truncated`` and ``cached``
    count the passages that were cut to the model's window, or whose context was, and the passages whose
    scores came from a cache. ``left_alone``: whether the blend left the order of the first stage alone.
    ``estimated`` counts the candidates of which the model itself has read nothing.
    """

    hits: list[Reranked]
    complete: bool
    truncated: int
    cached: int
    left_alone: bool = False
    estimated: int = 0


def texts_of(candidates: Sequence[Candidate]) -> list[str]:
    """Return all texts that the reranker reads for the candidates, in order."""
    return [text for candidate in candidates for text in candidate.texts()]


def first_stage_scores(candidates: Sequence[Candidate], blend: Blend | None) -> FirstStageScores:
    """Return what a reranker may know of the window before it reads the ``texts_of`` the candidates."""
    return FirstStageScores(
        tuple(candidate.score for candidate in candidates),
        tuple(len(candidate.texts()) for candidate in candidates),
        blend,
    )


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
    *,
    blend: Blend | None = None,
    min_score: float | None = None,
    min_probability: float | None = None,
    aggregation: Aggregation = BEST_PASSAGE,
) -> Ranking:
    """Return the candidates in descending order of score. Equal scores keep the first-stage order.

    ``blend`` says which part the first stage's scores have in the score. Without it the score is the
    probability of the pair alone, as ``calibration`` says, and the order is that of the logits, which differ
    where two probabilities are rounded to the same number. Candidates without a score follow in first-stage
    order.
    Candidates whose score is below ``min_score``, or whose probability is below ``min_probability``, are left
    out; candidates without a score are kept. Raises ScoreError as ``of_documents`` does.

    Of a document of which a passage was read, its estimates count in means only, where a mean over what was
    read would be one over its best passages. A document of estimates alone has
    for probability what the estimates give, and comes after all that were read: if its score is not below the
    lowest of theirs, the scores of all such documents are lowered in log-odds by the same amount. Only in a
    window that is left alone it keeps its place.
    """
    counts = [len(candidate.texts()) for candidate in candidates]
    scores, estimated = _without_idle_estimates(scores, counts, aggregation)
    logits, best = of_documents(scores, counts, aggregation)
    done = ~np.isnan(logits)
    first_stage = [candidate.score for candidate in candidates]
    left_alone = blend is not None and is_left_alone(logits, first_stage, blend)
    if blend is not None:
        keys = calibrated(logits, first_stage, blend)
        keys = keys if left_alone else _read_first(keys, done, estimated, logistic)
    else:
        sign = np.float32(1.0 if calibration is None else np.sign(calibration.pair[0]))
        keys = _read_first(
            logits * sign, done, estimated, lambda key: logistic(pair_log_odds(key * sign, calibration))
        )
        logits = np.where(done & estimated, keys * sign, logits)
    probabilities = logistic(np.where(done, pair_log_odds(logits, calibration), 0.0))
    values = probabilities if blend is None else logistic(np.where(done, keys, 0.0))
    order = [
        *(i for i in ranked(np.where(done, keys, -np.inf)) if done[i]),
        *(i for i in range(len(candidates)) if not done[i]),
    ]
    kept = [
        i
        for i in order
        if not done[i] or (_reaches(values[i], min_score) and _reaches(probabilities[i], min_probability))
    ]
    hits = [
        _reranked(candidates[i], float(values[i]), float(probabilities[i]), float(logits[i]), best[i])
        if done[i]
        else Reranked(candidates[i])
        for i in kept
    ]
    return Ranking(
        hits,
        complete=bool(done.all()),
        truncated=int((scores.truncated | _context_cut(candidates)).sum()),
        cached=int(scores.cached.sum()),
        left_alone=left_alone,
        estimated=int((done & estimated).sum()),
    )


def _without_idle_estimates(
    scores: Scores, counts: Sequence[int], aggregation: Aggregation
) -> tuple[Scores, BoolArray]:
    """Return (scores, estimated): without the estimates that do not count, of documents of which a text was
    read, and which documents have nothing else, bool, (n_documents,).
    """
    if scores.estimated is None or len(scores.estimated) != sum(counts):
        return scores, np.zeros(len(counts), dtype=np.bool_)
    read = scores.done & ~scores.estimated
    ends = np.cumsum(counts)
    has_read = np.asarray(
        [bool(read[end - count : end].any()) for count, end in zip(counts, ends, strict=True)], dtype=np.bool_
    )
    if aggregation.kind in ("mean", "top_k_mean"):
        return scores, ~has_read
    idle = scores.estimated & np.repeat(has_read, counts)
    return replace(scores, done=scores.done & ~idle), ~has_read


def _read_first(
    keys: FloatArray, done: BoolArray, estimated: BoolArray, score: Callable[[np.float32], FloatArray]
) -> FloatArray:
    """Return what the documents are sorted by, with all estimates below all that was read.

    ``score`` gives the score that is shown for a key. Those of estimates are lower too, because Elasticsearch
    sorts by the score.
    """
    others, read = done & estimated, done & ~estimated
    if not others.any() or not read.any():
        return keys
    lowest = keys[read].min()
    moved = keys.copy()
    moved[others] = behind(keys[others], _with_lower_score(lowest, score))
    return moved


def _with_lower_score(key: np.float32, score: Callable[[np.float32], FloatArray]) -> float:
    """Return a key not far below ``key`` with a lower score in float32; ``key`` itself where none has one."""
    step = max(np.spacing(np.abs(key)), _NEAREST)
    while step < _WIDEST:
        lower = np.float32(key - step)
        if score(lower) < score(key):
            return float(lower)
        step *= 2
    return float(key)


def _context_cut(candidates: Sequence[Candidate]) -> BoolArray:
    """Return for each text whether only the beginning of its context is in it."""
    cut = [candidate.context_cut for candidate in candidates for _ in candidate.texts()]
    return np.asarray(cut, dtype=np.bool_)


def _reaches(value: np.float32, least: float | None) -> bool:
    return least is None or bool(value >= np.float32(least))


def _reranked(candidate: Candidate, score: float, probability: float, logit: float, best: int) -> Reranked:
    passage = candidate.passages[best] if candidate.passages else None
    return Reranked(candidate, score, probability, logit, passage)


def calibrated(logits: FloatArray, first_stage: Sequence[float], blend: Blend | None) -> FloatArray:
    """Return the log-odds of relevance, blended with the first stage, float32, (n,), for a model's logits.

    ``first_stage`` holds the first-stage scores, (n,). Without a blend the logits are returned unchanged. NaN
    stays NaN. In a window that is left alone (``is_left_alone``) the logits have no part.
    """
    if blend is None:
        return logits
    places = standardise(first_stage)
    if is_left_alone(logits, first_stage, blend):
        alone = blend.alone_first_stage * places + blend.alone_intercept
        return np.where(np.isnan(logits), np.float32(np.nan), alone).astype(np.float32)
    known = logits[~np.isnan(logits)].astype(np.float64)
    spread = float(known.std()) if len(known) else 0.0
    return np.asarray(
        blend.logit * logits + blend.first_stage * spread * places + blend.intercept, dtype=np.float32
    )


def is_left_alone(logits: FloatArray, first_stage: Sequence[float], blend: Blend) -> bool:
    """Return whether a window keeps the order of the first stage, because the model agrees with it too
    little.

    Only scored candidates count. A window whose agreement is not defined is not left alone.
    """
    if blend.least_agreement is None:
        return False
    found = agreement(logits, first_stage)
    return found is not None and found < blend.least_agreement


def agreement(logits: FloatArray, first_stage: Sequence[float]) -> float | None:
    """Return the Pearson correlation, -1..1, of the logits and the first-stage scores, both (n,), of the
    candidates whose logit is not NaN.

    None where it is not defined: for fewer than two of them, equal logits or scores, or a score that is not a
    finite number.
    """
    known = ~np.isnan(logits)
    model = standardise(logits[known].tolist()).astype(np.float64)
    other = standardise(np.asarray(first_stage, dtype=np.float64)[known].tolist()).astype(np.float64)
    if not model.any() or not other.any():
        return None
    return float((model * other).mean())


def first_stage_order(candidates: Sequence[Candidate]) -> Ranking:
    """Return the candidates in first-stage order, without scores of the reranker."""
    return Ranking([Reranked(candidate) for candidate in candidates], complete=False, truncated=0, cached=0)
