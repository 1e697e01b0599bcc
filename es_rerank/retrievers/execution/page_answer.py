"""The steps that fetch the page of hits and what Elasticsearch computes over the ranking. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import Candidate
from ..grammar.request import SearchRequest
from ..grammar.tree import Compound
from ..planning.groups import GroupsQuery
from ..planning.page import PageQuery, page_query
from ..planning.scored_documents import check_score
from ..ranking.ranked_node import RankedNode, everything, has_minimum
from ..response.computed import (
    group_values,
    inner_hits_by_group,
    values_of_members,
    with_aggregations,
    with_groups,
)
from .commands import Context, MakeRequest, Steps
from .union import leaf_queries


def page_requests(
    root: RankedNode, window: Sequence[Candidate], request: SearchRequest, context: Context
) -> PageQuery:
    """Return the requests for the page of ``window``.

    Raises InvalidSearchError for a score that ``check_score`` refuses.
    """
    context.stats.window = root.node.window if isinstance(root.node, Compound) else len(window)
    for ranked in everything(root):
        for candidate in ranked.window if isinstance(ranked.node, Compound) else ():
            check_score(candidate.score)
    window_only = request.min_score is not None or has_minimum(root)
    scored = context.parameters.get("include_named_queries_score") in ("true", "")
    leaves = leaf_queries(root, request, len(window), scored_names=scored)
    size = len(window) if request.size is None else request.size
    return page_query(window, request.offset, size, request.page, leaves, window_only=window_only)


def fetched_page(page: PageQuery, window: Sequence[Candidate], ask: MakeRequest) -> Steps[dict[str, Any]]:
    """Send the requests of a page and return their answers as one. ``window`` holds the ranked documents."""
    fetched: dict[str, Any] = yield ask("page", page.body)
    if page.groups is not None and fetched["hits"]["hits"]:
        field = page.groups.field
        found = yield from _inner_hits(page.groups, group_values(fetched, field), ask)
        fetched = with_groups(fetched, found, field)
    if page.aggregations is not None:
        fetched = with_aggregations(fetched, (yield ask("aggregations", page.aggregations)), window)
    return fetched


def _inner_hits(groups: GroupsQuery, values: Sequence[Any], ask: MakeRequest) -> Steps[dict[Any, Any]]:
    """Return the inner hits of the groups with these values, by value."""
    found: dict[Any, Any] = {}
    value_of = {}
    if groups.large:
        value_of = values_of_members((yield ask("groups", groups.members_body(values))), groups.field)
    others = set(value_of.values()).difference(values)  # values that Elasticsearch writes in another way
    for portion in groups.portions(values):
        members: Sequence[Candidate] = groups.window
        if groups.large:
            wanted = others.union(portion)
            members = [each for each in members if each.key in value_of and value_of[each.key] in wanted]
        answer = yield ask("groups", groups.inner_hits_body(portion, members))
        found |= inner_hits_by_group(answer, groups, members)
    return found
