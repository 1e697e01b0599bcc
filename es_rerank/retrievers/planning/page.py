"""Builds the request for the page of hits, in the order of the ranking. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from ...types import Candidate
from ..grammar.tree import Knn, Native, Pinned, Query, Retriever, Standard
from ..grammar.values import as_list
from .documents import documents_query, scored_documents_query
from .leaves import filtered


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The request for the page, and the documents that its scores stand for.

    The request gives each document its place as the score: a hit with the score n is ``listed[len(listed) -
    n]``.
    """

    body: dict[str, Any]
    listed: tuple[Candidate, ...]

    def candidate(self, score: float | None) -> Candidate | None:
        """Return the document that a hit's score stands for, or None for a hit that is not in the window."""
        position = len(self.listed) - int(score or 0)
        return self.listed[position] if score and 0 <= position < len(self.listed) else None


def page_query(
    window: Sequence[Candidate],
    offset: int,
    size: int,
    asked: Mapping[str, Any],
    union: Sequence[Query],
    *,
    window_only: bool,
) -> PageQuery:
    """Return the request for one page of the window. ``asked`` holds the keys of the caller's body for the
    page.

    The score of each document in this request is its place in the ranking. Elasticsearch sorts by it, so it
    also collapses, post-filters and counts in the order of the ranking. ``union`` holds the queries of the
    leaves and is added with weight 0: totals, aggregations, highlights, inner hits and named queries then
    cover all documents that the leaves match. With ``window_only`` (the tree or the body has a ``min_score``)
    they cover only the window.
    """
    whole = window_only or "collapse" in asked or "post_filter" in asked
    listed = tuple(window) if whole else tuple(window[offset : offset + size])
    places = scored_documents_query(listed, range(len(listed), 0, -1))
    clauses = [places, *([{"bool": {"should": list(union), "boost": 0.0}}] if union else [])]
    query = places if len(clauses) == 1 else {"bool": {"should": clauses}}
    body = {**asked, "query": query, "size": len(listed)}
    if whole:
        body |= {"from": offset, "size": max(0, min(size, len(listed) - offset))}
    if window_only:
        body["min_score"] = 0.5
    return PageQuery(body, listed)


def union_of(
    node: Retriever, filters: Sequence[Query], first_stage: Iterator[Sequence[Candidate]]
) -> list[Query]:
    """Return the queries of all leaves, in the order of ``leaf_searches``.

    ``filters`` are the filters of the retrievers above. ``first_stage`` yields the hits of each leaf in the
    same order. The query of a kNN matches the documents that it returned, as in Elasticsearch.
    """
    if isinstance(node, Standard):
        next(first_stage)
        return [filtered(node.query, [*node.filter, *filters], node.name)]
    if isinstance(node, Knn):
        return [_named(documents_query(next(first_stage)), node.name)]
    if isinstance(node, Native):
        candidates = next(first_stage)
        all_filters = [*filters, *as_list(node.body.get("filter"))]
        queries = [
            query for child in node.children for query in union_of(child, all_filters, repeat(candidates))
        ]
        return queries or [documents_query(candidates)]
    queries = [documents_query(next(first_stage))] if isinstance(node, Pinned) else []
    for child in node.children:
        queries += union_of(child, [*filters, *node.filter], first_stage)
    return queries


def _named(query: Query, name: str | None) -> Query:
    return query if name is None else {"bool": {"filter": [query], "_name": name}}
