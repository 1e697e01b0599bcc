"""The pairs that the bench scores: queries of a collection, each with the passages that BM25 finds for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...collection import read_corpus
from ..bm25 import Bm25


class Candidates(NamedTuple):
    """The candidates of one query: the query's text, and its documents' ids, texts and BM25 scores, best
    first.
    """

    query: str
    documents: list[str]
    texts: list[str]
    scores: list[float]


def windows(folder: Path, queries: Mapping[str, str], size: int) -> dict[str, Candidates]:
    """Return the ``size`` best documents for each query, by query id. Queries without a match are left out.

    ``folder`` is a collection in BEIR layout. The title of a document stands before its text.
    """
    corpus = {
        document.id: f"{document.title}\n{document.text}" if document.title else document.text
        for document in read_corpus(folder)
    }
    ids, bm25 = list(corpus), Bm25(list(corpus.values()))
    by_query: dict[str, Candidates] = {}
    for name, query in queries.items():
        if best := bm25.best(query, size):
            documents = [ids[position] for position, _ in best]
            by_query[name] = Candidates(
                query, documents, [corpus[document] for document in documents], [score for _, score in best]
            )
    return by_query


def requests_of(by_query: Mapping[str, Candidates], size: int) -> Iterator[tuple[str, list[str]]]:
    """Yield windows of exactly ``size`` texts; no pair of query and text occurs twice.

    First comes the best window of every query, then the next window of every query, and so on.
    """
    deepest = max((len(candidates.texts) for candidates in by_query.values()), default=0)
    for start in range(0, deepest, size):
        for candidates in by_query.values():
            if len(texts := candidates.texts[start : start + size]) == size:
                yield candidates.query, texts
