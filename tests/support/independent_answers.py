"""Calculates the answer of a search with a retriever tree: page, total, aggregations.

It imports nothing of the product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from independent import Body, Entry, Key, Tree, leaves

_TOP_HITS = 3


def answer(tree: Tree, body: Body) -> Body:
    """Return hits, total and aggregations in the shape of Elasticsearch's answer."""
    tree.alone = leaves(body["retriever"]) == 1
    window = tree.ranked(body["retriever"])
    inner, least = _has_minimum(body["retriever"]), body.get("min_score")
    if least is not None and not inner:
        window = [entry for entry in window if entry.score >= np.float32(least)]
    counted = {entry.key for entry in window} if inner or least is not None else tree.matched
    total, shown = set(counted), window
    if "post_filter" in body:
        allowed = tree.ids(body["post_filter"])
        total &= allowed
        shown = [entry for entry in shown if entry.key in allowed]
    if "collapse" in body:
        shown = list(_collapsed(tree, shown, body["collapse"]["field"]))
    start = body.get("from", 0)
    ((_, root),) = body["retriever"].items()
    page = shown[start : start + body.get("size", root.get("rank_window_size", 10))]
    result: Body = {"hits": {"hits": list(map(_hit, page))}}
    if body.get("track_total_hits", True):
        result["hits"]["total"] = {"value": len(total), "relation": "eq"}
    if "aggs" in body:
        result["aggregations"] = _aggregations(tree, counted, window, body["aggs"])
    return result


def _has_minimum(value: Any) -> bool:
    """Return whether a retriever of a tree has a ``min_score``; that of the body is then without effect."""
    if isinstance(value, dict):
        return "min_score" in value or any(map(_has_minimum, value.values()))
    return isinstance(value, list) and any(map(_has_minimum, value))


def _collapsed(tree: Tree, entries: Iterable[Entry], field: str) -> Iterable[Entry]:
    seen = set()
    for entry in entries:
        value = tree.documents.sources[entry.key][field]
        if value not in seen:
            seen.add(value)
            yield entry


def _hit(entry: Entry) -> Body:
    index, identity = entry.key
    said = {name: [value] for name, value in entry.said.items()}
    return {"_index": index, "_id": identity, "_score": float(entry.score), "fields": said}


def _aggregations(tree: Tree, counted: set[Key], window: list[Entry], asked: Body) -> Body:
    """Calculate ``terms`` over a keyword, with or without ``top_hits``, and ``stats`` over a number."""
    sources = tree.documents.sources
    result: Body = {}
    for name, wanted in asked.items():
        if "stats" in wanted:
            result[name] = _stats([sources[key][wanted["stats"]["field"]] for key in counted])
            continue
        groups: dict[str, set[Key]] = {}
        for key in counted:
            groups.setdefault(sources[key][wanted["terms"]["field"]], set()).add(key)
        buckets = [{"key": value, "doc_count": len(keys)} for value, keys in groups.items()]
        result[name] = {"buckets": sorted(buckets, key=lambda bucket: (-bucket["doc_count"], bucket["key"]))}
        for bucket in result[name]["buckets"]:
            for below in wanted.get("aggs", {}):
                bucket[below] = _top_hits(tree, groups[bucket["key"]], window)
    return result


def _stats(numbers: list[int]) -> Body:
    if not numbers:
        return {"count": 0, "min": None, "max": None, "avg": None, "sum": 0.0}
    total = float(sum(numbers))
    return {
        "count": len(numbers),
        "min": float(min(numbers)),
        "max": float(max(numbers)),
        "avg": total / len(numbers),
        "sum": total,
    }


def _top_hits(tree: Tree, keys: set[Key], window: list[Entry]) -> Body:
    """Ranked documents have the scores of the tree; those that it did not rank follow with 0."""
    scores = {entry.key: float(entry.score) for entry in window}
    best = sorted(keys, key=lambda key: (-scores.get(key, 0.0), tree.documents.places[key]))[:_TOP_HITS]
    hits = [{"_index": index, "_id": name, "_score": scores.get((index, name), 0.0)} for index, name in best]
    return {"hits": {"total": {"value": len(keys), "relation": "eq"}, "hits": hits}}
