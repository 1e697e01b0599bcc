"""Which of a document's own chunks are nearest to a query: BM25 among the chunks of one text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..types import Passage
from .strategies import words_of

_K1, _B = 1.2, 0.75
"""Lucene's BM25 parameters (BM25Similarity)."""


def nearest(passages: Sequence[Passage], query: str, size: int) -> list[Passage]:
    """Return the ``size`` passages that match a query best, in document order; the earlier one where they match equally.

    A word that the query repeats counts as often.
    Elasticsearch does the same with an index in memory per document (MemoryIndexChunkScorer). Written here because a
    library made for corpora (bm25s, rank-bm25) builds its index in more time than these few passages take to score.
    """
    if len(passages) <= size:
        return list(passages)
    counts = [Counter(words_of(passage.text)) for passage in passages]
    lengths = [sum(count.values()) for count in counts]
    average = sum(lengths) / len(lengths)
    weights = {word: times * _idf(sum(word in count for count in counts), len(counts)) for word, times in Counter(words_of(query)).items()}
    # fsum, so that equal shares in another order are an equal score.
    scores = [
        math.fsum(weight * count[word] / (count[word] + _K1 * (1 - _B + _B * length / average)) for word, weight in weights.items() if word in count)
        for count, length in zip(counts, lengths, strict=True)
    ]
    best = sorted(range(len(passages)), key=lambda i: (-scores[i], i))[:size]
    return [passages[i] for i in sorted(best)]


def _idf(holding: int, count: int) -> float:
    return math.log(1 + (count - holding + 0.5) / (holding + 0.5))
