"""Builds the requests for the page of hits, in the order of the ranking. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...types import Candidate
from .computed import groups_by_score, has_groups, reads_scores, with_marks
from .groups import LARGE, GroupsQuery
from .leaf_queries import LeafQueries
from .scored_documents import positive, scored_documents_query

_AGGREGATIONS = ("aggs", "aggregations")
_SHARED = ("runtime_mappings", "timeout", "pit")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The requests for the page, and the documents that its scores stand for.

    ``body`` gives each document its place as the score: a hit with the score n is ``listed[len(listed) -
    n]``. ``whole``: whether ``listed`` is the whole window. ``aggregations``: the request that computes what
    reads scores, over the scores of the ranking; None if nothing does. ``groups``: the requests for the inner
    hits of collapsed groups; None if there are none or the page has them.
    """

    body: dict[str, Any]
    listed: tuple[Candidate, ...]
    whole: bool = False
    aggregations: dict[str, Any] | None = None
    groups: GroupsQuery | None = None

    def lacks(self, hits: int) -> bool:
        """Whether a page of so many hits lacks documents: they were deleted since, or their index is gone.

        Collapsing and a ``post_filter`` leave documents out, so of the whole window it is not known.
        """
        return bool(self.listed) and hits < (1 if self.whole else len(self.listed))

    def candidate(self, score: float | None) -> Candidate | None:
        """Return the document that a hit's score stands for, or None for a hit that is not in the window."""
        position = len(self.listed) - int(score or 0)
        return self.listed[position] if score and 0 <= position < len(self.listed) else None


def page_query(
    window: Sequence[Candidate],
    offset: int,
    size: int,
    asked: Mapping[str, Any],
    leaves: LeafQueries,
    *,
    window_only: bool,
) -> PageQuery:
    """Return the requests for one page of the window. ``asked`` holds the keys of the caller's body for the
    page.

    The score of each document in the request for the page is its place in the ranking. Elasticsearch sorts by
    it, so it also collapses, post-filters and counts in the order of the ranking, also where scores are equal
    or missing. The queries of ``leaves`` are added with weight 0: totals, aggregations, inner hits and named
    queries then cover all documents that the leaves match. With ``window_only`` (the tree or the body has a
    ``min_score``) they cover only the window.

    What reads scores gets a request of its own, in which the documents of the window have the scores of the
    ranking and all others 0, as in Elasticsearch. Raises InvalidSearchError as ``scored_documents_query``
    does.
    """
    asked = with_marks(asked, leaves.marks)
    apart = reads_scores(_aggregations(asked))
    collapse = asked.get("collapse")
    by_score = groups_by_score(collapse)
    grouped = by_score or (len(window) > LARGE and has_groups(collapse))
    whole = window_only or "collapse" in asked or "post_filter" in asked
    listed = tuple(window) if whole else tuple(window[offset : offset + size])
    places = scored_documents_query(listed, range(len(listed), 0, -1))
    # Scores are explained by the ranking.
    left_out = {"explain", *(_AGGREGATIONS if apart else ())}
    body = {key: value for key, value in asked.items() if key not in left_out}
    body |= {"query": leaves.beside(places, only=window_only or apart), "size": len(listed)}
    if whole:
        body |= {"from": offset, "size": max(0, min(size, len(listed) - offset))}
    if apart:
        body["track_total_hits"] = False
    if grouped:
        body["collapse"] = {key: value for key, value in asked["collapse"].items() if key != "inner_hits"}
    shared = {key: asked[key] for key in _SHARED if key in asked}
    aggregations = groups = None
    if apart:
        kept = (*_AGGREGATIONS, "post_filter", "track_total_hits", "profile")
        scores = scored_documents_query(window, positive([candidate.score for candidate in window]))
        query = leaves.beside(scores, only=window_only)
        aggregations = (
            shared | {key: asked[key] for key in kept if key in asked} | {"query": query, "size": 0}
        )
    if grouped:
        shared |= {key: asked[key] for key in ("collapse", "post_filter") if key in asked}
        shared |= {"_source": False, "track_total_hits": False}
        groups = GroupsQuery(tuple(window), shared, leaves, window_only, by_score)
    return PageQuery(body, listed, whole, aggregations, groups)


def _aggregations(asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 any JSON value may arrive
    return next((asked[key] for key in _AGGREGATIONS if key in asked), None)
