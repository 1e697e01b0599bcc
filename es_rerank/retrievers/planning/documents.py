"""Queries for known documents, and hits as candidates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...types import Candidate
from ..grammar.tree import Query, Rescorer


def rescore_body(node: Rescorer, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the search that rescores known documents from their present scores, as Elasticsearch does over a compound child."""
    query = scored(candidates, [candidate.score for candidate in candidates])
    return {
        "query": query,
        "rescore": list(node.rescore),
        "size": node.window,
        "_source": False,
        "track_total_hits": False,
    }


def only(candidates: Iterable[Candidate]) -> Query:
    """Return a query that matches exactly these documents, even where several indices, or two routings, share an id."""
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


def scored(candidates: Sequence[Candidate], scores: Sequence[float]) -> Query:
    """Return a query that gives each of these documents its score (float32), and matches no other."""
    if not candidates:
        return {"match_none": {}}
    each = [
        {"constant_score": {"filter": only([candidate]), "boost": float(np.float32(score))}}
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return {"bool": {"should": each}}


def named(candidates: Sequence[Candidate], name: str) -> Query:
    """Return the query that gives a retriever's own hits its name among the matched queries."""
    return {"bool": {"filter": [only(candidates)], "_name": name}}


def candidates_of(hits: Sequence[dict[str, Any]]) -> list[Candidate]:
    """Return Elasticsearch's hits as candidates, ranks from 1 in the order given; a hit without a score has NaN."""
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
