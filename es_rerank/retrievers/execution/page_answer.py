"""The steps that fetch the page of hits and what Elasticsearch computes over the ranking. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...types import Candidate
from ..planning.groups import GroupsQuery
from ..planning.page import PageQuery
from ..response.computed import (
    group_values,
    inner_hits_by_group,
    members_in,
    with_aggregations,
    with_groups,
)
from .commands import EsRequest, Steps

MakeRequest = Callable[[str, dict[str, Any]], EsRequest]
"""A function from the stage (see ``EsRequest``) and the body of a search to its request."""


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
    for portion in groups.portions(values):
        members = groups.window
        if groups.large:
            known = members_in((yield ask("groups", groups.members_body(portion))))
            members = tuple(candidate for candidate in members if candidate.key in known)
        answer = yield ask("groups", groups.inner_hits_body(portion, members))
        found |= inner_hits_by_group(answer, groups, members)
    return found
