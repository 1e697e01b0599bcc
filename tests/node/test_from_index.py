"""Documents that are in an Elasticsearch index already: which fields are read, and what disturbs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from ingests import MOON, TREATY, WEB, an_ingest, everything, source_of
from proxies import Outcome, Rule, first_of_each, proxied

from es_rerank.cli.from_index import FromIndex, index_source
from es_rerank.collection import Document, as_document
from es_rerank.errors import SettingsError, SourceError
from es_rerank.node import Node
from es_rerank.settings import Settings
from ingest_pipelines import Reject
from ingest_pipelines.patience import Patience
from ingest_pipelines.reading.elasticsearch_index import index_documents
from ingest_pipelines.reading.fields import Fields
from ingest_pipelines.reading.index_pages import IndexWalk

TEXT = {"type": "text"}
AT_ONCE = Patience(max_retries=3, initial_backoff_s=0)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def read(es: Elasticsearch, index: str, fields: Fields | None = None, **more: Any) -> list[Document | Reject]:
    with index_documents(es, index, fields=fields, patience=AT_ONCE, **more) as documents:
        return list(documents)


def made(es: Elasticsearch, index: str, properties: dict[str, Any], **source: Any) -> None:
    es.indices.create(index=index, mappings={"properties": properties})
    es.index(index=index, id="1", document=source, refresh=True)


# --- which fields


def test_an_index_of_es_rerank_comes_back_exactly(es: Elasticsearch, index: str) -> None:
    documents = [as_document(each, Path("x"), 1) for each in (TREATY, MOON, WEB)]
    blank = Document("blank", "", "one text", {"": 1, "year": [1, {"deep": None}], "metadata": "own"})
    marked = Document("marked", "t", "# Head\n\none text", {}, "markdown")
    an_ingest(es).run(f"{index}-old", [*documents, blank, marked])
    assert sorted(read(es, f"{index}-old")) == sorted([*documents, blank, marked])
    with index_documents(es, f"{index}-old") as again:
        report = an_ingest(es, dims=16).run(f"{index}-new", again)
    assert (report.documents, report.skipped, report.failed) == (5, 0, 0)
    with index_documents(es, f"{index}-old") as again:
        report = an_ingest(es, dims=16).run(f"{index}-new", again)
    assert (report.documents, report.skipped) == (0, 5)
    for name in ("title", "text", "metadata"):
        assert source_of(es, f"{index}-new", "treaty")[name] == source_of(es, f"{index}-old", "treaty")[name]


VECTOR = {"type": "dense_vector", "dims": 2}
DEEP = {"properties": {"body": {**TEXT, "fields": {"english": TEXT}}, "by": {"type": "keyword"}}}


@pytest.mark.parametrize(
    ("properties", "source", "fields", "expected"),
    [
        pytest.param(
            {"content": TEXT, "title": TEXT, "other": TEXT, "vector": VECTOR},
            {"content": "words", "title": "name", "other": "more", "vector": [1, 0]},
            Fields(),
            Document("1", "name", "words", {"other": "more"}),
            id="content",
        ),
        pytest.param(
            {"text": TEXT, "vector": VECTOR, "metadata": {"properties": {"page": {"type": "long"}}}},
            {"text": "words", "vector": [1, 0], "metadata": {"page": 3}},
            Fields(),
            Document("1", "", "words", {"page": 3}),
            id="as LangChain writes it",
        ),
        pytest.param(
            {"title": TEXT, "doc": DEEP},
            {"title": "name", "doc": {"body": ["one", "two"], "by": "me"}},
            Fields(),
            Document("1", "name", "one\ntwo", {"doc": {"by": "me"}}),
            id="the only text field, in an object, an array",
        ),
        pytest.param(
            {"a": TEXT, "b": TEXT, "doc": DEEP, "n": {"type": "long"}},
            {"a": "one", "b": "two", "doc": {"body": "x", "by": ["p", "q"]}, "n": 7, "left": 1},
            Fields(("a", "b"), "doc.body", "n", ("doc.by",)),
            Document("7", "x", "one\n\ntwo", {"doc.by": ["p", "q"]}),
            id="chosen",
        ),
        pytest.param(
            {
                "text": TEXT,
                "parts": {
                    "type": "nested",
                    "properties": {
                        "text": TEXT,
                        "vec": VECTOR,
                        "start": {"type": "long"},
                        "end": {"type": "long"},
                    },
                },
            },
            {"text": "words", "parts": [{"text": "words", "vec": [1, 0], "start": 0, "end": 5}], "x.y": 1},
            Fields(),
            Document("1", "", "words", {"x.y": 1}),
            id="passages of the plugin's processor",
        ),
    ],
)
def test_fields_are_chosen_or_found(
    es: Elasticsearch,
    index: str,
    properties: dict[str, Any],
    source: dict[str, Any],
    fields: Fields,
    expected: Document,
) -> None:
    made(es, index, properties, **source)
    assert read(es, index, fields) == [expected]


def test_fields_that_only_sound_like_ours_are_metadata(es: Elasticsearch, index: str) -> None:
    number = {"type": "integer"}
    made(
        es,
        index,
        {"text": TEXT, "passages": number, "content_hash": number},
        text="a",
        passages=3,
        content_hash=4,
    )
    assert read(es, index) == [Document("1", "", "a", {"passages": 3, "content_hash": 4})]


def test_of_our_own_index_fields_are_those_of_the_record(es: Elasticsearch, index: str) -> None:
    marked = Document("m", "T", "# T\n\nwords", {"year": 1, "text": "inner"}, "markdown")
    empty = Document("e", "only a title", "", {"year": 2})
    an_ingest(es).run(f"{index}-own", [marked, empty])
    assert sorted(read(es, f"{index}-own", Fields(text=("text",)))) == [empty, marked]
    for name in ("year", "metadata.year"):
        chosen = sorted(read(es, f"{index}-own", Fields(metadata=(name,))))
        assert chosen == [empty, marked._replace(metadata={"year": 1})]
    made(es, f"{index}-foreign", {"content": TEXT, "year": {"type": "long"}}, content="x", year=3)
    foreign = Document("1", "", "x", {"year": 3})
    assert sorted(read(es, f"{index}-*")) == sorted([marked, empty, foreign])


def test_the_filter_of_an_alias_holds(es: Elasticsearch, index: str) -> None:
    made(es, f"{index}-1", {"text": TEXT, "lang": {"type": "keyword"}}, text="secret", lang="x")
    es.index(index=f"{index}-1", id="2", document={"text": "open", "lang": "en"}, refresh=True)
    es.indices.put_alias(index=f"{index}-1", name=index, filter={"term": {"lang": "en"}})
    assert read(es, index) == [Document("2", "", "open", {"lang": "en"})]
    assert len(read(es, f"{index}-1")) == 2


@pytest.mark.parametrize(
    ("name", "rebuild", "told"),
    [
        ("", False, "is the index that is written"),
        ("-part", True, "finds only a part of the index that is written"),
    ],
)
def test_the_same_index_is_known_at_another_address(
    node: Node, es: Elasticsearch, index: str, name: str, told: str, *, rebuild: bool
) -> None:
    version = an_ingest(es).run(index, [Document("a", "", "x", {})]).version
    es.indices.put_alias(index=version, name=f"{index}-part", filter={"match_all": {}})
    url = node.url.replace("127.0.0.1", "localhost")
    given = FromIndex(f"{index}{name}", url, None, Fields())
    with (
        pytest.raises(SettingsError, match=told),
        index_source(given, index, es, Settings(), rebuild=rebuild, embedder="hash-16"),
    ):
        pass


def test_a_title_is_found_by_its_name_as_in_json_lines_and_told(es: Elasticsearch, index: str) -> None:
    made(
        es, index, {"body": TEXT, "headline": TEXT, "year": {"type": "long"}}, body="x", headline="T", year=1
    )
    notes: list[str] = []
    with index_documents(es, index, on_note=notes.append) as documents:
        assert list(documents) == [Document("1", "T", "x", {"year": 1})]
    assert notes == [
        f"index {index}: reads body as text and headline as title; --text-field and --title-field name others"
    ]
    with index_documents(es, index, fields=Fields(text=("body",)), on_note=notes.append) as documents:
        assert list(documents) == [Document("1", "", "x", {"headline": "T", "year": 1})]
    assert len(notes) == 1


def test_a_document_without_text_is_a_reject_and_others_go_on(es: Elasticsearch, index: str) -> None:
    made(es, index, {"text": TEXT, "by": {"type": "keyword"}}, by="me")
    es.index(index=index, id="2", document={"text": "words", "by": "you"}, refresh=True)
    reject, document = read(es, index)
    assert reject == Reject(f"index {index}, document 1: it has no text", {"_id": "1", "by": "me"}, "1")
    assert document == Document("2", "", "words", {"by": "you"})
    assert read(es, index, query={"term": {"by": "you"}}) == [document]


@pytest.mark.parametrize(
    ("mappings", "fields", "message"),
    [
        (None, Fields(), "there is no such index, alias or data stream"),
        ({"properties": {"a": TEXT, "b": TEXT}}, Fields(), "2 others: a, b; choose with --text-field"),
        ({"properties": {"a": {"type": "long"}}}, Fields(), "no other text field"),
        ({"properties": {"text": TEXT}}, Fields(("body",)), "has no field body; its fields are: text"),
        ({"properties": {"text": TEXT}}, Fields(id="nr"), "has no field nr; its fields are: text"),
        ({"properties": {"text": TEXT}, "_source": {"enabled": False}}, Fields(), "keeps no _source"),
        (
            {"properties": {"text": TEXT}, "_source": {"excludes": ["te*"]}},
            Fields(),
            "leaves the field text out of _source",
        ),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_made(
    es: Elasticsearch, index: str, mappings: dict[str, Any] | None, fields: Fields, message: str
) -> None:
    if mappings is not None:
        es.indices.create(index=index, mappings=mappings)
    with pytest.raises(SourceError, match=message):
        read(es, index, fields)


# --- what disturbs the reading


def many(es: Elasticsearch, index: str, number: int, *, shards: int = 2) -> set[str]:
    es.indices.create(
        index=index,
        mappings={"properties": {"text": TEXT}},
        settings={"number_of_shards": shards, "number_of_replicas": 0},
    )
    lines = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"text": f"text {n}"})]
    es.bulk(index=index, operations=lines, refresh=True)
    return {str(n) for n in range(number)}


def test_a_lost_point_in_time_is_opened_anew_without_gap_or_double(es: Elasticsearch, index: str) -> None:
    ids = many(es, index, 300)
    with IndexWalk(es, index, patience=AT_ONCE) as walk:
        seen: list[str] = []
        for hit in walk.hits():
            seen.append(hit["_id"])
            if len(seen) in (5, 100, 299):
                es.close_point_in_time(id=str(walk.pit))
                es.index(index=index, id=f"new {len(seen)}", document={"text": "x"}, refresh=True)
    assert len(seen) == len(set(seen))
    assert set(seen) - {"new 5", "new 100", "new 299"} == ids


@pytest.mark.long
def test_pages_are_bounded_in_bytes(node: Node, es: Elasticsearch, index: str) -> None:
    made(es, index, {"text": TEXT}, text="x" * 500_000)
    lines = [line for n in range(60) for line in ({"index": {"_id": f"l{n}"}}, {"text": "x" * 300_000})]
    es.bulk(index=index, operations=lines, refresh=True)
    with proxied(node.url, lambda *_: None) as proxy, Elasticsearch(proxy.url) as client:
        assert len(read(client, index)) == 61
        searches = [path for _, path, _, _ in proxy.seen if path == "/_search"]
    assert len(searches) >= 61 * 300_000 / (2 * 1024 * 1024)


def test_few_documents_are_asked_for_though_those_before_were_small(es: Elasticsearch) -> None:
    for source, most in ((True, 25), (False, 1_000)):
        walk = IndexWalk(es, "x", source=source)
        for _ in range(10):
            walk._adapt([{"_id": "small"}])  # noqa: SLF001 what the next page asks for
        assert walk._size == most  # noqa: SLF001


BAD_MOMENTS: dict[str, Outcome] = {"429": (429, b"{}"), "closed": "close", "lost": "lose"}


def rules() -> Iterator[tuple[str, Rule]]:
    for name, outcome in BAD_MOMENTS.items():
        yield name, first_of_each(outcome)

    def every_third(method: str, path: str, size: int) -> Outcome:
        asked.append(path)
        return (429, b"{}") if len(asked) % 3 == 0 else None

    asked: list[str] = []
    yield "every third", every_third


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, id=name, marks=[] if name == "every third" else pytest.mark.long)
        for name, rule in rules()
    ],
)
def test_bad_moments_are_waited_out_and_the_point_in_time_is_closed(
    node: Node, es: Elasticsearch, index: str, rule: Rule
) -> None:
    ids = many(es, index, 50)
    with proxied(node.url, rule) as proxy, Elasticsearch(proxy.url, max_retries=0) as client:
        assert sorted(each.id or "" for each in read(client, index)) == sorted(ids)
        with pytest.raises(ZeroDivisionError), index_documents(client, index, patience=AT_ONCE) as some:
            raise ZeroDivisionError(next(some))
        closed = [method for method, path, _, _ in proxy.seen if (method, path) == ("DELETE", "/_pit")]
    assert len(closed) == 2


def test_an_index_that_is_deleted_while_it_is_read_is_an_error(es: Elasticsearch, index: str) -> None:
    many(es, index, 50)
    with index_documents(es, index, patience=AT_ONCE) as documents:
        next(documents)
        es.indices.delete(index=index)
        with pytest.raises(SourceError, match="there is no such index"):
            list(documents)


def test_an_alias_that_moves_while_it_is_read_is_read_as_it_was(es: Elasticsearch, index: str) -> None:
    many(es, f"{index}-1", 50)
    many(es, f"{index}-2", 5)
    es.indices.put_alias(index=f"{index}-1", name=index)
    with index_documents(es, index, patience=AT_ONCE) as documents:
        next(documents)
        es.indices.update_aliases(
            actions=[
                {"remove": {"index": f"{index}-1", "alias": index}},
                {"add": {"index": f"{index}-2", "alias": index}},
            ]
        )
        assert len(list(documents)) == 49
    assert everything(es, index) == set("01234")
