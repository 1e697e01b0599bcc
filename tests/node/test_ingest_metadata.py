"""Metadata of any shape: numbers filter as numbers, dates as dates, and no value refuses its document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from commands import run
from elasticsearch import Elasticsearch
from ingests import an_ingest, everything, found, read, source_of, write

import ingest_pipelines
from es_rerank.collection import Document
from es_rerank.node import Node
from ingest_pipelines import IngestReport, read_sources
from ingest_pipelines.metadata import KEYWORD_LIMIT, MOST_FIELDS, MetadataFields


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def documents(values: Iterable[Any], key: str = "value") -> list[Document]:
    """One document for each value, with its place as id."""
    return [Document(str(place), "", "x", {key: value}) for place, value in enumerate(values)]


def index_one_by_one(es: Elasticsearch, index: str, values: Iterable[Any]) -> IngestReport:
    """Each document is a batch, so that the first value alone decides the type."""
    report: IngestReport = an_ingest(es, batch=1).run(index, documents(values))
    return report


def unfit(report: IngestReport) -> list[str]:
    return [str(entry) for entry in report.unfit]


def between(field: str, **limits: Any) -> dict[str, Any]:
    return {"range": {f"metadata.{field}": limits}}


def is_(field: str, value: Any) -> dict[str, Any]:
    return {"term": {f"metadata.{field}": value}}


# --- the first value does not rule


@pytest.mark.parametrize("values", [[1, 1.5], [1.5, 1], [0, 1.5, -3, 2**53]])
def test_whole_numbers_and_fractions_share_a_field(
    es: Elasticsearch, index: str, values: list[float]
) -> None:
    report = index_one_by_one(es, index, values)
    assert (report.failed, report.unfit) == (0, ())
    above = {str(place) for place, value in enumerate(values) if value > 1.2}
    assert found(es, index, between("value", gt=1.2)) == above


def test_a_date_field_takes_what_is_no_date(es: Elasticsearch, index: str) -> None:
    report = index_one_by_one(es, index, ["2020-01-01", "n.d.", "2021-05-05T10:00:00Z", 7])
    assert (report.documents, report.failed) == (4, 0)
    assert found(es, index, between("value", gte="2020-01-01")) == {"0", "2"}
    assert found(es, index, is_("value.keyword", "n.d.")) == {"1"}
    assert found(es, index, between("value.number", gt=6)) == {"3"}
    assert unfit(report) == [
        "1 value of metadata.value: numbers in a field of dates; filter them by metadata.value.number",
        "1 value of metadata.value: texts in a field of dates; filter them by metadata.value.keyword",
    ]
    ignored = es.search(index=index, query={"exists": {"field": "_ignored"}})["hits"]["hits"]
    assert {hit["_id"] for hit in ignored} == {"1", "3"}


def test_a_text_that_comes_first_hides_no_number_and_no_date(es: Elasticsearch, index: str) -> None:
    report = index_one_by_one(es, index, ["unknown", 1648, "2020-01-01", 9, "unknown"])
    assert report.documents == 5
    assert found(es, index, between("value.number", lt=1000)) == {"3"}
    assert found(es, index, between("value.date", gte="2020")) == {"2"}
    assert found(es, index, is_("value", "unknown")) == {"0", "4"}
    assert unfit(report)[0] == (
        "2 values of metadata.value: numbers in a field of texts; filter them by metadata.value.number"
    )


def test_the_values_of_a_whole_batch_decide(es: Elasticsearch, index: str) -> None:
    values = ["n.d.", "2020-01-01", "2021-01-01"]
    assert an_ingest(es, batch=3).run(index, documents(values)).documents == 3
    assert found(es, index, between("value", gte="2020-06-01")) == {"2"}


def test_numbers_follow_numbers_in_a_later_run(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, [Document("a", "", "x", {"value": 1})])
    report = an_ingest(es).run(
        index, [Document("b", "", "x", {"value": 1.5}), Document("c", "", "x", {"value": "soon"})]
    )
    assert found(es, index, between("value", gt=1.2)) == {"b"}
    assert found(es, index, is_("value.keyword", "soon")) == {"c"}
    assert [entry.values for entry in report.unfit] == [1]


def test_a_whole_number_beyond_a_double_is_exact(es: Elasticsearch, index: str) -> None:
    big = 2**53 + 1
    assert index_one_by_one(es, index, [big, big - 1, big + 1, 5, 1.5]).failed == 0
    assert found(es, index, is_("value", big)) == {"0"}
    assert found(es, index, between("value", lte=5)) == {"3"}
    assert found(es, index, between("value.number", lt=2)) == {"4"}


def test_a_big_whole_number_after_small_ones_is_exact_in_a_sub_field(es: Elasticsearch, index: str) -> None:
    big = 2**53 + 1
    report = index_one_by_one(es, index, [1, big, big - 1, 10**30])
    assert report.failed == 0
    assert found(es, index, is_("value.long", big)) == {"1"}
    assert found(es, index, is_("value.keyword", str(10**30))) == {"3"}
    assert unfit(report) == [
        f"1 value of metadata.value: whole numbers beyond 2^{power} in a field of numbers; "
        f"filter them by metadata.value.{name}"
        for power, name in ((53, "long"), (63, "keyword"))
    ]


def test_a_number_that_is_written_as_text_filters_as_a_number(es: Elasticsearch, index: str) -> None:
    report = index_one_by_one(es, index, [2020, "2021", "about 2022"])
    assert found(es, index, between("value", gte=2021)) == {"1"}
    assert [entry.values for entry in report.unfit] == [1]


def test_booleans_and_texts_share_a_field(es: Elasticsearch, index: str) -> None:
    report = index_one_by_one(es, index, [True, False, "perhaps", "true"])
    assert report.failed == 0
    assert found(es, index, is_("value", True)) == {"0", "3"}
    assert found(es, index, is_("value.keyword", "perhaps")) == {"2"}


@pytest.mark.parametrize(
    "day",
    [
        "1969-07-20",
        "1969/07/20",
        "1969-07-20 20:17:40",
        "1969-07-20 20:17:40.123456+00:00",
        "1969-07-20T20:17",
    ],
)
def test_dates_of_several_forms_share_a_field(es: Elasticsearch, index: str, day: str) -> None:
    report = index_one_by_one(es, index, ["2020-01-01", day])
    assert (report.failed, report.unfit) == (0, ())
    assert found(es, index, between("value", lt="1970")) == {"1"}


# --- shapes


SHAPES: dict[str, list[Any]] = {
    "a number, then an object": [1, {"inner": 2}],
    "an object, then a number": [{"inner": 2}, 1],
    "lists of everything": [[1, {"inner": 2}, "x", None, [3]], {"inner": [4, {"deeper": 5}]}],
    "null": [None, 1, [None]],
    "empty objects and lists": [{}, [], 1],
    "many levels": [json.loads('{"d":' * 40 + "1" + "}" * 40), 1],
    "a very long text": ["word " * 20_000, 1],
    "odd names inside": [{"": 1, " ": 2, ".": 3, "a..b": 4}, 1],
    "a name like a sub-field": [1, "x", {"keyword": "y"}, {"number": "z"}],
    "the largest and smallest numbers": [10**400, -(10**400), 1.7e308, 5e-324],
    "a control character": ["a\x00b", 1],
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_no_shape_refuses_a_document(es: Elasticsearch, index: str, shape: str) -> None:
    values = SHAPES[shape]
    report = index_one_by_one(es, index, values)
    assert (report.documents, report.failed) == (len(values), 0)
    for place, value in enumerate(values):
        assert source_of(es, index, str(place))["metadata"] == {"value": value}


def test_a_number_and_objects_are_all_found(es: Elasticsearch, index: str) -> None:
    index_one_by_one(es, index, [1, {"inner": 2}, [{"inner": 3}, 4]])
    assert found(es, index, between("value", gte=1)) == {"0", "2"}
    assert found(es, index, between("value.inner", gt=2)) == {"2"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([[{"name": "Ann", "age": 3}, {"name": "Bo"}], {"name": "Bo"}], "value.name"),
        ([{"name": "Bo"}, [{"name": "Bo"}]], "value.name"),
        ([[{"by": [{"name": "Cy"}, {"name": "Bo"}]}], {"by": {"name": "Bo"}}], "value.by.name"),
        ([[[{"name": ["Bo", "Cy"]}]], [{"name": "Bo"}, "x"]], "value.name"),
        ([{"by.name": "Bo"}, {"by": [{"name": "Bo"}]}], "value.by.name"),
        ([{"by": "x"}, {"by": 1}, {"by": {"number": [{"name": "Bo"}]}}], "value.by.number.name"),
    ],
)
def test_objects_in_lists_are_found(es: Elasticsearch, index: str, values: list[Any], field: str) -> None:
    report = index_one_by_one(es, index, values)
    assert (report.documents, report.failed) == (len(values), 0)
    places = {str(place) for place, value in enumerate(values) if "Bo" in str(value)}
    assert found(es, index, is_(field, "Bo")) == places
    assert [source_of(es, index, str(place))["metadata"]["value"] for place in range(len(values))] == values
    assert all(field not in text for text in unfit(report))


@pytest.mark.long
def test_objects_in_a_list_that_has_no_field_are_reported(es: Elasticsearch, index: str) -> None:
    many = [Document(str(n), "", "x", {f"f{n}": n}) for n in range(MOST_FIELDS - 1)]
    documents = [Document("one", "", "x", {"by": {"age": 3}}), *many]
    report = an_ingest(es).run(index, [*documents, Document("list", "", "x", {"by": [{"age": 3}]})])
    assert found(es, index, is_("by.age", 3)) == {"one"}
    (entry,) = report.unfit
    assert (entry.field, entry.values) == ("metadata.by.age", 1)
    assert entry.reason == f"not indexed, because the index has {MOST_FIELDS} metadata fields already"


def test_a_key_with_a_dot_is_the_field_of_an_object(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(
        index, [Document("a", "", "x", {"by.name": "Ann"}), Document("b", "", "x", {"by": {"name": "Bo"}})]
    )
    assert found(es, index, is_("by.name", "Ann")) == {"a"}
    assert found(es, index, is_("by.name", "Bo")) == {"b"}


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_a_column_without_a_name_is_stored_beside_the_others(es: Elasticsearch, index: str, key: str) -> None:
    report = an_ingest(es).run(index, [Document("a", "", "x", {key: 0, "year": 1648})])
    assert (report.documents, report.failed) == (1, 0)
    assert found(es, index, between("year", gt=1600)) == {"a"}
    source = source_of(es, index, "a")
    assert (source["metadata"], source["metadata_unindexed"]) == ({"year": 1648}, {key: 0})
    assert "takes no field of such a name" in unfit(report)[0]


@pytest.mark.parametrize("key", [".", "x.", ".x", "x..y", "n" * 600])
def test_a_name_that_no_field_can_have_is_stored_and_reported(
    es: Elasticsearch, index: str, key: str
) -> None:
    report = an_ingest(es).run(index, [Document("a", "", "x", {key: 1})])
    assert report.documents == 1
    assert source_of(es, index, "a")["metadata"] == {key: 1}
    assert "takes no field of such a name" in unfit(report)[0]


def test_more_fields_than_an_index_takes_are_stored_and_reported(es: Elasticsearch, index: str) -> None:
    many = [Document(str(n), "", "x", {f"f{n}": n, f"g{n}": "n.d."}) for n in range(600)]
    report = an_ingest(es, batch=50).run(index, [*many, Document("late", "", "x", {"f0": 7, "f599": 8})])
    assert (report.documents, report.failed) == (601, 0)
    assert found(es, index, between("f0", gt=6)) == {"late"}
    assert source_of(es, index, "late")["metadata"] == {"f0": 7, "f599": 8}
    (entry,) = report.unfit
    assert (entry.values, entry.others) == (1200 - MOST_FIELDS + 1, True)
    assert entry.reason == f"not indexed, because the index has {MOST_FIELDS} metadata fields already"


def test_a_long_text_is_stored_and_reported(es: Elasticsearch, index: str) -> None:
    short, long = "😀" * (KEYWORD_LIMIT // 2), "😀" * (KEYWORD_LIMIT // 2) + "x"
    report = index_one_by_one(es, index, [short, long])
    assert found(es, index, is_("value", short)) == {"0"}
    assert unfit(report) == [
        "1 value of metadata.value: not indexed, because they are longer than 1024 characters"
    ]


# --- what the ingest reports is what Elasticsearch ignored


TEXTS = (
    "2020-01-01|2020|2020-01|2020-02-30|2020-13-01|2020-02-29|2021-02-29|0000-01-01|2020-1-1|"
    "2020-01-01T10|2020-01-01T10:00|2020-01-01T10Z|2020-01-01T24:00:00|2020-01-01T10:00:60Z|"
    "2020-01-01T10:00:00+0100|2020-01-01T10:00:00+01|2020-01-01T10:00:00+01:00:00|"
    "2020-01-01T10:00:00.123456789Z|2020-01-01T10:00:00.1234567891|2020-01-01T10:00:00,5|"
    "2020-01-01 10:00|2020-01-01 10:00:00|2020-01-01 10:00:00.123|2020-01-01 10:00:00.123456|"
    "2020-01-01 10:00:00.1|2020-01-01 10:00:00Z|2020-01-01 10:00:00+01:00|2020-01-01T10:00:00 Z|"
    "2020/01/01|2020/01/01 10:00:00|2020/01-01|2020/01/01T10:00| 2020-01-01|12020-01-01|"
    "1| 12 |1.5|.5|5.|1e5|1e400|NaN|Infinity|1,5|1_0|+5|\uff11\uff12|-0|--1"
)
STRANGE: list[Any] = [
    *TEXTS.split("|"),
    *(1, 1.0, 1.5, -0.0, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**40, 10**400, 1577836800000),
    *(True, False, "true", "false", "True", "yes", "x", "x" * 1024, "x" * 1025, "😀" * 513),
]
"""Values at the borders of what Elasticsearch's parsers take."""

BEYOND_ELASTICSEARCH: dict[str, set[Any]] = {
    # A double takes it, but not exactly.
    "number": {2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**40},
    # A keyword takes everything that is short; but a range over it compares texts.
    "text": {value for value in STRANGE if not isinstance(value, str | bool) and -(2**63) <= value < 2**63},
}


@pytest.mark.parametrize(
    ("kind", "first"),
    [("number", 1), ("long", 2**60), ("date", "1999-12-31"), ("boolean", True), ("text", "t")],
)
def test_what_is_reported_is_what_elasticsearch_ignores(
    es: Elasticsearch, index: str, kind: str, first: Any
) -> None:
    an_ingest(es).run(index, [Document("first", "", "x", {"value": first})])
    assert an_ingest(es, batch=100).run(index, documents(STRANGE)).failed == 0
    mapping = es.indices.get_mapping(index=index)[f"{index}-000001"]["mappings"]["properties"]
    fields = MetadataFields(mapping["metadata"]["properties"])
    reported = {str(place) for place, value in enumerate(STRANGE) if any(fields.unfit({"value": value})[0])}
    hits = es.search(index=index, size=200, query={"exists": {"field": "_ignored"}})["hits"]["hits"]
    ignored = {hit["_id"] for hit in hits if "metadata.value" in hit["_ignored"]}
    extra = {STRANGE[int(place)] for place in reported - ignored}
    assert {STRANGE[int(place)] for place in ignored - reported} == set()
    dates = {value for value in STRANGE if isinstance(value, str) and fields_date(value)}
    assert extra == BEYOND_ELASTICSEARCH.get(kind, set()) | (dates if kind == "text" else set())


def fields_date(text: str) -> bool:
    """Whether a new field of this value alone is a field of dates."""
    fields = MetadataFields({})
    return bool(fields.learn([{"value": text}])["value"]["type"] == "date")


# --- readers and the command


def test_a_file_of_mixed_types_is_indexed_whole_and_the_command_says_what_it_did(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    records = [
        {"_id": "a", "text": "x", "rating": 1, "on": "2020-01-01", "": 0},
        {"_id": "b", "text": "x", "rating": 1.5, "on": "n.d.", "": 1},
        {"_id": "c", "text": "x", "rating": "none", "on": {"day": "2021-01-01"}, "": 2},
    ]
    source = write(tmp_path / "a.jsonl", records)
    done = run("ingest", "--elasticsearch-url", node.url, index, str(source), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 3
    said = " ".join(done.stderr.split())
    assert "1 value of metadata.on: texts in a field of dates; filter them by metadata.on.keyword" in said
    assert "1 value of metadata.rating: texts in a field of numbers" in said
    assert "3 values of metadata.: not indexed" in said
    assert found(es, index, between("rating", gt=1.2)) == {"b"}
    assert found(es, index, between("on.day", gt="2020")) == {"c"}


def test_a_reject_is_still_a_reject(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    """A number of more than a thousand digits is the one value that Elasticsearch cannot even store."""
    source = write(
        tmp_path / "a.jsonl", [{"_id": "a", "text": "x", "n": 10**1200}, {"_id": "b", "text": "x"}]
    )
    report = an_ingest(es).run(index, read_sources([source]))
    assert (report.documents, report.failed) == (1, 1)
    assert "Number value length" in read(report.rejects)[0]["reason"]
    assert everything(es, index) == {"b"}


def test_two_ingests_that_choose_types_at_once_agree(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another ingest gives the field another type between our look at the mapping and our change of it."""
    an_ingest(es).run(index, [])
    learn, others = MetadataFields.learn, [{"value": 1}]

    def late(fields: MetadataFields, batch: Any) -> dict[str, Any]:
        chosen = learn(fields, batch)
        if others:
            an_ingest(es).run(index, [Document("other", "", "x", others.pop())])
        return chosen

    monkeypatch.setattr(MetadataFields, "learn", late)
    report = an_ingest(es).run(index, [Document("ours", "", "x", {"value": "soon"})])
    assert (report.documents, report.failed) == (1, 0)
    assert found(es, index, between("value", gte=1)) == {"other"}
    assert found(es, index, is_("value.keyword", "soon")) == {"ours"}


# --- an index of the template, which any writer fills


def test_the_template_of_the_plugin_refuses_no_value_either(es: Elasticsearch, index: str) -> None:
    """Elasticsearch chooses the types here, by the first value."""
    definitions = Path(ingest_pipelines.__file__).parent / "definitions"
    template = json.loads((definitions / "passages_template.json").read_text())["template"]
    del template["settings"]["index.default_pipeline"]  # it needs the plugin
    es.indices.create(index=index, **template)
    sources: list[dict[str, Any]] = [
        {"rating": 1, "on": "2020-01-01", "open": True, "zip": "1010"},
        {"rating": 1.5, "on": "n.d.", "open": "perhaps", "zip": "n/a"},
        {"rating": "none", "metadata": {"value": 1}},
        {"rating": 1, "metadata": {"value": {"inner": 2}}},
        {f"f{n}": n for n in range(1_100)},
    ]
    for place, source in enumerate(sources):
        es.index(index=index, id=str(place), document={"text": "x", **source}, refresh=True)
    assert found(es, index, {"range": {"rating": {"gt": 1.2}}}) == {"1"}
    assert found(es, index, {"range": {"on": {"gte": "2020"}}}) == {"0"}
    assert found(es, index, {"term": {"on.keyword": "n.d."}}) == {"1"}
    assert found(es, index, {"term": {"zip.keyword": "n/a"}}) == {"1"}
    assert found(es, index, between("value.inner", gt=1)) == {"3"}
    assert found(es, index, {"exists": {"field": "_ignored"}}) == {"1", "2", "4"}
