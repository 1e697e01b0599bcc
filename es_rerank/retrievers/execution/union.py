"""Decides what of the leaves the request for the page needs. No I/O here."""

from __future__ import annotations

from ..grammar.request import SearchRequest
from ..grammar.tree import (
    Compound,
    Native,
    Retriever,
    Standard,
    nodes_of,
)
from ..planning.documents import named_query
from ..planning.leaf_queries import LeafQueries, marks_of, union_of
from ..planning.leaves import without_inner_hits
from ..ranking.ranked_node import RankedNode, everything, first_stage


def leaf_queries(root: RankedNode, request: SearchRequest, window: int, *, scored_names: bool) -> LeafQueries:
    """Return the queries of all leaves, and one query for each compound retriever that has a ``_name``.

    There are no queries where no part of the answer needs them. ``window`` is the number of documents in the
    window. With ``scored_names`` a named query gives its documents the scores of its retriever.
    """
    marks = marks_of(root.node)
    if not _wants_union(request, window):
        return LeafQueries((), marks)
    names = [
        named_query(ranked.window, ranked.node.name, scored=scored_names)
        for ranked in everything(root)
        if ranked.node.name is not None and isinstance(ranked.node, (Compound, Native))
    ]
    return LeafQueries(
        union_of(root.node, (), first_stage(root), scored=scored_names) + names,
        marks,
    )


def _wants_union(request: SearchRequest, window: int) -> bool:
    """Whether a part of the answer covers more documents than the page: a total, aggregations and others.

    A total needs the union unless ``track_total_hits`` is false or not larger than the window. Where nothing
    else needs it, hits do not show the names of the leaves, as in Elasticsearch.
    """
    limit = request.page.get("track_total_hits", True)
    return (
        (limit > window if isinstance(limit, int) and not isinstance(limit, bool) else limit is not False)
        or any(request.page.get(key) for key in ("aggs", "aggregations", "highlight", "profile", "explain"))
        or any(_has_inner_hits(node) for node in nodes_of(request.retriever))
    )


def _has_inner_hits(node: Retriever) -> bool:
    return isinstance(node, Standard) and without_inner_hits(node.query) != node.query
