"""What a page is asked for besides its own documents: everything that the leaves matched. Pure."""

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
    """Return the queries of all leaves, and one for each compound retriever that has a name."""
    names = [
        named_query(ranked.window, ranked.node.name)
        for ranked in everything(root)
        if ranked.node.name is not None and isinstance(ranked.node, (Compound, Native))
    ]
    return union_of(root.node, (), first_stage(root)) + names


def wants_union(request: SearchRequest, window: int) -> bool:
    """Whether anything of the answer is about more than the page's own documents.

    A total is, unless it is switched off or not to be counted beyond the window.
    """
    limit = request.page.get("track_total_hits", True)
    return (
        (limit > window if isinstance(limit, int) and not isinstance(limit, bool) else limit is not False)
        or any(request.page.get(key) for key in ("aggs", "aggregations", "highlight", "profile", "explain"))
        or _has_inner_hits(request.retriever)
    )


def _has_inner_hits(node: Retriever) -> bool:
    return any(
        isinstance(each, Standard) and without_inner_hits(each.query) != each.query for each in nodes_of(node)
    )
