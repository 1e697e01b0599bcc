"""The texts of a document that a reranker reads, and how their logits become one. Nothing of the product is
used.

Sources: Elastic's documentation of ``chunk_rescorer`` and of the chunking strategies, and the README. The
texts here are single sentences of words and spaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

_K1, _B = 1.2, 0.75
"""Lucene's parameters of BM25."""


def stored_field(fields: Sequence[str]) -> str | None:
    """Return the field of stored passages among those that a reranker reads."""
    return next((name for name in fields if "." in name), None)


@dataclass(frozen=True)
class Text:
    """What a reranker reads at once; ``shown`` is the passage in it that an answer shows, if any."""

    read: str
    shown: str | None


def texts(source: Body, content: Body, nearest: Sequence[int] | None) -> list[Text]:
    """Return the texts that a reranker with these parameters reads of a document.

    Plain fields are joined by a line feed. Each stored passage, or each chunk of the last field, has the
    plain fields before it. ``nearest`` are the numbers of the stored passages to read, None for all.
    """
    fields = as_list(content["field"])
    stored = stored_field(fields)
    if stored is None:
        *before, last = fields
        context = [source[name] for name in before]
        if "chunk_rescorer" not in content:
            return [Text("\n".join([*context, source[last]]), None)]
        chunks = _chunks(source[last], content["chunk_rescorer"], content["inference_text"])
        return [Text("\n".join([*context, chunk]), chunk) for chunk in chunks]
    path, below = stored.split(".")
    context = [source[name] for name in fields if name != stored]
    all_passages = [passage[below] for passage in source[path]]
    if content.get("aggregation") == "first":
        nearest = [0]
    chosen = all_passages if nearest is None else [all_passages[number] for number in sorted(nearest)]
    return [Text("\n".join([*context, passage]), passage) for passage in chosen]


def aggregated(logits: Sequence[float], how: Any) -> float:
    """Return the logit of a document from those of its texts."""
    if how in ("first", "max"):
        return max(logits)
    best = sorted(logits, reverse=True)
    count = len(logits) if how == "mean" else how["top_k_mean"]
    return sum(best[:count]) / len(best[:count])


def as_list(value: Any) -> list[Any]:
    """Return a list of what may be one value, several, or nothing."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _chunks(text: str, rescorer: Body, query: str) -> list[str]:
    """Return the chunks of a text that are nearest to the query."""
    words = text.split()
    settings = rescorer.get("chunking_settings", {"max_chunk_size": len(words)})
    size, overlap = settings["max_chunk_size"], settings.get("overlap", 0)
    # Two parts of a sentence that is too long never fit into one chunk, so they do not overlap.
    starts = range(0, max(1, len(words) - overlap), size - overlap)
    chunks = [words[start : start + size] for start in starts]
    scores = _bm25(query.split(), chunks)
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
