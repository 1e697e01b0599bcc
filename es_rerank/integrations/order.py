"""What every framework asks of a reranker's scores: all of them there, best first, as probabilities. Pure."""

from __future__ import annotations

import time

from ..errors import DeadlineError, ScoreError
from ..scores import as_logits, logistic, ranked
from ..types import Scores

DEFAULT_TOP_N = 5
"""How many documents are kept where the caller says nothing: what fits a prompt."""


def deadline_after(timeout_s: float | None) -> float | None:
    """Return the moment of ``time.monotonic()`` that is ``timeout_s`` seconds from now; None for no deadline."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def best_first(
    scores: Scores, passages: int, top_n: int | None, min_score: float | None
) -> list[tuple[int, float]]:
    """Return (position, probability 0..1) of the passages to keep, in descending order of logit; ties keep their order.

    ``min_score`` is a probability and leaves out what is below it; ``top_n`` bounds the rest, None keeps all. Raises
    ScoreError when there is not one finite score per passage, DeadlineError when some were not scored in time.
    """
    if len(scores) != passages:
        raise ScoreError(
            f"the reranker returned {len(scores)} scores for {passages} passages; a reranker must return one score per passage"
        )
    if not scores.done.all():
        raise DeadlineError(
            f"the deadline came when {int(scores.done.sum())} of {passages} passages were scored; send fewer or allow more time (timeout_s)"
        )
    logits = as_logits(scores)
    probabilities: list[float] = logistic(logits).tolist()
    kept = [
        (i, probabilities[i]) for i in ranked(logits) if min_score is None or probabilities[i] >= min_score
    ]
    return kept[:top_n]
