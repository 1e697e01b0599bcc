"""Selects the chunks of one text that match a query best, with BM25 computed among these chunks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..types import Passage
from .separators import Checkpoint, never_stop
from .strategies import words_of

_K1, _B = 1.2, 0.75
"""The default parameters of BM25 in Lucene and Elasticsearch."""


def query_words(query: str, checkpoint: Checkpoint = never_stop) -> Counter[str]:
    """Return the words of a query with their counts. ``nearest`` takes them in place of the query.

    Call it once for a query that is compared with many texts. Raises what ``checkpoint`` raises.
    """
    return Counter(words_of(query, checkpoint))


def nearest(
    passages: Sequence[Passage], query: str | Counter[str], size: int, checkpoint: Checkpoint = never_stop
) -> list[Passage]:
    """Return the ``size`` passages that match a query best, in document order.

    Of passages with equal scores the earlier one wins. A word that stands twice in the query counts twice.
    The time grows with the length of the passages plus the length of the query, not with their product.
    Raises what ``checkpoint`` raises.

    Elasticsearch's ``chunk_rescorer`` also scores the chunks of each document with BM25 (observed on
    Elasticsearch 9.5). This function does not use a library for corpora (bm25s, rank-bm25): building its
    index takes longer than scoring these few passages.
    """
    if len(passages) <= size:
        return list(passages)
    wanted = query_words(query, checkpoint) if isinstance(query, str) else query
    counts, lengths, passages_with = [], [], Counter[str]()
    for passage in passages:
        checkpoint()
        words = words_of(passage.text, checkpoint)
        lengths.append(len(words))
        counts.append(Counter(word for word in words if word in wanted))
        passages_with.update(counts[-1].keys())
    average = sum(lengths) / len(lengths) or 1.0
    weights = {word: wanted[word] * _idf(number, len(passages)) for word, number in passages_with.items()}
    # math.fsum: the order of the words does not change the sum, so equal passages have equal scores.
    scores = [
        math.fsum(
            weights[word] * times / (times + _K1 * (1 - _B + _B * length / average))
            for word, times in count.items()
        )
        for count, length in zip(counts, lengths, strict=True)
    ]
    best = sorted(range(len(passages)), key=lambda i: (-scores[i], i))[:size]
    return [passages[i] for i in sorted(best)]


def _idf(passages_with: int, passages: int) -> float:
    return math.log(1 + (passages - passages_with + 0.5) / (passages_with + 0.5))
