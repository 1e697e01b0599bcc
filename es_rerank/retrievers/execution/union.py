"""Builds the queries for all documents that the leaves matched, for the request of the page. No I/O."""

from __future__ import annotations

from ..grammar.request import SearchRequest
from ..grammar.tree import (
    Compound,
    Native,
    Query,
    Retriever,
    Standard,
    nodes_of,
)
from ..planning.documents import named_query
from ..planning.leaves import without_inner_hits
from ..planning.page import union_of
from ..ranking.ranked_node import RankedNode, everything, first_stage


def union_for(root: RankedNode) -> list[Query]:
    """Return the queries of all leaves, and one query for each compound retriever that has a ``_name``."""
    names = [
        named_query(ranked.window, ranked.node.name)
        for ranked in everything(root)
        if ranked.node.name is not None and isinstance(ranked.node, (Compound, Native))
    ]
    return union_of(root.node, (), first_stage(root)) + names


def wants_union(request: SearchRequest, window: int) -> bool:
    """Whether a part of the answer covers more documents than the page: a total, aggregations and others.

    ``window`` is the number of documents in the window. A total needs the union unless ``track_total_hits``
    is false or not larger than the window.
    """
    limit = request.page.get("track_total_hits", True)
    return (
        (limit > window if isinstance(limit, int) and not isinstance(limit, bool) else limit is not False)
        or any(request.page.get(key) for key in ("aggs", "aggregations", "highlight", "profile", "explain"))
        or _has_inner_hits(request.retriever)
    )


def _has_inner_hits(node: Retriever) -> bool:
    return any(
        isinstance(below, Standard) and without_inner_hits(below.query) != below.query
        for below in nodes_of(node)
    )
