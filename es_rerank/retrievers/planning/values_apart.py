"""Values that an index keeps apart from ``_source``: which there are, how to ask for them. Pure, no I/O.

Elasticsearch's option ``fields`` reads ``_source``. What ``_source`` leaves out may still be a stored field
or doc values: https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-source-field
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...types import Candidate
from ..grammar.tree import Query
from ..grammar.wildcards import matches
from .document_sets import documents_query
from .text_source import INNER_HITS, TextSource, nearest_query

_WITH_DOC_VALUES = frozenset({"keyword", "wildcard", "version", "integer", "long"})
"""Types of texts whose doc values hold the text, and those of offsets. Other types refuse."""


_MOST_PASSAGES = 100
"""Elasticsearch's default for ``index.max_inner_result_window``."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How to read what ``fields`` does not give: names of stored fields, of doc values and in ``_source``."""

    stored: tuple[str, ...] = ()
    doc_values: tuple[str, ...] = ()
    source: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stored or self.doc_values or self.source)

    def within(self, path: str) -> dict[str, Any]:
        """Return what to ask for in objects at ``path``; for the document itself, ``path`` is empty."""
        stored, values = self._below(self.stored, path), self._below(self.doc_values, path)
        return ({"stored_fields": stored} if stored else {}) | ({"docvalue_fields": values} if values else {})

    @staticmethod
    def _below(names: Sequence[str], path: str) -> list[str]:
        return [name for name in names if name.startswith(f"{path}." if path else "")]


def apart(entry: Mapping[str, Any], lacking: Sequence[str], source: TextSource) -> Apart:
    """Return how to read the fields that are lacking. ``entry`` is the index as ``GET /{index}`` gives it.

    Without a mapping, each name may be that of a stored field: Elasticsearch gives nothing for any other.
    Where ``_source`` is whole, ``fields`` gave all but ignored values of nested objects.
    """
    names = [*source.context, source.text_field, *source.passage_fields()[1:]]
    properties = entry.get("mappings", {}).get("properties")
    if properties is None:
        return Apart(tuple(names))
    if why_unread(entry, lacking) is None:
        nested = source.nested is not None and source.text_field in lacking and not source.asks_nearest
        return Apart(source=tuple(source.passage_fields())) if nested else Apart()
    definitions = {name: _definition(properties, name) for name in names}
    return Apart(
        tuple(name for name, found in definitions.items() if found.get("store") is True),
        tuple(
            name
            for name, found in definitions.items()
            if found.get("type") in _WITH_DOC_VALUES and found.get("doc_values", True) is not False
        ),
    )


def apart_body(
    where: Apart, source: TextSource, text: str, candidates: Sequence[Candidate]
) -> dict[str, Any]:
    """Return the search that reads these values of known documents, and of their stored passages."""
    query: Query = documents_query(candidates)
    if source.nested is not None and (asked := where.within(source.nested)):
        nested = nearest_query(source, text)["nested"]
        inner = {"name": INNER_HITS, "size": source.nearest or _MOST_PASSAGES, "_source": False}
        nested["inner_hits"] = inner | asked
        if not source.asks_nearest:
            nested |= {"query": {"match_all": {}}}
            nested["inner_hits"]["sort"] = ["_doc"]
        query = {"bool": {"filter": [query], "should": [{"nested": {**nested, "ignore_unmapped": True}}]}}
    return {
        "query": query,
        "size": len(candidates),
        "_source": list(where.source) or False,
        "track_total_hits": False,
        **where.within(""),
    }


def with_apart(hit: Mapping[str, Any], found: Mapping[str, Any], source: TextSource) -> dict[str, Any]:
    """Return a hit with the values of ``found``, the same document in the answer to ``apart_body``."""
    fields = {**found.get("fields", {}), **hit.get("fields", {})}
    whole = {**hit, "fields": fields, **({"_source": found["_source"]} if "_source" in found else {})}
    inner = found.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
    if source.nested is None or not inner:
        return whole
    start = len(source.nested) + 1
    passages = [{name[start:]: value for name, value in part.get("fields", {}).items()} for part in inner]
    if not source.asks_nearest:
        return {**whole, "fields": {**fields, source.nested: passages}}
    holders = [{"fields": {source.nested: [passage]}} for passage in passages]
    return {**whole, "inner_hits": {INNER_HITS: {"hits": {"hits": holders}}}}


def why_unread(entry: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return why values of fields cannot be read from ``_source``, None if they can."""
    source = entry.get("mappings", {}).get("_source", {})
    mode = entry.get("settings", {}).get("index", {}).get("mapping", {}).get("source", {}).get("mode")
    if source.get("enabled") is False or "disabled" in (mode, source.get("mode")):
        return "keeps no [_source]"
    left_out = [name for name in names if not _in_source(source, name)]
    return f"leaves [{', '.join(left_out)}] out of its [_source]" if left_out else None


def _in_source(source: Mapping[str, Any], name: str) -> bool:
    parts = name.split(".")
    paths = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]

    def named(key: str) -> bool:
        return any(matches(path, pattern) for pattern in source.get(key, ()) for path in paths)

    return not named("excludes") and (not source.get("includes") or named("includes"))


def _definition(properties: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what a mapping says of a field; of the field that it stands for, if it is an alias."""
    found = _field(properties, name)
    return _field(properties, found["path"]) if found.get("type") == "alias" and "path" in found else found


def _field(properties: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for key, definition in properties.items():
        if key == name:
            return dict(definition)
        if name.startswith(f"{key}."):
            below = definition.get("properties") or definition.get("fields") or {}
            if found := _field(below, name[len(key) + 1 :]):
                return found
    return {}
