"""Reads the texts of a window a few at a time, until its best documents are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...scores import standardise
from ...types import FirstStageScores, FloatArray
from ..stand_in import best_of_each

STEP = 4
"""How many texts are read at a time, at least. The number of threads does not change it, so that every
machine reads the same texts."""

MOST_STEPS = 100
"""A window is read in about so many steps at most: each step looks at all texts, so that more steps than that
would take a time that grows with the square of the window."""


class CertainPage:
    """Says which texts a model must read before the best ``depth`` documents of a window are known.

    ``expected``: for each text the logit to expect of the model, float32, (n_texts,). ``margin``, in logits:
    the model's own is at most so much above. The order is that of the search: by logit, or with
    ``first_stage.blend`` by the blended log-odds. The best text counts for its document.

    Texts are read in the order of what is expected of them. A text that is not read can be left out when even
    its expected logit and the margin together would put its document behind the ``depth`` best documents that
    have been read. So where no logit is more than the margin above expectation, these documents are the best
    of the whole window, in their order. Whether the window is left alone (``Blend.least_agreement``) has no
    part in this: its order is that of the first stage, whatever is read.
    """

    def __init__(
        self, expected: FloatArray, margin: float, first_stage: FirstStageScores, depth: int
    ) -> None:
        self._expected, self._margin, self._first_stage = expected, margin, first_stage
        self._step = max(STEP, len(expected) // MOST_STEPS)
        self._depth = min(depth, len(first_stage.counts))
        self._places = standardise(first_stage.scores).astype(np.float64)
        self._owner = np.repeat(np.arange(len(first_stage.counts)), first_stage.counts)
        self._logits = np.full(len(expected), -np.inf, dtype=np.float32)
        self._read = np.zeros(len(expected), dtype=np.bool_)

    def next(self, number: int | None = None) -> list[int]:
        """Return the positions of the texts to read now, ascending; empty when the documents are known.

        ``number``: how many texts at most, None for as many as the page still lacks, and at least
        ``STEP`` or a hundredth of the window.
        """
        if not self._depth:
            return []
        by_text, margin = self._log_odds(self._expected, self._owner), self._margin * abs(self._factor)
        known = np.sort(self._log_odds(self._best_read(), np.arange(len(self._places)))[self._documents()])
        wanted = self._depth - len(known)
        still = ~self._read
        if wanted <= 0:
            still &= by_text + margin >= known[-self._depth]
        order = np.flatnonzero(still)
        order = order[np.argsort(-by_text[order], kind="stable")]
        return sorted(order[: max(self._step, wanted) if number is None else number].tolist())

    def tell(self, positions: Sequence[int], logits: FloatArray) -> None:
        """Take the model's logits of the texts at ``positions``."""
        self._logits[list(positions)] = logits
        self._read[list(positions)] = True

    @property
    def _factor(self) -> float:
        return 1.0 if self._first_stage.blend is None else self._first_stage.blend.logit

    def _best_read(self) -> FloatArray:
        """Return the largest logit of each document, of what was read; minus infinity where nothing was."""
        return best_of_each(self._logits, self._first_stage)

    def _documents(self) -> npt.NDArray[np.bool_]:
        """Return the documents of which a text was read."""
        return np.isfinite(self._best_read())

    def _log_odds(self, logits: FloatArray, owner: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return what texts of the documents ``owner`` are ordered by, given their logits, without the
        intercept.

        The spread of the window is that of the logits that were read, and of the expected ones of the other
        documents: that is what the search will find (``retrievers.ranking.rerank``).
        """
        blend = self._first_stage.blend
        if blend is None:
            return logits.astype(np.float64)
        best = np.where(self._documents(), self._best_read(), best_of_each(self._expected, self._first_stage))
        spread = float(best.astype(np.float64).std())
        known = np.where(np.isfinite(logits), logits, 0.0).astype(np.float64)
        return blend.logit * known + blend.first_stage * spread * self._places[owner]
