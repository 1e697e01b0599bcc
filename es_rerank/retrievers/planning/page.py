"""The request for the page of a window, in the order that was found. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from ...types import Candidate
from ..grammar.tree import Knn, Native, Pinned, Query, Retriever, Standard
from ..grammar.values import as_list
from .documents import only, scored
from .leaves import filtered


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The request for the page and how its scores name the hits: a score of n is ``listed[len(listed) - n]``."""

    body: dict[str, Any]
    listed: tuple[Candidate, ...]

    def candidate(self, score: float | None) -> Candidate | None:
        """Return the document that a hit of the page is; None for one that is not of the window."""
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
    """Return the request for one page of a window, with what the caller asked of it.

    Elasticsearch sorts by scores that are the places in our order, so that everything that it does with a page
    (collapsing, post-filtering, counting) it does in that order. The leaves' queries (``union``) stand beside with no
    weight: totals, aggregations, highlights, inner hits and named queries are those of all that the leaves match, or,
    with ``window_only`` (a min_score somewhere), of the window.
    """
    whole = window_only or "collapse" in asked or "post_filter" in asked
    listed = tuple(window) if whole else tuple(window[offset : offset + size])
    places = scored(listed, range(len(listed), 0, -1))
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
    """Return the queries of all leaves, in the order of ``leaf_searches``, whose hits ``first_stage`` yields in step.

    A kNN stands for the documents that it found, as in Elasticsearch.
    """
    if isinstance(node, Standard):
        next(first_stage)
        return [filtered(node.query, [*node.filter, *filters], node.name)]
    if isinstance(node, Knn):
        return [_named(only(next(first_stage)), node.name)]
    if isinstance(node, Native):
        found = next(first_stage)
        every = [*filters, *as_list(node.body.get("filter"))]
        return [query for child in node.children for query in union_of(child, every, repeat(found))] or [
            only(found)
        ]
    pins = [only(next(first_stage))] if isinstance(node, Pinned) else []
    return [
        *pins,
        *(
            query
            for child in node.children
            for query in union_of(child, [*filters, *node.filter], first_stage)
        ),
    ]


def _named(query: Query, name: str | None) -> Query:
    return query if name is None else {"bool": {"filter": [query], "_name": name}}
