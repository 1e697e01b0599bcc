"""BM25 over a collection in memory, so that models are measured and fitted without Elasticsearch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..text.strategies import words_of

_K1, _B = 1.2, 0.75
"""Lucene's BM25 parameters (BM25Similarity)."""


class Bm25:
    """BM25 over texts with Lucene's formula. Words are those of ``text.strategies``, without stemming."""

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy import sparse  # noqa: PLC0415 only an extra installs it

        counts = [Counter(words_of(text)) for text in texts]
        self._numbers = {word: number for number, word in enumerate(sorted(set().union(*counts)))}
        rows = np.repeat(np.arange(len(texts)), [len(count) for count in counts])
        columns = np.fromiter((self._numbers[word] for count in counts for word in count), dtype=np.int64)
        times = np.fromiter((number for count in counts for number in count.values()), dtype=np.float64)
        lengths = np.asarray([count.total() for count in counts], dtype=np.float64)
        norms = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1.0))
        holding = np.bincount(columns, minlength=len(self._numbers))
        idf = np.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        self._weights = sparse.csc_array(
            (idf[columns] * times / (times + norms[rows]), (rows, columns)),
            shape=(len(texts), len(self._numbers)),
        )

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """Return the score of every text, float64, (n,): 0 where no word of the query is in it."""
        known = [self._numbers[word] for word in words_of(query) if word in self._numbers]
        return np.asarray(self._weights[:, known].sum(axis=1)).ravel()

    def best(self, query: str, size: int) -> list[tuple[int, float]]:
        """Return the position and the score of the ``size`` best texts, best first.

        Texts with equal scores keep their order. Texts without a common word are left out.
        """
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:size]
        return [(int(position), float(scores[position])) for position in order if scores[position] > 0]
