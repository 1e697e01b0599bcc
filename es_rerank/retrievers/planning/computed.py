"""What Elasticsearch computes over a ranking: what reads scores, and what marks words. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..grammar.tree import Query
from ..grammar.values import as_list

_WITHOUT_SCORES = frozenset(
    {
        *("adjacency_matrix", "auto_date_histogram", "children", "composite", "date_histogram"),
        *("date_range", "filter", "filters", "geo_distance", "geohash_grid", "geohex_grid"),
        *("geotile_grid", "histogram", "ip_prefix", "ip_range", "missing", "multi_terms", "nested"),
        *("parent", "range", "rare_terms", "reverse_nested", "significant_terms"),
        *("significant_text", "terms", "variable_width_histogram"),
        *("avg", "boxplot", "cardinality", "extended_stats", "geo_bounds", "geo_centroid", "max"),
        *("median_absolute_deviation", "min", "percentile_ranks", "percentiles", "stats"),
        *("string_stats", "sum", "value_count", "weighted_avg"),
        *("avg_bucket", "bucket_sort", "cumulative_sum", "derivative", "max_bucket", "min_bucket"),
        *("stats_bucket", "sum_bucket"),
    }
)
"""Aggregations that count documents or read fields, and no scores unless they have a script. They are
computed together with the page. All others count as reading scores."""

_SUB_AGGREGATIONS = ("aggs", "aggregations")
_SCORE = "_score"


def reads_scores(aggregations: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether an aggregation may read scores: one that is not known to read none, or one with a script."""
    return any(
        kind not in _WITHOUT_SCORES or _has_key(content, "script")
        for kind, content in _each(aggregations)
        if kind != "meta"
    )


def _each(aggregations: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield (type, content) of all aggregations, also of those below others."""
    for definition in aggregations.values() if isinstance(aggregations, dict) else ():
        for kind, content in definition.items() if isinstance(definition, dict) else ():
            if kind in _SUB_AGGREGATIONS:
                yield from _each(content)
            else:
                yield kind, content


def _has_key(value: Any, key: str) -> bool:  # noqa: ANN401
    if isinstance(value, list):
        return any(_has_key(item, key) for item in value)
    return isinstance(value, dict) and (key in value or any(_has_key(item, key) for item in value.values()))


def asks_to_explain(asked: Mapping[str, Any]) -> bool:
    """Whether a part of a request may ask to explain hits."""
    return _has_key(dict(asked), "explain")


def groups_by_score(collapse: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether ``collapse`` sorts the inner hits of its groups by score, explicitly.

    Without a ``sort`` they have the order of the ranking.
    """
    return any(
        key == _SCORE or (isinstance(key, dict) and _SCORE in key)
        for group in _groups(collapse)
        for key in as_list(group.get("sort"))
    )


def has_groups(collapse: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether ``collapse`` asks for the inner hits of its groups."""
    return bool(_groups(collapse))


def _groups(collapse: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    inner = collapse.get("inner_hits") if isinstance(collapse, dict) else None
    return [group for group in as_list(inner) if isinstance(group, dict)]


def with_marks(asked: Mapping[str, Any], marks: Query) -> dict[str, Any]:
    """Return the keys of a request in which each ``highlight`` says what is marked: what the leaves ask for.

    Without that, Elasticsearch would mark what the request for the page asks for: documents by their ids. A
    ``highlight_query`` of the caller stays.
    """
    shown = _marked(asked, marks)
    for key in _SUB_AGGREGATIONS:
        if key in shown:
            shown[key] = _marked_aggregations(shown[key], marks)
    groups = _groups(shown.get("collapse"))
    if any("highlight" in group for group in groups):
        marked = [_marked(group, marks) for group in groups]
        inner = marked if isinstance(shown["collapse"]["inner_hits"], list) else marked[0]
        shown["collapse"] = {**shown["collapse"], "inner_hits": inner}
    return shown


def _marked(part: Mapping[str, Any], marks: Query) -> dict[str, Any]:
    highlight = part.get("highlight")
    if not isinstance(highlight, dict) or "highlight_query" in highlight:
        return dict(part)
    return {**part, "highlight": {**highlight, "highlight_query": marks}}


def _marked_aggregations(aggregations: Any, marks: Query) -> Any:  # noqa: ANN401
    if not isinstance(aggregations, dict):
        return aggregations
    return {
        name: {kind: _marked_content(kind, content, marks) for kind, content in definition.items()}
        if isinstance(definition, dict)
        else definition
        for name, definition in aggregations.items()
    }


def _marked_content(kind: str, content: Any, marks: Query) -> Any:  # noqa: ANN401
    if kind in _SUB_AGGREGATIONS:
        return _marked_aggregations(content, marks)
    return _marked(content, marks) if kind == "top_hits" and isinstance(content, dict) else content
