"""What the bench scores: queries of a collection, each with the passages that BM25 recalls for it, as a search would hand them on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...collection import read_corpus
from .first_stage import Bm25


class Candidates(NamedTuple):
    """The window of one query: its text, the ids of its documents, their texts and scores, best first by BM25."""

    query: str
    documents: list[str]
    texts: list[str]
    scores: list[float]


def windows(folder: Path, queries: Mapping[str, str], size: int) -> dict[str, Candidates]:
    """Return the ``size`` best documents for each query, by the query's id; queries that recall nothing are left out.

    ``folder`` is a collection in BEIR layout; a document's title stands before its text.
    """
    corpus = {
        document.id: f"{document.title}\n{document.text}" if document.title else document.text
        for document in read_corpus(folder)
    }
    ids, bm25 = list(corpus), Bm25(list(corpus.values()))
    found: dict[str, Candidates] = {}
    for name, query in queries.items():
        if best := bm25.best(query, size):
            documents = [ids[position] for position, _ in best]
            found[name] = Candidates(
                query, documents, [corpus[each] for each in documents], [score for _, score in best]
            )
    return found


def requests_of(found: Mapping[str, Candidates], size: int) -> Iterator[tuple[str, list[str]]]:
    """Yield full windows of ``size`` texts that share no pair of query and text: first every query's best, then every query's next."""
    deepest = max((len(each.texts) for each in found.values()), default=0)
    for start in range(0, deepest, size):
        for each in found.values():
            if len(texts := each.texts[start : start + size]) == size:
                yield each.query, texts
