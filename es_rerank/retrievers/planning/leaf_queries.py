"""Builds the queries for all documents that the leaves matched, for the request of the page. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from ...types import Candidate
from ..grammar.tree import Knn, Native, Pinned, Query, Retriever, Standard
from ..grammar.values import as_list
from .document_sets import any_of, documents_query
from .documents import named_query
from .leaves import filtered, without_inner_hits


@dataclass(frozen=True, slots=True)
class LeafQueries:
    """What the leaves of a tree match.

    ``queries``: the queries of the leaves, and one for each name of a retriever. ``marks``: the query whose
    words a highlighter marks.
    """

    queries: Sequence[Query] = ()
    marks: Query = field(default_factory=lambda: {"match_none": {}})

    def beside(self, ranked: Query, *, only: bool) -> Query:
        """Return the query for ranked documents with what the leaves match beside it, at weight 0.

        With ``only`` nothing but the ranked documents matches, but names and inner hits are those of the
        leaves.
        """
        if not self.queries:
            return ranked
        unscored = {"bool": {"should": list(self.queries), "boost": 0.0}}
        if only:
            return {"bool": {"must": [ranked], "should": [unscored]}}
        return {"bool": {"should": [ranked, unscored]}}


def union_of(
    node: Retriever,
    filters: Sequence[Query],
    first_stage: Iterator[Sequence[Candidate]],
    *,
    scored: bool = False,
) -> list[Query]:
    """Return the queries of all leaves, in the order of ``leaf_searches``.

    ``filters`` are the filters of the retrievers above. ``first_stage`` yields the hits of each leaf in the
    same order. The query of a kNN matches the documents that it returned, as in Elasticsearch. With
    ``scored`` the query of a kNN that has a name gives these documents their scores.
    """
    if isinstance(node, Standard):
        next(first_stage)
        return [filtered(node.query, [*node.filter, *filters], node.name)]
    if isinstance(node, Knn):
        found = next(first_stage)
        return [documents_query(found) if node.name is None else named_query(found, node.name, scored=scored)]
    if isinstance(node, Native):
        candidates = next(first_stage)
        all_filters = [*filters, *as_list(node.body.get("filter"))]
        queries = [
            query
            for child in node.children
            for query in union_of(child, all_filters, repeat(candidates), scored=scored)
        ]
        return queries or [documents_query(candidates)]
    queries = [documents_query(next(first_stage))] if isinstance(node, Pinned) else []
    for child in node.children:
        queries += union_of(child, [*filters, *node.filter], first_stage, scored=scored)
    return queries


def marks_of(node: Retriever) -> Query:
    """Return the query whose words a highlighter marks: the queries and filters of all leaves.

    They are marked in every document, also in one that a filter keeps out of the leaf, as in Elasticsearch
    (observed on 9.5). A kNN has no words, but its filters have.
    """
    return any_of([query for query in _marking(node, ()) if query != {"match_all": {}}])


def _marking(node: Retriever, filters: Sequence[Query]) -> Iterator[Query]:
    if isinstance(node, (Standard, Knn)):
        query = [node.query] if isinstance(node, Standard) and node.query else []
        yield from (without_inner_hits(part) for part in (*query, *node.filter, *filters))
    else:
        own = as_list(node.body.get("filter") if isinstance(node, Native) else node.filter)
        for child in node.children:
            yield from _marking(child, [*filters, *own])
