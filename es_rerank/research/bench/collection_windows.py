"""A collection of the bench: the pairs that are timed, and nDCG@10 of the orders that scores give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...errors import SettingsError
from ...retrievers.ranking.rerank import calibrated
from ...scores import ranked
from ...types import Blend
from .engine import TIMED_CANDIDATES
from .windows import Candidates
from .workers import Lists, ScoreArray

Judge = Callable[[Mapping[str, Sequence[str]]], float]
"""A function from document ids, best first, by query id, to mean nDCG@10 over these queries."""


class CollectionWindows:
    """A collection's queries with their BM25 windows.

    ``by_query`` has the candidates of all queries, by query id. The queries ``judged_ids`` have judgements,
    and their best ``window`` candidates are reranked for nDCG@10, which ``judge`` computes; without ids,
    nDCG@10 is not measured.
    """

    def __init__(
        self,
        name: str,
        split: str,
        by_query: Mapping[str, Candidates],
        judged_ids: Sequence[str],
        *,
        window: int,
        judge: Judge,
    ) -> None:
        self.name, self.split, self.window = name, split, window
        self._by_query, self._judged_ids, self._judge = by_query, judged_ids, judge

    @property
    def every(self) -> list[Candidates]:
        """The candidates of all queries that have any, in the order of ``by_query``."""
        return list(self._by_query.values())

    @property
    def judged_candidates(self) -> dict[str, Candidates]:
        """The candidates of the judged queries that have any, by query id."""
        return {name: self._by_query[name] for name in self._judged_ids if name in self._by_query}

    @property
    def judged(self) -> list[tuple[str, list[str]]]:
        """The queries and passages that are reranked for nDCG@10; empty when it is not measured."""
        return [(asked.query, asked.texts[: self.window]) for asked in self.judged_candidates.values()]

    @property
    def queries(self) -> int:
        """Number of queries over which nDCG@10 is the mean; 0 when nothing is reranked."""
        return len(self._judged_ids) if self.judged_candidates else 0

    def texts(self) -> int:
        """Return the number of texts in ``judged``."""
        return sum(len(texts) for _, texts in self.judged)

    def ndcg(self, scores: ScoreArray | None = None, blend: Blend | None = None) -> float | None:
        """Return mean nDCG@10 of the windows ordered by ``scores``, one for each text of ``judged``; without
        scores, of the first stage. None when nDCG@10 is not measured.

        With ``blend`` they are ordered as a search orders them, by the model's scores together with the
        first stage's.
        """
        if not self._judged_ids:
            return None
        orders: dict[str, list[str]] = {name: [] for name in self._judged_ids}
        start = 0
        for name, candidates in self.judged_candidates.items():
            documents = candidates.documents[: self.window]
            order: Sequence[int] = range(len(documents))
            if scores is not None:
                logits = scores[start : start + len(documents)].astype(np.float32)
                order = ranked(calibrated(logits, candidates.scores[: self.window], blend))
            reranked = [documents[position] for position in order]
            orders[name] = reranked + candidates.documents[self.window :]
            start += len(documents)
        return round(self._judge(orders), 4)


def timed_lists(candidates: Sequence[Candidates], pairs: int) -> Lists:
    """Return exactly ``pairs`` pairs: query by query, each with its best passages.

    Raises SettingsError when there are fewer.
    """
    lists: list[tuple[str, list[str]]] = []
    left = pairs
    for asked in candidates:
        texts = asked.texts[: min(TIMED_CANDIDATES, left)]
        lists.append((asked.query, texts))
        left -= len(texts)
        if not left:
            return lists
    raise SettingsError(
        f"--pairs {pairs} is more than the {pairs - left} pairs that the collection gives; choose fewer, or "
        "a larger collection with --data"
    )
