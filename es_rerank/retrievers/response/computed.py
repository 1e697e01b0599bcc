"""Joins the answers to the requests of one page, with the scores of the ranking. Pure functions, no I/O.

The requests are those of ``planning.page``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...types import Candidate, DocumentKey
from ..planning.groups import GroupsQuery
from ..planning.page import PageQuery
from ..planning.scored_documents import place_of
from ..ranking.ranked_node import json_score

Explain = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A function from a hit to the explanation of its score."""


def group_values(fetched: Mapping[str, Any], field: str) -> list[Any]:
    """Return the value of each collapsed group on the page. None stands for the documents without a value."""
    return [_group_value(hit, field) for hit in fetched["hits"]["hits"]]


def _group_value(hit: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401 a keyword or a number
    values = hit.get("fields", {}).get(field)
    return values[0] if values else None


def values_of_members(answer: Mapping[str, Any], field: str) -> dict[DocumentKey, Any]:
    """Return the value of the group of each document among the hits of an answer."""
    return {key_of(hit): _group_value(hit, field) for hit in answer["hits"]["hits"]}


def key_of(hit: Mapping[str, Any]) -> DocumentKey:
    """Return what identifies the document of a hit. The id is empty where the hit does not show it."""
    return hit["_index"], hit.get("_id", ""), hit.get("_routing")


def inner_hits_by_group(
    answer: Mapping[str, Any], groups: GroupsQuery, members: Sequence[Candidate]
) -> dict[Any, dict[str, Any]]:
    """Return the inner hits of the groups in an answer, by the value of the group, with the scores of the
    ranking. ``members``: the documents to which the request gave scores.
    """

    def ranked(found: Mapping[str, Any]) -> dict[str, Any]:
        return _ranked(found, members) if groups.by_score else of_places(found, members)

    return {
        _group_value(hit, groups.field): {
            name: ranked(found) for name, found in hit.get("inner_hits", {}).items()
        }
        for hit in answer["hits"]["hits"]
    }


def with_groups(
    fetched: Mapping[str, Any], found: Mapping[Any, Mapping[str, Any]], field: str
) -> dict[str, Any]:
    """Return the page whose hits have the inner hits of their groups. ``found`` holds them by group."""
    hits = [
        {**hit, "inner_hits": {**hit.get("inner_hits", {}), **found.get(_group_value(hit, field), {})}}
        for hit in fetched["hits"]["hits"]
    ]
    return {**fetched, "hits": {**fetched["hits"], "hits": hits}}


def of_places(found: Mapping[str, Any], listed: Sequence[Candidate]) -> dict[str, Any]:
    """Return an object with ``hits`` whose scores stand for places, with the scores of the ranking.

    A hit with the score n is ``listed[len(listed) - n]``. One that is not listed gets the score 0, as in
    Elasticsearch.
    """

    def own(place: float | None) -> float | str | None:
        if place is None:
            return None
        return json_score(listed[len(listed) - int(place)].score) if 0 < place <= len(listed) else 0.0

    hits = [{**hit, "_score": own(hit.get("_score"))} for hit in found["hits"]["hits"]]
    return {
        **found,
        "hits": {**found["hits"], "max_score": own(found["hits"].get("max_score")), "hits": hits},
    }


def with_aggregations(
    fetched: Mapping[str, Any], computed: Mapping[str, Any], window: Sequence[Candidate]
) -> dict[str, Any]:
    """Return the page with the aggregations and the total of the answer ``computed``, and its profile."""
    hits = dict(fetched["hits"])
    if "total" in computed["hits"]:
        hits["total"] = computed["hits"]["total"]
    joined = {**fetched, "hits": hits}
    if "aggregations" in computed:
        joined["aggregations"] = _each_hits(computed["aggregations"], lambda found: _ranked(found, window))
    if "profile" in computed and "profile" in fetched:
        shards = [*fetched["profile"]["shards"], *computed["profile"]["shards"]]
        joined["profile"] = {**fetched["profile"], "shards": shards}
    return joined


def explained_keys(fetched: Any, page: PageQuery | None) -> set[DocumentKey]:  # noqa: ANN401 any part
    """Return the documents of all hits with an explanation, and those of the page if ``page`` is given."""
    keys: set[DocumentKey] = set()
    if page is not None:
        shown = [page.candidate(hit.get("_score")) for hit in fetched["hits"]["hits"]]
        keys |= {candidate.key for candidate in shown if candidate is not None}
    if isinstance(fetched, list):
        return keys.union(*(explained_keys(item, None) for item in fetched))
    if not isinstance(fetched, dict):
        return keys
    if "_explanation" in fetched and "_index" in fetched:
        keys.add(key_of(fetched))
    return keys.union(*(explained_keys(item, None) for name, item in fetched.items() if name != "_source"))


def explained(aggregations: Any, explain: Explain) -> Any:  # noqa: ANN401 any part of an answer
    """Return aggregations in which the explanations of hits are those of the ranking."""
    return _each_hits(aggregations, lambda found: explained_hits(found, explain))


def explained_hits(found: Mapping[str, Any], explain: Explain) -> dict[str, Any]:
    """Return an object with ``hits`` in which the explanations of hits are those of the ranking."""
    hits = [
        {**hit, "_explanation": explain(hit)} if "_explanation" in hit else hit
        for hit in found["hits"]["hits"]
    ]
    return {**found, "hits": {**found["hits"], "hits": hits}}


def _each_hits(value: Any, change: Callable[[Mapping[str, Any]], Any]) -> Any:  # noqa: ANN401
    """Return aggregations in which ``change`` is applied to each object with hits: a ``top_hits``."""
    if isinstance(value, list):
        return [_each_hits(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    found = value.get("hits")
    if isinstance(found, dict) and isinstance(found.get("hits"), list):
        return change(value)
    return {key: _each_hits(item, change) for key, item in value.items()}


def _ranked(found: Mapping[str, Any], window: Sequence[Candidate]) -> dict[str, Any]:
    """Return an object with ``hits`` in which a score that only marks a place is the document's own."""
    hits = [
        {
            **hit,
            **({"_score": _own(hit["_score"], window)} if "_score" in hit else {}),
            **({"sort": [_own(key, window) for key in hit["sort"]]} if "sort" in hit else {}),
        }
        for hit in found["hits"]["hits"]
    ]
    shown = {**found["hits"], "hits": hits}
    if "max_score" in shown:
        shown["max_score"] = _own(shown["max_score"], window)
    return {**found, "hits": shown}


def _own(score: Any, window: Sequence[Candidate]) -> Any:  # noqa: ANN401 a score, or another sort key
    if not isinstance(score, float):
        return score
    place = place_of(score, len(window))
    return score if place is None else json_score(window[place].score)
