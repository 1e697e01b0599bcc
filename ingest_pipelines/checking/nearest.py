"""Exact nearest documents, over vectors that come page by page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from es_rerank.types import FloatArray

from .stored import StoredPage

NEIGHBOURS = 10

_EQUAL = 1e-5
"""A found document whose similarity is below that of the tenth nearest by no more than this counts as near:
Elasticsearch's sums and NumPy's differ by less, and equal documents have any order."""


class NearestDocuments:
    """The 10 nearest documents of each query, by their best passage, and the similarity of those found.

    ``queries``: float32, (queries, dims), length 1. ``found``: for each query the ids that a search found,
    best first. The memory does not depend on the number of pages.
    """

    def __init__(self, queries: FloatArray, found: Sequence[Sequence[str]]) -> None:
        self._queries = queries
        self._found = [list(ids[:NEIGHBOURS]) for ids in found]
        self._finders: dict[str, list[int]] = {}
        for query, ids in enumerate(self._found):
            for name in ids:
                self._finders.setdefault(name, []).append(query)
        self._best: FloatArray = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        self._similarities: dict[tuple[int, str], float] = {}

    def add(self, page: StoredPage) -> None:
        """Compare the queries with the vectors of some documents."""
        if not page.owners:
            return
        owners = np.asarray(page.owners)
        firsts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
        best = np.maximum.reduceat(self._queries @ page.vectors.T, firsts, axis=1)
        for column, place in enumerate(owners[firsts]):
            name = page.ids[place]
            for query in self._finders.get(name, ()):
                self._similarities[query, name] = float(best[query, column])
        self._best = np.sort(np.concatenate([self._best, best], axis=1), axis=1)[:, -NEIGHBOURS:]

    def recall(self) -> float | None:
        """Return the share of the nearest documents that were found, mean over the queries; None without
        queries or vectors.
        """
        if not self._best.size:
            return None
        shares = [
            sum(self._similarities.get((query, name), -np.inf) >= best[0] - _EQUAL for name in ids)
            / len(best)
            for query, (ids, best) in enumerate(zip(self._found, self._best, strict=True))
        ]
        return float(np.mean(shares))
