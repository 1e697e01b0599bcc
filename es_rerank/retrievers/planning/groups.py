"""Builds the requests for the inner hits of collapsed groups, apart from the page. Pure functions, no I/O.

For each group and each of its inner hits, Elasticsearch runs the query of the request once more. So in a
large window, few groups are asked for at a time, and only with the documents that are in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...types import Candidate
from ..grammar.tree import Query
from .document_sets import any_of, documents_query
from .leaf_queries import LeafQueries
from .scored_documents import positive, scored_documents_query

LARGE = 256
"""A window with more documents counts as large."""

_AT_ONCE = 2
"""Groups of a large window that one request asks for."""


@dataclass(frozen=True, slots=True)
class GroupsQuery:
    """What the requests for inner hits of collapsed groups are made of.

    ``window``: the ranked documents. ``body``: the keys of the request beside the query. ``leaves`` and
    ``window_only``: as in ``page_query``. ``by_score``: whether inner hits are sorted by score explicitly.
    Else they have the order of the ranking, and scores stand for places.
    """

    window: tuple[Candidate, ...]
    body: dict[str, Any]
    leaves: LeafQueries
    window_only: bool
    by_score: bool

    @property
    def field(self) -> Any:  # noqa: ANN401 Elasticsearch checks it
        """Return the field by which the page is collapsed."""
        return self.body["collapse"].get("field")

    @property
    def large(self) -> bool:
        """Whether the documents of the groups are looked up first."""
        return len(self.window) > LARGE

    def portions(self, values: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Yield the values of the groups that one request asks for. None is the group without a value."""
        step = _AT_ONCE if self.large else max(1, len(values))
        return (values[start : start + step] for start in range(0, len(values), step))

    def members_body(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the request for the documents of the window that are in these groups, and their values."""
        shared = {key: value for key, value in self.body.items() if key not in ("collapse", "post_filter")}
        query = {"bool": {"filter": [documents_query(self.window), self._in_groups(values)]}}
        return {**shared, "query": query, "size": len(self.window), "docvalue_fields": [self.field]}

    def inner_hits_body(self, values: Sequence[Any], members: Sequence[Candidate]) -> dict[str, Any]:
        """Return the request for the inner hits of these groups. ``members``: documents of the window, in
        order; all that are in the groups, or more.
        """
        places = range(len(members), 0, -1)
        scores = positive([each.score for each in members]) if self.by_score else places
        ranked = self.leaves.beside(scored_documents_query(members, scores), only=self.window_only)
        query = {"bool": {"must": [ranked], "filter": [self._in_groups(values)]}}
        return {**self.body, "query": query, "size": len(values)}

    def _in_groups(self, values: Sequence[Any]) -> Query:
        known = [value for value in values if value is not None]
        groups: list[Query] = [{"terms": {self.field: known}}] if known else []
        if len(known) < len(values):
            groups.append({"bool": {"must_not": [{"exists": {"field": self.field}}]}})
        return any_of(groups)
