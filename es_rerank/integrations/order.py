"""Turns a reranker's scores into what the frameworks need: the best passages first, with probabilities."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from ..errors import DeadlineError, ScoreError
from ..models import Reranker
from ..models.scripts import script_warning
from ..scores import as_logits, logistic, pair_log_odds, ranked
from ..types import Calibration, Scores

DEFAULT_TOP_N = 5
"""Default number of documents to keep: about what fits into a prompt."""


class PartialAnswerWarning(UserWarning):
    """An answer is there but incomplete: not everything was searched, reranked or read.

    ``warnings.simplefilter("error", PartialAnswerWarning)`` makes it an error.
    """


def warn_partial(reason: str) -> None:
    """Issue a PartialAnswerWarning. Python shows it once for each reason, unless filters say otherwise."""
    warnings.warn(reason, PartialAnswerWarning, stacklevel=3)


def warn_unread(reranker: Reranker, query: str, texts: Sequence[str]) -> None:
    """Issue a UserWarning when the reranker was not trained on the script of the query or of some texts."""
    if said := script_warning(reranker, query, texts):
        warnings.warn(said, UserWarning, stacklevel=3)


def deadline_after(timeout_s: float | None) -> float | None:
    """Return the deadline ``timeout_s`` seconds from now, as a moment of ``time.monotonic()``.

    Returns None, no deadline, if ``timeout_s`` is None.
    """
    return None if timeout_s is None else time.monotonic() + timeout_s


def best_first(
    scores: Scores,
    passages: int,
    top_n: int | None,
    min_score: float | None,
    calibration: Calibration | None,
) -> list[tuple[int, float]]:
    """Return (position, probability 0..1) of the passages to keep, in descending order of logit.

    Passages with equal logits keep their order. Passages with a probability below ``min_score`` are left out.
    Of the others at most ``top_n`` are kept (None: all). ``calibration`` is that of the reranker.
    ``passages`` is the number of passages that were to be scored. Raises ScoreError when there is not one
    finite score per passage, DeadlineError when some passages were not scored before the deadline. Issues a
    PartialAnswerWarning when passages were cut to the model's window.
    """
    if len(scores) != passages:
        raise ScoreError(
            f"the reranker returned {len(scores)} scores for {passages} passages; "
            "a reranker must return one score per passage"
        )
    if not scores.done.all():
        raise DeadlineError(
            f"the deadline passed when {int(scores.done.sum())} of {passages} passages were scored; "
            "send fewer passages or allow more time (timeout_s)"
        )
    if scores.truncated.any():
        warn_partial(
            f"the reranker read only the beginning of {int(scores.truncated.sum())} of {passages} texts"
        )
    logits = as_logits(scores)
    probabilities: list[float] = logistic(pair_log_odds(logits, calibration)).tolist()
    kept = [
        (i, probabilities[i]) for i in ranked(logits) if min_score is None or probabilities[i] >= min_score
    ]
    return kept[:top_n]
