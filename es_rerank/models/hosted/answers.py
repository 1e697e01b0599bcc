"""Answers of rerank services: scores are checked before use, and error bodies become a reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import ScoreError
from ...types import FloatArray, Scale

_BOUNDS: dict[Scale, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "logit": (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
}

_LONGEST_REASON = 500
"""Most characters of an error body that a message repeats: a gateway may answer with a whole HTML page."""

_REASON_KEYS = ("message", "error", "reason", "detail")
"""Keys under which services put the reason of an error: Cohere, TEI, Elasticsearch, FastAPI."""


class Answer(NamedTuple):
    """The scores of the texts of one request, float32, (n,), and the positions of the texts that the service
    says it truncated.
    """

    values: FloatArray
    truncated: Sequence[int] = ()


def values_by_index(
    rows: Iterable[tuple[object, object]],
    count: int,
    scale: Scale,
    service: str,
    remedy: str = "its model is broken",
) -> FloatArray:
    """Return the scores in the order of the texts, float32, (count,); ``rows`` are (index, score) in any
    order.

    Raises ScoreError unless every index from 0 to ``count`` - 1 is there exactly once, with a number within
    the range of ``scale``. ``remedy`` ends the message on a finite number out of that range.
    """
    low, high = _BOUNDS[scale]
    values: dict[int, float] = {}
    for index, score in rows:
        if type(index) is not int or not 0 <= index < count:
            raise ScoreError(
                f"{service} gave a score for passage {index!r} where {count} were sent; this is not a "
                "usable rerank service, check its address"
            )
        if index in values:
            raise ScoreError(
                f"{service} gave two scores for passage {index}; this is not a usable rerank service, "
                "check its address"
            )
        # The comparison is false also for NaN, infinity, and integers too large for a float.
        if not isinstance(score, (int, float)) or isinstance(score, bool) or not low <= score <= high:
            least, most = _BOUNDS["logit"]
            finite = (
                isinstance(score, (int, float)) and not isinstance(score, bool) and least <= score <= most
            )
            raise ScoreError(
                f"{service} gave passage {index} the score {score!r}, which is not a finite "
                f"number{_range(scale)}; {remedy if finite else 'its model is broken'}"
            )
        values[index] = score
    if len(values) < count:
        missing = next(index for index in range(count) if index not in values)
        raise ScoreError(
            f"{service} gave {len(values)} scores for {count} passages, none for passage {missing}; this is "
            "not a usable rerank service, check its address"
        )
    return np.asarray([values[index] for index in range(count)], dtype=np.float32)


def reason(body: object) -> str:
    """Return the reason that an error body gives, in at most 500 characters; the whole body when its shape is
    unknown.
    """
    while (
        isinstance(body, Mapping)
        and (inner := next((body[key] for key in _REASON_KEYS if body.get(key)), None)) is not None
    ):
        body = inner
    text = str(body).strip() or "without a reason"
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def _range(scale: Scale) -> str:
    return " from 0 to 1" if scale == "probability" else " in float32"
