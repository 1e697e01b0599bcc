"""The texts of a document that a reranker reads, and how their logits become one. Nothing of the product is
used.

Sources: Elastic's documentation of ``chunk_rescorer`` and of the chunking strategies, and the README. The
texts here are single sentences of words and spaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Body = dict[str, Any]

_K1, _B = 1.2, 0.75
"""Lucene's parameters of BM25."""


def stored_field(fields: Sequence[str]) -> str | None:
    """Return the field of stored passages among those that a reranker reads."""
    return next((name for name in fields if "." in name), None)


def texts(source: Body, content: Body, nearest: Sequence[int] | None) -> list[str]:
    """Return the texts that a reranker with these parameters reads of a document.

    Plain fields are joined by a line feed. Each stored passage, or each chunk of the last field, has the
    plain fields before it. ``nearest`` are the numbers of the stored passages to read, None for all.
    """
    fields = as_list(content["field"])
    stored = stored_field(fields)
    if stored is None:
        *before, last = fields
        context = [source[name] for name in before]
        return ["\n".join([*context, chunk]) for chunk in _chunks(source[last], content)]
    path, below = stored.split(".")
    context = [source[name] for name in fields if name != stored]
    all_passages = [passage[below] for passage in source[path]]
    chosen = all_passages if nearest is None else [all_passages[number] for number in sorted(nearest)]
    return ["\n".join([*context, passage]) for passage in chosen]


def aggregated(logits: Sequence[float], how: Any) -> float:
    """Return the logit of a document from those of its texts."""
    if how == "first":
        return logits[0]
    if how == "max":
        return max(logits)
    best = sorted(logits, reverse=True)
    count = len(logits) if how == "mean" else how["top_k_mean"]
    return sum(best[:count]) / len(best[:count])


def as_list(value: Any) -> list[Any]:
    """Return a list of what may be one value, several, or nothing."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _chunks(text: str, content: Body) -> list[str]:
    """Return the chunks of a text that are nearest to the query, or the whole text."""
    rescorer = content.get("chunk_rescorer")
    if rescorer is None:
        return [text]
    words = text.split()
    settings = rescorer.get("chunking_settings", {"max_chunk_size": len(words)})
    size, overlap = settings["max_chunk_size"], settings.get("overlap", 0)
    # Two parts of a sentence that is too long never fit into one chunk, so they do not overlap.
    starts = range(0, max(1, len(words) - overlap), size - overlap)
    chunks = [words[start : start + size] for start in starts]
    scores = _bm25(content["inference_text"].split(), chunks)
    best = sorted(range(len(chunks)), key=lambda number: (-scores[number], number))
    return [" ".join(chunks[number]) for number in sorted(best[: rescorer.get("size", 1)])]


def _bm25(query: Sequence[str], chunks: Sequence[Sequence[str]]) -> list[float]:
    """Return the score of each chunk, when these chunks are the whole collection."""
    average = sum(map(len, chunks)) / len(chunks)
    scores = []
    for chunk in chunks:
        shares = []
        for word in query:
            holding = sum(word in other for other in chunks)
            times = chunk.count(word)
            weight = math.log(1 + (len(chunks) - holding + 0.5) / (holding + 0.5))
            shares.append(weight * times / (times + _K1 * (1 - _B + _B * len(chunk) / average)))
        scores.append(math.fsum(shares))
    return scores
