"""What rerankers over another reranker have in common."""

from __future__ import annotations

from ...types import Calibration
from .. import Reranker


class WrappedReranker:
    """Goes under the name and the calibration of the reranker below."""

    def __init__(self, reranker: Reranker) -> None:
        self._inner = reranker

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._inner.name

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the model."""
        return self._inner.calibration
