"""Builds queries for known documents, and candidates from hits. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...types import Candidate
from ..grammar.tree import Query, Rescorer


def rescore_body(node: Rescorer, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the search that applies the rescorers of ``node`` to known documents and their present scores.

    Elasticsearch does the same when the child of a rescorer is a compound retriever.
    """
    query = scored_documents_query(candidates, [candidate.score for candidate in candidates])
    return {
        "query": query,
        "rescore": list(node.rescore),
        "size": node.window,
        "_source": False,
        "track_total_hits": False,
    }


def documents_query(candidates: Iterable[Candidate]) -> Query:
    """Return a query that matches exactly these documents.

    It distinguishes documents with the same id in several indices or under several routings.
    """
    groups: dict[tuple[str, str | None], list[str]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.index, candidate.routing), []).append(candidate.id)
    queries = [_in_group(index, routing, ids) for (index, routing), ids in groups.items()]
    if not queries:
        return {"match_none": {}}
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}


def _in_group(index: str, routing: str | None, ids: list[str]) -> Query:
    return {
        "bool": {
            "filter": [
                {"term": {"_index": index}},
                {"ids": {"values": ids}},
                *([{"term": {"_routing": routing}}] if routing is not None else []),
            ]
        }
    }


def scored_documents_query(candidates: Sequence[Candidate], scores: Sequence[float]) -> Query:
    """Return a query that matches exactly these documents and gives each its score (as float32)."""
    if not candidates:
        return {"match_none": {}}
    clauses = [
        {"constant_score": {"filter": documents_query([candidate]), "boost": float(np.float32(score))}}
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return {"bool": {"should": clauses}}


def named_query(candidates: Sequence[Candidate], name: str) -> Query:
    """Return a query that adds ``name`` to the ``matched_queries`` of these documents."""
    return {"bool": {"filter": [documents_query(candidates)], "_name": name}}


def candidates_of(hits: Sequence[dict[str, Any]]) -> list[Candidate]:
    """Return hits of Elasticsearch as candidates, with ranks from 1 in the given order.

    A hit without a score becomes a candidate with the score NaN.
    """
    return [_candidate(hit, rank) for rank, hit in enumerate(hits, 1)]


def _candidate(hit: dict[str, Any], rank: int) -> Candidate:
    score, sort = hit.get("_score"), hit.get("sort")
    shard_doc = sort[-1] if sort and isinstance(sort[-1], int) else None
    return Candidate(
        hit["_index"],
        hit["_id"],
        float("nan") if score is None else score,
        rank,
        routing=hit.get("_routing"),
        shard_doc=shard_doc,
        hit=hit,
    )
