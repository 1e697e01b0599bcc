"""Answers of rerank services: bounded before they are read, checked before use; error bodies become a reason
in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import numpy as np

from ...bounded_answers import is_cut
from ...defaults import MAX_DEPTH
from ...errors import RemoteScoreError
from ...off_loop import LARGE_CHARACTERS, off_loop_if
from ...types import FloatArray, Scale
from .secrets import without_secrets

_BOUNDS: dict[Scale, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "logit": (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
}

_LONGEST_REASON = 500
"""Most characters of an error body that a message repeats: a gateway may answer with a whole HTML page."""

_LONGEST_VALUE = 100
"""Most characters that a message repeats of an index or a score."""

FEW_BYTES = 65_536
"""Most bytes that an answer has besides its rows; an answer about a service has no more either."""

BYTES_OF_ROW = 1_024
"""Most bytes of a row without its text: SGLang's rows have some 400 of ``meta_info``."""

_BYTES_OF_BYTE = 6
"""Most bytes of JSON that a byte of UTF-8 becomes, as ``\\u0000``: some services return the texts."""

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

    Raises RemoteScoreError unless every index from 0 to ``count`` - 1 is there exactly once, with a number
    within the range of ``scale``. ``remedy`` ends the message on a finite number out of that range.
    """
    low, high = _BOUNDS[scale]
    values: dict[int, float] = {}
    for index, score in rows:
        if type(index) is not int or not 0 <= index < count:
            raise RemoteScoreError(
                f"{service} gave a score for passage {_shown(index)} where {count} were sent; this is not a "
                "usable rerank service, check its address",
                service=service,
            )
        if index in values:
            raise RemoteScoreError(
                f"{service} gave two scores for passage {index}; this is not a usable rerank service, "
                "check its address",
                service=service,
            )
        # The comparison is false also for NaN, infinity, and integers too large for a float.
        if not isinstance(score, (int, float)) or isinstance(score, bool) or not low <= score <= high:
            least, most = _BOUNDS["logit"]
            finite = (
                isinstance(score, (int, float)) and not isinstance(score, bool) and least <= score <= most
            )
            raise RemoteScoreError(
                f"{service} gave passage {index} the score {_shown(score)}, which is not a finite "
                f"number{_range(scale)}; {remedy if finite else 'its model is broken'}",
                service=service,
            )
        values[index] = score
    if len(values) < count:
        missing = next(index for index in range(count) if index not in values)
        raise RemoteScoreError(
            f"{service} gave {len(values)} scores for {count} passages, none for passage {missing}; this is "
            "not a usable rerank service, check its address",
            service=service,
        )
    return np.asarray([values[index] for index in range(count)], dtype=np.float32)


def reason(body: object, secrets: Iterable[str] = ()) -> str:
    """Return the reason that an error body gives, in at most 500 characters; the whole body when its shape is
    unknown. ``secrets`` are masked in it, see ``secrets``.
    """
    while (
        isinstance(body, Mapping)
        and (inner := next((body[key] for key in _REASON_KEYS if body.get(key)), None)) is not None
    ):
        body = inner
    text = without_secrets(str(body), secrets).strip() or "without a reason"
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def most_bytes(query: str, texts: Sequence[str]) -> int:
    """Return how many bytes an answer may have: the scores of ``texts``, and the texts themselves."""
    sent = len(query.encode()) + sum(len(text.encode()) for text in texts)
    return FEW_BYTES + BYTES_OF_ROW * len(texts) + _BYTES_OF_BYTE * sent


async def json_of(response: httpx.Response) -> object:
    """Return the body as JSON; None when it is not JSON, was cut, or has over ``MAX_DEPTH`` levels.

    What is large is parsed in a thread of its own.
    """
    content = response.content
    return await off_loop_if(len(content) > LARGE_CHARACTERS, _parsed, content)


def said_in(response: httpx.Response, parsed: object) -> object:
    """Return what an answer without scores says: its JSON, else its text."""
    if is_cut(response):
        return f"over {len(response.content):,} bytes, which begin: {response.text}"  # ``reason`` cuts it
    return response.text if parsed is None else parsed


def _parsed(content: bytes) -> object:
    try:
        value = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    return None if _is_deep(value) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # In Python, and not dict itself: a call of C alone would hold the interpreter for the whole body.
    return dict(pairs)


def _is_deep(value: Any) -> bool:  # noqa: ANN401 any JSON value
    """Whether a value has over ``MAX_DEPTH`` levels: what is not deeper can be shown in a message."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            below
            for part in level
            if isinstance(part, (dict, list))
            for below in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _range(scale: Scale) -> str:
    return " from 0 to 1" if scale == "probability" else " in float32"
