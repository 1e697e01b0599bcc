"""Builds searches and names for known documents, and candidates from hits. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import Candidate
from ..grammar.tree import Query, Rescorer
from .document_sets import documents_query
from .scored_documents import positive, scored_documents_query


def rescore_body(node: Rescorer, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the search that applies the rescorers of ``node`` to known documents and their present scores.

    Elasticsearch does the same when the child of a rescorer is a compound retriever. Raises
    InvalidSearchError as ``scored_documents_query`` does.
    """
    query = scored_documents_query(candidates, positive([candidate.score for candidate in candidates]))
    return {
        "query": query,
        "rescore": list(node.rescore),
        "size": node.window,
        "_source": False,
        "track_total_hits": False,
    }


def named_query(candidates: Sequence[Candidate], name: str, *, scored: bool = False) -> Query:
    """Return a query that adds ``name`` to the ``matched_queries`` of these documents.

    With ``scored`` the query gives each document its score, which ``include_named_queries_score`` shows.
    """
    if not scored:
        return {"bool": {"filter": [documents_query(candidates)], "_name": name}}
    scores = positive([candidate.score for candidate in candidates])
    return {"bool": {"must": [scored_documents_query(candidates, scores)], "_name": name}}


def candidates_of(hits: Sequence[dict[str, Any]], *, in_pit: bool = False) -> list[Candidate]:
    """Return hits of Elasticsearch as candidates, with ranks from 1 in the given order.

    A hit without a score becomes a candidate with the score NaN. ``in_pit``: whether the hits come from a
    search in a point in time. Its last sort value is then ``_shard_doc``, else it is that of a field.
    """
    return [_candidate(hit, rank, in_pit=in_pit) for rank, hit in enumerate(hits, 1)]


def _candidate(hit: dict[str, Any], rank: int, *, in_pit: bool) -> Candidate:
    score, sort = hit.get("_score"), hit.get("sort")
    shard_doc = sort[-1] if in_pit and sort and isinstance(sort[-1], int) else None
    return Candidate(
        hit["_index"],
        hit["_id"],
        float("nan") if score is None else float(score),  # an infinity is a text, in Elasticsearch's JSON
        rank,
        routing=hit.get("_routing"),
        shard_doc=shard_doc,
        hit=hit,
    )
