"""Records: which fields are the text, the title, the id and metadata, in JSON and in tables."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources import given as read
from sources import put

from es_rerank.cli.source_options import SourcesArgument
from es_rerank.collection import RECORD_SHAPE
from ingest_pipelines import Fields

ALL: dict[str, Any] = {"_id": "1", "title": "T", "text": "x", "year": 2024, "metadata": {"by": "A"}}


@pytest.mark.parametrize(
    ("record", "fields", "title", "text", "metadata"),
    [
        (ALL, Fields(), "T", "x", {"year": 2024, "by": "A"}),
        (ALL, Fields(metadata=("by",)), "T", "x", {"by": "A"}),
        (ALL, Fields(text=("title",), title="text"), "x", "T", {"year": 2024, "by": "A"}),
        (ALL, Fields(text=("title", "metadata.by", "text")), "T", "T\n\nA\n\nx", {"year": 2024}),
        ({"id": 1, "content": "x", "headline": "T"}, Fields(), "T", "x", {}),
        ({"id": 1, "Body ": "x", "Name": "T", "n": 1}, Fields(), "T", "x", {"n": 1}),
        ({"ID": 1, "标题": "T", "正文": "x"}, Fields(), "T", "x", {}),
        ({"ID": 1, "Title": "T", "Body": "x", "Name": "N"}, Fields(), "T", "x", {"Name": "N"}),
        ({"id": 1, "text": "x", "name": "T", "body": "y"}, Fields(), "", "x", {"name": "T", "body": "y"}),
        ({"id": 1, "content": "x", "name": "T", "title": None}, Fields(), "", "x", {"name": "T"}),
        ({"id": 1, "a": {"b": "x", "c": 2}}, Fields(text=("a.b",)), "", "x", {"a": {"c": 2}}),
        ({"id": 1, "a": {"b": "x"}}, Fields(text=("a.b",)), "", "x", {}),
        ({"id": 1, "a.b": "x", "a": {"b": "y"}}, Fields(text=("a.b",)), "", "x", {"a": {"b": "y"}}),
        ({"id": 1, "a": [{"b": "x", "n": 1}, {"b": "y"}]}, Fields(("a.b",)), "", "x\n\ny", {"a": [{"n": 1}]}),
        ({"id": 1, "a": ["x", "", "y"], "t": 7}, Fields(text=("a",), title="t"), "7", "x\n\ny", {}),
        ({"id": 1, "a": "x", "b": ""}, Fields(text=("a", "b", "c")), "", "x", {}),
        ({"id": 1, "text": "x", "a": {"b": 1}}, Fields(metadata=("a.b", "no")), "", "x", {"a.b": 1}),
        ({"k": {"id": 1}, "text": "x"}, Fields(id="k.id"), "", "x", {}),
        ({"_id": None, "id": "1", "text": "x"}, Fields(), "", "x", {}),
        ({"_id": None, "id": "1", "body": "x"}, Fields(), "", "x", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_the_fields_of_a_record_are_read_as_their_names_or_the_options_say(
    tmp_path: Path, record: dict[str, Any], fields: Fields, title: str, text: str, metadata: object, name: str
) -> None:
    content = json.dumps(record if name == "a.jsonl" else [record])
    found = read(put(tmp_path, {name: content}), fields=fields)
    assert found.rejects == []
    assert [document[:4] for document in found.documents] == [("1", title, text, metadata)]


@pytest.mark.parametrize(
    ("record", "fields", "reason"),
    [
        ({"id": 1, "a": "x"}, Fields(), "its fields are id, a; none of them is the text; name it by"),
        ({"content": "x", "body": "y"}, Fields(), "both content and body may be the text"),
        ({"text": "x"}, Fields(text=("a",)), "it has no field a; its fields are: text"),
        ({"a": {"b": "x"}}, Fields(text=("a",)), '"a" must be a text or a list of texts, found dict'),
        ({"a": True}, Fields(text=("a",)), "found bool"),
        ({"a": "x"}, Fields(("a",), id="k"), '"k" must be a non-empty string or a whole number, found None'),
        ({"a": "x", "k": 1.5}, Fields(text=("a",), id="k"), "found 1.5"),
        ({"a": " ", "title": ""}, Fields(text=("a",)), "its text and its title are empty"),
        ({"text": "x", "metadata": 1}, Fields(metadata=("a",)), '"metadata" must be an object'),
    ],
)  # fmt: skip
def test_a_record_that_does_not_fit_the_options_says_why(
    tmp_path: Path, record: dict[str, Any], fields: Fields, reason: str
) -> None:
    (reject,) = read(put(tmp_path, {"a.jsonl": json.dumps(record)}), fields=fields).rejects
    assert reason in reject.reason
    assert reject.document == record


def test_a_field_that_no_record_has_is_told(tmp_path: Path) -> None:
    folder = put(tmp_path, {"a.jsonl": '{"a": "x"}\n{"a": "y", "n": 1}'})
    notes = read(folder, fields=Fields(text=("a", "b"), title="t", metadata=("n", "m"))).notes
    assert notes == [f"no record has the field {name}" for name in ("b", "t", "m")]


@pytest.mark.parametrize(
    "content", ["", '{"content": "x", "body": "y"}', '{"text": " ", "id": 1}', '{"text": 7}']
)
def test_a_field_of_records_that_are_no_documents_is_there(tmp_path: Path, content: str) -> None:
    records = f'{{"k": "1", "a": {{"b": 1}}, "text": ""}}\n{content}'
    found = read(put(tmp_path, {"a.jsonl": records}), fields=Fields(id="k", title="a"))
    assert (found.documents, found.notes) == ([], [])


@pytest.mark.parametrize("text", ["", " \\n"])
def test_a_record_without_any_words_is_a_reject_unless_judgements_count_it(tmp_path: Path, text: str) -> None:
    lines = f'{{"_id": "1", "title": "", "text": "{text}"}}\n{{"_id": "2", "title": "T", "text": ""}}\n'
    found = read(put(tmp_path / "files", {"a.jsonl": lines}))
    assert (found.ids, found.rejects[0].id) == (["2"], "1")
    assert "its text and its title are empty" in found.rejects[0].reason
    assert read(put(tmp_path / "beir", {"corpus.jsonl": lines})).ids == ["1", "2"]


def test_the_shape_of_a_line_stands_in_the_help_in_errors_and_in_the_documentation(tmp_path: Path) -> None:
    (reject,) = read(put(tmp_path, {"a.jsonl": '{"id": 1}'})).rejects
    assert RECORD_SHAPE in reject.reason
    (option,) = SourcesArgument.__metadata__  # type: ignore[attr-defined]
    assert RECORD_SHAPE in option.help
    documentation = (Path(__file__).parents[2] / "docs/documents.md").read_text(encoding="utf-8")
    assert RECORD_SHAPE in " ".join(documentation.replace("`", "").split())


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ('{"id": 1, "text": "x"}', ["1"]),
        ('{"took": 5, "docs": [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}], "next": null}', ["1", "2"]),
        ('{"docs": [], "tags": ["a"], "items": [{"id": 1, "content": "x"}]}', ["1"]),
        ('{"content": [{"id": 1, "text": "x"}]}', ["1"]),
        ('{"id": 1, "text": "x", "authors": [{"name": "A"}]}', ["1"]),
        ('{"id": 1, "text": "x"}\n{"id": 2, "text": "y"}', ["1", "2"]),
        ('{\n"id": 1, "text": "x"}\n{"id": 2,\n "text": "y"}', ["1", "2"]),
        ('\n[ {"id": 1, "text": "a ] } \\" \\ud83d\\ude00"} ,\n{"id": 2, "text": "y"} ]\n', ["1", "2"]),
    ],
)
@pytest.mark.parametrize("piece", [1, 5, 1 << 18])
def test_a_json_file_holds_its_records_in_one_of_several_ways(
    tmp_path: Path, content: str, ids: list[str], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_pipelines.reading.json_stream._CHUNK", piece)
    found = read(put(tmp_path, {"a.json": content}))
    assert (found.ids, found.rejects) == (ids, [])


values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
rows = st.lists(st.tuples(values.filter(str.strip), values, values), min_size=1, max_size=8)


@given(rows, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pythons_csv_writes_is_read_field_by_field(
    tmp_path: Path, table: list[tuple[str, ...]], delimiter: str, end: str, quoting: int
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # it leaves "\r" without quotes, and cannot read it either
        table = [tuple(cell.replace("\r", "\n") for cell in row) for row in table]
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("text", "title", "note, or; so"), *table])
    name = "a.tsv" if delimiter == "\t" else "a.csv"
    found = read(put(tmp_path, {name: written.getvalue()}) / name)
    assert found.rejects == []
    shown = [
        (document.text, document.title, str(document.metadata.get("note, or; so", "")))
        for document in found.documents
    ]
    assert shown == table


@pytest.mark.parametrize(
    ("cell", "value"),
    [("2024", 2024), ("-1", -1), ("1.5", 1.5), ("0", 0), ("123456789012345678", 123456789012345678)]
    + [
        (text, text)
        for text in ("007", "1.50", "1e5", "-0", "+1", "1,5", "9" * 19, "true", " 1", "\u0661", "NaN")
    ],
)
def test_a_cell_is_a_number_where_nothing_of_it_is_lost(tmp_path: Path, cell: str, value: object) -> None:
    found = read(put(tmp_path, {"a.csv": f'text,n\nx,"{cell}"\n'}))
    assert found.documents[0].metadata == {"n": value}
    assert type(found.documents[0].metadata["n"]) is type(value)


@pytest.mark.parametrize(
    ("content", "texts", "metadata"),
    [
        ("sep=;\r\ntext;n\r\na;1\r\n", ["a"], {"n": 1}),
        ('"te,xt;a",text\n1,a\n', ["a"], {"te,xt;a": 1}),
        ("\ufefftext,n\na,1\n\n , \nb,2\n", ["a", "b"], {"n": 1}),
        ("text,n,\na,1,\n", ["a"], {"n": 1}),
        ("text,n,\na,1,x\n", ["a"], {"n": 1, "column 3": "x"}),
        ("text,n\na,1,,\n", ["a"], {"n": 1}),
        ("text\ra\rb\r", ["a", "b"], {}),
        ("Text;Titel;n\na;;1", ["a"], {"n": 1}),
        ("text,metadata,n\na,of a,1\nb,2,1", ["a", "b"], {"metadata": "of a", "n": 1}),
    ],
)
def test_tables_are_read_as_other_programs_write_them(
    tmp_path: Path, content: str, texts: list[str], metadata: dict[str, Any]
) -> None:
    found = read(put(tmp_path, {"a.csv": content}))
    assert found.texts == texts
    assert found.documents[0].metadata == metadata


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (Fields(text=("bdoy",)), "its columns are id, body; none of them is bdoy"),
        (Fields(text=("body",), id="uid"), "its columns are id, body; none of them is uid"),
    ],
)
def test_a_table_without_a_named_column_is_one_reject(tmp_path: Path, fields: Fields, reason: str) -> None:
    (reject,) = read(put(tmp_path, {"a.csv": "id,body\n1,x\n2,y\n"}), fields=fields).rejects
    assert reason in reject.reason


TEXTS = {
    "fr": ("cp1252", "Le café où l\u2019été dernier nous avons mangé était fermé. À bientôt, chère élève."),
    "de": ("latin-1", "Über den Dächern der Stadt fährt die Straßenbahn. Größe und Maß sind schön."),
    "zh": ("gb18030", "北京是中华人民共和国的首都\uff0c是全国的政治中心、文化中心。"),
    "tw": ("big5", "臺北是中華民國的首都\uff0c也是全國的政治中心與文化中心。"),
    "ja": ("shift_jis", "東京は日本の首都であり、世界でも最大級の都市圏を形成している。"),
    "ru": ("cp1251", "Москва является столицей России и крупнейшим городом страны."),
    "16": ("utf-16", "UTF-16 with a mark: 北京"),
    "32": ("utf-32", "UTF-32 with a mark: 北京"),
    "8": ("utf-8-sig", "UTF-8 with a mark: 北京"),
}


@pytest.mark.parametrize(("encoding", "text"), TEXTS.values(), ids=TEXTS)
def test_the_encoding_of_text_is_found_and_a_guess_is_told(tmp_path: Path, encoding: str, text: str) -> None:
    table = f'id,text\n1,plain\n2,"{text}"\n'
    found = read(put(tmp_path, {"a.txt": text.encode(encoding), "b.csv": table.encode(encoding)}))
    assert found.texts == [text, "plain", text]
    guessed = not encoding.startswith("utf")
    assert any("which is guessed; --encoding names another" in note for note in found.notes) == guessed
    named = read(tmp_path / "a.txt", encoding=encoding.removesuffix("-sig"))
    assert (named.texts, named.notes) == ([text], [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-be", "gb18030"])
def test_a_byte_order_mark_is_no_part_of_the_text_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    files = {
        "a.csv": "id,text\n1,北京是中华人民共和国的首都\n",
        "b.jsonl": '{"id": 1, "text": "x"}\n',
        "c.json": '[{"id": 1, "text": "x"}]',
        "d.txt": "x",
        "e.json": '{"id": 1, "text": "北京是中华人民共和国的首都"}\n{,}\n',
    }
    folder = put(tmp_path, {name: f"\ufeff{text}".encode(encoding) for name, text in files.items()})
    found = read(folder, encoding=encoding)
    assert (found.ids, len(found.rejects)) == (["1", "1", "1", "d.txt", "1"], 1)
    assert found.texts[3] == "x"
    if encoding == "gb18030":
        assert read(folder / "a.csv").ids == read(folder / "e.json").ids == ["1"]


def test_a_row_without_the_first_id_has_the_second(tmp_path: Path) -> None:
    found = read(put(tmp_path, {"a.csv": "_id,id,text\n,7.5,x\n2,3,y\n,,z\n"}))
    assert found.ids[:2] == ["7.5", "2"]
    assert [document.metadata for document in found.documents] == [{}, {"id": 3}, {}]


def test_json_lines_in_utf16_are_read(tmp_path: Path) -> None:
    lines = '{"id": 1, "text": "北京"}\n{\n{"id": 2, "text": "x"}\n'.encode("utf-16")
    found = read(put(tmp_path, {"a.jsonl": lines}))
    assert (found.ids, found.rejects[0].line) == (["1", "2"], 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "東京は日本の首都であり、世界でも最大級の都市圏".encode("euc_jp"),
            "its encoding may be cp949 or euc_jis_2004",
        ),
        (bytes(range(1, 256)) * 3, "it is in no encoding that is known"),
        (
            b"x\n" * 600_000 + "Größe, Maß, Übermut, ö".encode()[:-1],
            "line 600001: a byte is not UTF-8",
        ),
    ],
)
def test_an_encoding_that_is_not_certain_is_a_reject(tmp_path: Path, content: bytes, reason: str) -> None:
    (reject,) = read(put(tmp_path, {"a.txt": content})).rejects
    assert reason in reject.reason


def test_without_the_extra_a_file_that_is_not_utf8_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    found = read(put(tmp_path, {"a.txt": "Größe".encode("latin-1"), "b.txt": "x"}))
    assert "[documents]" in found.rejects[0].reason
    assert found.ids == ["b.txt"]


@pytest.mark.parametrize(
    ("content", "texts", "reason"),
    [
        (
            '1\tone\n2\t"He left\n3\t"Bye" he said\n\n4\t"a ""b"""\n',
            ["one", '"He left', '"Bye" he said', 'a "b"'],
            "",
        ),
        ('1\t"x\n2\ty', ['"x', "y"], ""),
        ('1\t"def f():\n\treturn 1"\n2\t5" disk\n3\t"a\tb"\n', ['5" disk', "a\tb"], "look like several"),
        ('1\t"two\nlines"\n2\tx', ["two\nlines", "x"], ""),
        ("1\ta\rb\n2\tx\r\n", ["x"], "a carriage return stands in a value without quotes"),
        ('1\t"a\rb"\n2\tx\n', ["a\rb", "x"], ""),
    ],
)
def test_quotes_of_a_table_of_tabs_are_plain_where_nothing_else_can_be_meant(
    tmp_path: Path, content: str, texts: list[str], reason: str
) -> None:
    found = read(put(tmp_path, {"a.tsv": "id\ttext\n" + content}))
    assert found.texts == texts
    assert [reason in reject.reason for reject in found.rejects] == [True] * bool(reason)
