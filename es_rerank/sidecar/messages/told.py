"""The headers that tell what became of a request for scores or vectors: the model, which texts were cut, and
which keys had no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from ...defaults import MOST_POSITIONS
from ...types import BoolArray

_MOST_NAMED = 1_000
"""Most characters of the names of ignored keys in a header."""

_MOST_OF_A_NAME = 100


def told(model: str, cut: BoolArray, ignored: Sequence[str]) -> dict[str, str]:
    """Return the headers. ``cut``: of which texts the model did not read the end. ``ignored``: keys of the
    request that had no effect.
    """
    places = np.flatnonzero(cut)
    headers = {"x-rerank-model": quote(model, safe="/:.-_@+ ()"), "x-rerank-truncated": str(len(places))}
    if 0 < len(places) <= MOST_POSITIONS:
        headers["x-rerank-truncated-at"] = ",".join(map(str, places))
    if ignored:
        names = ",".join(quote(name[:_MOST_OF_A_NAME], safe="") for name in ignored)
        headers["x-rerank-ignored"] = names if len(names) <= _MOST_NAMED else names[:_MOST_NAMED] + ",..."
    return headers


def other_model(wanted: str, answers: str) -> str:
    """Return the sentence for a caller whose model is not served, and who is answered by the default one."""
    shown = wanted if len(wanted) <= _MOST_OF_A_NAME else wanted[:_MOST_OF_A_NAME] + "…"
    return f"the model [{shown}] is not served here; [{answers}] answered"
