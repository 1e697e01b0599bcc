"""Which of a document's own chunks are nearest to a query: BM25 among the chunks of one text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..types import Passage
from .separators import Look, go_on
from .strategies import words_of

_K1, _B = 1.2, 0.75
"""Lucene's BM25 parameters (BM25Similarity)."""


def asked(query: str, look: Look = go_on) -> Counter[str]:
    """Return the words of a query, each as often as it stands there: what ``nearest`` needs of it, for any number of texts."""
    return Counter(words_of(query, look))


def nearest(
    passages: Sequence[Passage], query: str | Counter[str], size: int, look: Look = go_on
) -> list[Passage]:
    """Return the ``size`` passages that match a query best, in document order; the earlier one where they match equally.

    A word that the query repeats counts as often. The time grows with the passages and the query together, not with one
    times the other. Raises what ``look`` raises.
    Elasticsearch does the same with an index in memory per document (MemoryIndexChunkScorer). Written here because a
    library made for corpora (bm25s, rank-bm25) builds its index in more time than these few passages take to score.
    """
    if len(passages) <= size:
        return list(passages)
    wanted = asked(query, look) if isinstance(query, str) else query
    counts, lengths, holding = [], [], Counter[str]()
    for passage in passages:
        look()
        words = words_of(passage.text, look)
        lengths.append(len(words))
        counts.append(Counter(word for word in words if word in wanted))
        holding.update(counts[-1].keys())
    average = sum(lengths) / len(lengths) or 1.0
    weights = {word: wanted[word] * _idf(number, len(passages)) for word, number in holding.items()}
    # fsum, so that equal shares in another order are an equal score.
    scores = [
        math.fsum(
            weights[word] * times / (times + _K1 * (1 - _B + _B * length / average))
            for word, times in count.items()
        )
        for count, length in zip(counts, lengths, strict=True)
    ]
    best = sorted(range(len(passages)), key=lambda i: (-scores[i], i))[:size]
    return [passages[i] for i in sorted(best)]


def _idf(holding: int, count: int) -> float:
    return math.log(1 + (count - holding + 0.5) / (holding + 0.5))
