"""Which values an index keeps apart from ``_source``, from its mapping."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.retrievers.planning.text_source import TextSource
from es_rerank.retrievers.planning.values_apart import Apart, apart, apart_body, why_unread

PROPERTIES: dict[str, Any] = {
    "text": {"type": "text"},
    "stored": {"type": "text", "store": True},
    "word": {"type": "keyword"},
    "bare": {"type": "keyword", "doc_values": False},
    "a": {"properties": {"b.c": {"type": "keyword"}}},
    "title": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
    "other": {"type": "alias", "path": "stored"},
}
OFF: dict[str, Any] = {"mappings": {"_source": {"enabled": False}, "properties": PROPERTIES}}


def source(name: str) -> TextSource:
    return TextSource((), chunked=name)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("text", Apart()),
        ("stored", Apart(stored=("stored",))),
        ("word", Apart(doc_values=("word",))),
        ("bare", Apart()),
        ("a.b.c", Apart(doc_values=("a.b.c",))),
        ("title.raw", Apart(doc_values=("title.raw",))),
        ("other", Apart(stored=("other",))),
        ("absent", Apart()),
    ],
)
def test_a_field_without_source_is_read_where_the_mapping_keeps_it(name: str, way: Apart) -> None:
    assert apart(OFF, [name], source(name)) == way


def test_nothing_is_asked_where_source_has_everything() -> None:
    assert not apart({"mappings": {"properties": PROPERTIES}}, ["stored"], source("stored"))


def test_a_mapping_that_may_not_be_read_leaves_stored_fields() -> None:
    way = apart({}, ["text"], source("text"))
    assert way == Apart(stored=("text",))
    body = apart_body(way, source("text"), "query", [])
    assert body["stored_fields"] == ["text"]
    assert "docvalue_fields" not in body, "Elasticsearch refuses those of a text"


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({}, "text", None),
        ({"enabled": True}, "text", None),
        ({"enabled": False}, "text", "keeps no [_source]"),
        ({"mode": "disabled"}, "text", "keeps no [_source]"),
        ({"mode": "synthetic"}, "text", None),
        ({"excludes": ["text"]}, "text", "leaves [text] out of its [_source]"),
        ({"excludes": ["te*"]}, "text", "leaves [text] out of its [_source]"),
        ({"excludes": ["a"]}, "a.b", "leaves [a.b] out of its [_source]"),
        ({"excludes": ["a.*"]}, "a.b", "leaves [a.b] out of its [_source]"),
        ({"excludes": ["a.c"]}, "a.b", None),
        ({"includes": ["a"]}, "a.b", None),
        ({"includes": ["a.b"]}, "a.c", "leaves [a.c] out of its [_source]"),
        ({"includes": ["a*"], "excludes": ["a.b"]}, "a.b", "leaves [a.b] out of its [_source]"),
    ],
)
def test_why_a_value_is_not_in_source(settings: dict[str, Any], name: str, why: str | None) -> None:
    assert why_unread({"mappings": {"_source": settings}}, [name]) == why


def test_a_setting_of_the_index_says_it_too() -> None:
    setting = {"index": {"mapping": {"source": {"mode": "disabled"}}}}
    assert why_unread({"settings": setting}, ["text"]) == "keeps no [_source]"
    assert why_unread({}, ["text"]) is None, "nothing is known"
