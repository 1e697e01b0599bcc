"""The text of a field, as a reranker, ``/rescore``, a prompt and LangChain take it from a hit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from es_rerank.cli.search import excerpt_of
from es_rerank.integrations.langchain import document_of
from es_rerank.retrievers.planning.passages import passages_of
from es_rerank.retrievers.planning.text_source import TextSource, with_texts
from es_rerank.retrievers.response.rescore import rescore_candidates
from es_rerank.text.hit_fields import field_passages, field_text, field_values
from es_rerank.types import Candidate, Passage

DEEP: list[Any] = ["deep"]
for _ in range(5_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("hit", "field", "text"),
    [
        ({"_source": {"text": "one"}}, "text", "one"),
        ({"_source": {"text": ["one", "two"]}}, "text", "one\ntwo"),
        ({"_source": {"text": [["one"], [["two"]]]}}, "text", "one\ntwo"),
        ({"_source": {"text": DEEP}}, "text", "deep"),
        ({"_source": {"text": [None, "two", {"an": "object"}]}}, "text", "two"),
        ({"_source": {"text": 7}}, "text", "7"),
        ({"_source": {"text": [1.5, True, False]}}, "text", "1.5\ntrue\nfalse"),
        ({"_source": {"doc": {"body": "nested"}}}, "doc.body", "nested"),
        ({"_source": {"doc.body": "dotted"}}, "doc.body", "dotted"),
        ({"_source": {"a": {"b.c": {"d": "both"}}}}, "a.b.c.d", "both"),
        ({"_source": {"docs": [{"a": {"b": "one"}}, {"a": [{"b": "two"}]}]}}, "docs.a.b", "one\ntwo"),
        ({"_source": {"title": "parent"}}, "title.english", "parent"),
        ({"_source": {}, "fields": {"title": ["T"], "title.english": ["t"]}}, "title.english", "t"),
        ({"_source": {"title": "T"}, "fields": {"title.english": ["t"]}}, "title.english", "t"),
        ({"_source": {"text": None}, "fields": {"text": ["kept", "apart"]}}, "text", "kept\napart"),
        ({"fields": {"passages": [{"text": ["one"]}, {"text": ["two"]}]}}, "passages.text", "one\ntwo"),
        ({"_source": {"text": "first"}, "fields": {"text": ["second"]}}, "text", "first"),
        ({"_source": {"text": {"an": "object"}}}, "text", ""),
        ({"_source": {"text": ""}}, "text", ""),
        ({"_source": {"textual": "other"}}, "text", ""),
        ({}, "text", ""),
    ],
)
def test_every_reader_finds_the_same_text(hit: dict[str, Any], field: str, text: str) -> None:
    assert field_text(hit, field) == text
    hit = {"_index": "i", "_id": "a", **hit}
    assert "\n".join(passage.text for passage in passages_of({"hits": {"hits": [hit]}}, [field])) == text
    assert document_of(hit, [field], "reranked").page_content == text
    if text:
        (read,) = rescore_candidates({"hits": {"hits": [hit]}}, [field])
        assert "\n".join(passage.text for passage in read.passages) == text
    fetched = {"fields": {field: field_values(hit, field)}}
    source = TextSource((field,), chunked=field)
    read = with_texts(Candidate("i", "a", 1.0, 1), fetched, source)
    assert (read.context, "".join(passage.text for passage in read.passages)) == (text, text)


@pytest.mark.parametrize(
    ("holder", "passages"),
    [
        ([{"text": "one", "start": 0, "end": 3}, {"text": "two", "start": 4, "end": 7}], [(0, 3), (4, 7)]),
        ([{"text": "one"}, {"text": "two"}], [(0, 0), (0, 0)]),
        ([{"text": "one"}, {"other": 1}, {"text": None}, {"text": ""}], [(0, 0)]),
        ([{"text": "one", "start": 4, "end": 7}], [(4, 7)]),
        ({"text": "one", "start": 4, "end": 7}, [(4, 7)]),
        ([{"text": ["one"], "start": [4], "end": [7]}], [(4, 7)]),
        ([{"text": "one", "start": "4", "end": "7"}], [(4, 7)]),
        ([{"text": "one", "start": None, "end": None}], [(0, 0)]),
        ([{"text": "one", "start": "here", "end": 7}], [(0, 0)]),
        ([{"text": "one", "start": [4, 5], "end": {}}], [(0, 0)]),
        ([{"text": "one", "start": 7, "end": 4}], [(0, 0)]),
        ([{"text": "one", "start": -1, "end": 4}], [(0, 0)]),
        ([{"text": "one", "start": True, "end": True}], [(0, 0)]),
        ({"text": "one"}, []),
        ("one", []),
    ],
)
def test_passages_that_are_stored(holder: Any, passages: list[tuple[int, int]]) -> None:
    for hit in ({"_source": {"passages": holder}}, {"fields": {"passages": holder}}):
        found = field_passages(hit, "passages.text")
        assert found == [Passage(text, *place) for text, place in zip(["one", "two"], passages, strict=False)]
        if not found and isinstance(holder, dict):
            assert field_passages(hit, "passages.text", "passages") == [Passage("one", 0, 0)]


def test_the_mapping_may_say_which_objects_are_passages() -> None:
    hit = {"fields": {"parts": [{"meta.text": ["one"], "start": [4], "end": [7]}]}}
    assert field_passages(hit, "parts.meta.text", "parts") == [Passage("one", 4, 7)]


def test_rescore_reads_passages_from_fields_and_survives_offsets_that_are_none() -> None:
    holder = [{"text": ["one"]}, {"text": ["two"], "start": [None], "end": ["x"]}]
    hit = {"_id": "a", "fields": {"title": ["T"], "passages": holder}}
    (read,) = rescore_candidates({"hits": {"hits": [hit]}}, ["title", "passages.text"])
    assert (read.context, read.passages) == ("T", (Passage("one", 0, 0), Passage("two", 0, 0)))


def test_a_prompt_reads_what_was_fetched_as_fields() -> None:
    hit = {"_index": "i", "_id": "a", "fields": {"title": ["T"], "text": ["one"]}}
    (passage,) = passages_of({"hits": {"hits": [hit]}})
    assert (passage.text, passage.start, passage.end, passage.context) == ("one", 0, 3, "T")


def test_a_title_of_several_values_is_shown_as_text() -> None:
    hit = {"_source": {"title": ["T", "U"], "text": ["one", "two"]}, "fields": {}}
    assert excerpt_of(hit) == "T U: one two"


def test_langchain_gets_the_text_of_fields() -> None:
    document: Document = document_of({"_id": "a", "fields": {"body": ["one"]}}, ["text", "body"], "reranked")
    assert document.page_content == "one"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b"]), inner),
    max_leaves=20,
)


@given(source=JSON, fields=JSON, name=st.text(alphabet="ab.", max_size=8))
def test_any_hit_can_be_read(source: Any, fields: Any, name: str) -> None:
    hit = {"_source": source, "fields": fields}
    assert isinstance(field_text(hit, name), str)
    assert all(passage.text for passage in field_passages(hit, name))
