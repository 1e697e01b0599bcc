"""Builds queries that match exactly the given documents. Pure functions, no I/O.

A document is known by its index, its id and its routing: the same id may exist in several indices, and under
several routings of one index.

Elasticsearch limits the clauses of a query (1,024 on a small heap,
https://www.elastic.co/docs/reference/elasticsearch/configuration-reference/search-settings). So the number of
clauses here does not grow with the number of documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...types import Candidate
from ..grammar.tree import Query

_FEW_GROUPS = 16
"""Most pairs of index and routing that get a clause each."""

_MOST_ALTERNATIVES = 256
"""Most alternatives in one ``bool`` query. More are put into several ``bool`` queries."""

_DIGITS = 3
"""Digits of the number of a routing. With three, 10,000 routings need 132 clauses."""


def documents_query(candidates: Iterable[Candidate]) -> Query:
    """Return a query that matches exactly these documents."""
    groups: dict[str, dict[str | None, list[str]]] = {}
    count = 0
    for candidate in candidates:
        of_index = groups.setdefault(candidate.index, {})
        count += candidate.routing not in of_index
        of_index.setdefault(candidate.routing, []).append(candidate.id)
    if count <= _FEW_GROUPS:
        return any_of([query for index, routings in groups.items() for query in _each(index, routings)])
    return any_of([_of_index(index, routings) for index, routings in groups.items()])


def any_of(queries: Sequence[Query]) -> Query:
    """Return a query that matches what any of these queries matches. The score is the sum of their scores."""
    if len(queries) <= 1:
        return queries[0] if queries else {"match_none": {}}
    while len(queries) > _MOST_ALTERNATIVES:
        queries = [
            any_of(queries[start : start + _MOST_ALTERNATIVES])
            for start in range(0, len(queries), _MOST_ALTERNATIVES)
        ]
    return {"bool": {"should": list(queries), "minimum_should_match": 1}}


def _each(index: str, routings: Mapping[str | None, Sequence[str]]) -> Iterator[Query]:
    for routing, ids in routings.items():
        routed = [] if routing is None else [{"term": {"_routing": routing}}]
        yield {"bool": {"filter": [{"term": {"_index": index}}, _ids(ids), *routed]}}


def _of_index(index: str, routings: Mapping[str | None, Sequence[str]]) -> Query:
    if len(routings) <= _FEW_GROUPS:
        return any_of(list(_each(index, routings)))
    alternatives = [_ids(routings[None])] if None in routings else []
    layers: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for routing, ids in routings.items():
        for name in ids if routing is not None else ():
            place = seen[name] = seen.get(name, -1) + 1
            if place == len(layers):
                layers.append({})
            layers[place][name] = routing or ""
    alternatives += [_routed(layer) for layer in layers]
    return {"bool": {"filter": [{"term": {"_index": index}}, any_of(alternatives)]}}


def _routed(routing_of: Mapping[str, str]) -> Query:
    """Return a query for documents of one index, by their ids and the routing of each id.

    Each routing has a number. A document matches if its id and its routing stand for the same number: each
    digit is one filter.
    """
    numbers = {routing: number for number, routing in enumerate(dict.fromkeys(routing_of.values()))}
    base = 2
    while base**_DIGITS < len(numbers):
        base += 1
    return {"bool": {"filter": [_same_digit(routing_of, numbers, base, place) for place in range(_DIGITS)]}}


def _same_digit(routing_of: Mapping[str, str], numbers: Mapping[str, int], base: int, place: int) -> Query:
    ids: dict[int, list[str]] = {}
    routings: dict[int, list[str]] = {}
    for name, routing in routing_of.items():
        ids.setdefault(numbers[routing] // base**place % base, []).append(name)
    for routing, number in numbers.items():
        routings.setdefault(number // base**place % base, []).append(routing)
    return any_of(
        [
            {"bool": {"filter": [{"terms": {"_routing": routings[digit]}}, _ids(ids[digit])]}}
            for digit in sorted(ids)
        ]
    )


def _ids(ids: Sequence[str]) -> Query:
    return {"ids": {"values": list(ids)}}
