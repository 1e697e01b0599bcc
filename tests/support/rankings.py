"""Compares the hits of two searches that should give the same."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

TOLERANCE = 1e-6


def ranked_hits(body: Any, answer: Any) -> list[Any]:
    """Return the hits of an answer that the tree of ``body`` ranked.

    Where ``collapse`` or ``post_filter`` leave fewer hits than the page has room for, Elasticsearch fills it
    with documents that a leaf matched and the tree did not rank. Their score is 0. Outside shows ranked
    documents only, whose score may be 0 too, after minmax.
    """
    hits: list[Any] = answer["hits"]["hits"]
    if "collapse" in body or "post_filter" in body:
        return [hit for hit in hits if hit["_score"] > TOLERANCE]
    return hits


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def assert_same_ranking(here: list[Any], there: list[Any]) -> None:
    """Scores are equal place by place; ids of equal scores are equal as sets."""
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert close(one["_score"], other["_score"]), (one["_id"], one["_score"], other["_score"])
    assert all(one["_score"] >= next_one["_score"] for one, next_one in pairwise(here))
    assert tied(here) == tied(there)


def tied(hits: list[Any]) -> list[set[tuple[str, str]]]:
    """Return the (index, id) of hits in order, those with equal scores as one set."""
    groups: list[set[tuple[str, str]]] = []
    before = math.inf
    for hit in hits:
        if not close(hit["_score"], before):
            groups.append(set())
        groups[-1].add((hit["_index"], hit["_id"]))
        before = hit["_score"]
    return groups
