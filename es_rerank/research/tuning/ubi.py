"""Reads logs of User Behavior Insights (UBI): searches with their hits, and events such as clicks.

The fields are those of UBI 1.3.0 (https://github.com/o19s/ubi, docs/schema): of a search ``query_id``,
``user_query`` and ``query_response_hit_ids``; of an event ``action_name``, ``query_id``,
``event_attributes.object.object_id`` and ``event_attributes.position.ordinal``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...collection import read_jsonl
from ...errors import SourceError
from .clicks import ClickLog, Shown
from .texts import separator_of, table, text_of

CLICK = "click"
"""The default of the actions that count as a click."""

IMPRESSION = "impression"
"""The action of an event that says that a document was shown."""

_HITS = ("query_response_hit_ids", "query_response_objects_ids", "query_response_object_ids")
"""The field of the hits of a search in UBI 1.3.0, and its earlier names."""

_OBJECT, _POSITION = "event_attributes.object.object_id", "event_attributes.position.ordinal"

Record = Mapping[str, Any]


def records_of(path: Path) -> Iterator[Record]:
    """Yield the records of an export: JSON lines, or a table with the full names of fields in its header.

    The ``_source`` of a hit of Elasticsearch counts as its record. Raises SourceError for a line of another
    form.
    """
    text = text_of(path)
    if text.lstrip().startswith("{"):
        for _, record in read_jsonl(path):
            source = record.get("_source")
            yield source if isinstance(source, dict) else record
        return
    separator = separator_of(text, [("query_id",)])
    if separator is None:
        raise SourceError(
            f"{path} is neither JSON lines nor a table with the column query_id; export events and searches "
            "of UBI so",
            path=str(path),
        )
    for _, row in table(text, separator, path):
        yield row


@dataclass
class _Search:
    """One search: the query's text, and the positions of the documents that it showed, from 1."""

    query: str = ""
    places: dict[str, int] = field(default_factory=dict)
    listed: bool = False
    clicked: set[str] = field(default_factory=set)


def read_log(records: Iterable[Record], *, clicks: Sequence[str] = (CLICK,)) -> ClickLog:
    """Return which documents were shown and clicked, from searches and events in any order.

    A record with an ``action_name`` is an event, another one is a search. What a search showed is its list of
    hits, or its events of the action ``impression`` where it has no list. ``clicks`` are the actions that
    count as a click. Several clicks on one document in one search count once.
    """
    searches: dict[str, _Search] = {}
    wanted, counted = set(clicks), Counter[str]()
    for record in records:
        search = searches.setdefault(_text(record, "query_id"), _Search())
        search.query = search.query or " ".join(_text(record, "user_query").split())
        action = _text(record, "action_name")
        document = _text(record, _OBJECT)
        if not action:
            hits = _hits(record)
            if hits:
                search.listed = True
                search.places = {name: place for place, name in enumerate(dict.fromkeys(hits), 1)}
        elif action in wanted:
            counted["clicks"] += 1
            counted["repeated_clicks"] += document in search.clicked
            search.clicked.add(document)
        elif action == IMPRESSION:
            position = _position(record)
            if not search.listed and document and position is not None:
                search.places.setdefault(document, position)
        else:
            counted["unreadable_events"] += 1
    unnamed = searches.pop("", None)
    if unnamed is not None:
        counted["clicks_not_shown"] += len(unnamed.clicked)
    return _log(searches.values(), counted)


def _log(searches: Iterable[_Search], counted: Counter[str]) -> ClickLog:
    shown: Counter[Shown] = Counter()
    clicked: Counter[Shown] = Counter()
    for search in searches:
        counted["searches"] += 1
        if not search.query:
            counted["queries_without_text"] += 1
            continue
        counted["searches_without_hits"] += not search.places
        for document, position in search.places.items():
            shown[Shown(search.query, document, position)] += 1
        for document in search.clicked:
            if document in search.places:
                clicked[Shown(search.query, document, search.places[document])] += 1
            else:
                counted["clicks_not_shown"] += 1
    return ClickLog(shown, clicked, {name: count for name, count in counted.items() if count})


def check_log(log: ClickLog, where: str) -> None:
    """Check that a log shows documents and clicks. Raises SourceError when it lacks one of them."""
    if not log.shown:
        raise SourceError(
            f"{where} shows no documents: without the hits of the searches a click cannot be compared with "
            "what was expected at its position; add the searches (ubi_queries) with --queries, with "
            "query_id, user_query and query_response_hit_ids, or log events of the action impression with "
            "their user_query",
            path=where,
        )
    if not log.clicked:
        raise SourceError(
            f"{where} has no click on a document that its search showed; name the action of a click with "
            "--click-action, or check that events and searches have the same query_id and object_id",
            path=where,
        )


def _value(record: Record, name: str) -> Any:  # noqa: ANN401 any JSON value
    """Return the value of a field: by its full name, or through the objects that its name leads through."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(record: Record, name: str) -> str:
    value = _value(record, name)
    return "" if value is None or isinstance(value, (bool, Mapping, list)) else str(value).strip()


def _hits(record: Record) -> list[str]:
    value = next((found for name in _HITS if (found := _value(record, name)) is not None), None)
    if isinstance(value, list):
        return [str(name) for name in value if isinstance(name, (str, int)) and str(name)]
    # A table has the list as one field: Kibana writes "a, b", other programs write JSON's brackets.
    return [name for name in re.split(r"[\s,;\"'\[\]]+", value) if name] if isinstance(value, str) else []


def _position(record: Record) -> int | None:
    try:
        return int(float(_text(record, _POSITION)))
    except (ValueError, OverflowError):
        return None
