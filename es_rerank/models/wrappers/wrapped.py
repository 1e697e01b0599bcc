"""The base class of a reranker that wraps another one, and what a wrapper asks of any reranker."""

from __future__ import annotations

from collections.abc import Sequence

from ...types import Calibration
from .. import Reranker


class WrappedReranker:
    """Has the name, the calibration and the scripts of the wrapped reranker."""

    def __init__(self, reranker: Reranker) -> None:
        self._inner = reranker

    @property
    def wrapped(self) -> Reranker:
        """The wrapped reranker."""
        return self._inner

    @property
    def name(self) -> str:
        """The name of the wrapped reranker."""
        return self._inner.name

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the wrapped reranker."""
        return self._inner.calibration

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the wrapped reranker was trained on, None if that is not known."""
        return getattr(self._inner, "scripts", None)


def expected_s(reranker: Reranker, query: str, passages: Sequence[str]) -> float:
    """Return the estimated seconds that a reranker takes one thread, 0 where it is not known."""
    estimate = getattr(reranker, "expected_s", None)
    return 0.0 if estimate is None else float(estimate(query, passages))
