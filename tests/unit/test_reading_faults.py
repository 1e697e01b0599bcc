"""Files and records that cannot be read: each is a reject with place and reason, and the rest goes on."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from sources import Given, given, put, rejects_file

from es_rerank.errors import SettingsError
from ingest_pipelines import Fields, Reject
from ingest_pipelines.reading import json_lines, json_stream
from ingest_pipelines.rejects import RejectsFile

GOOD = {"z.txt": "The rest goes on."}
ROW = "id,text\n"
LINE = '{"id": "1", "text": "x"}\n'
DEEP = '{"n": ' + "[" * 100_000 + "]" * 100_000 + "}"
LONG = '{"n": [' + "9" * 5_000 + ', "]"]}'


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.txt", b"", None, "it is empty"),
        ("a.txt", b" \n\t\n", None, "it is empty"),
        ("a.txt", b"\xef\xbb\xbf", None, "it is empty"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None, "it is no text, but binary"),
        ("a.txt", "Größe und Maß\n".encode() + b"br\xf6ken", 2, "a byte is not UTF-8"),
        ("a.txt", "Maß".encode("utf-16") + b"\0", None, "bytes that are not utf-16"),
        ("a.txt", b"x" * 40_000_001, None, "more than 40000000 bytes; at most 10000000 characters"),
        ("a.txt", b"x" * 10_000_001, None, "it has 10000001 characters"),
        ("a.txt.gz", b"no gzip", None, "cannot be read: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(os.urandom(9999))[:-100], None, "cannot be read: Compressed file ended"),
        ("a.jsonl", b"", None, "it is empty. A line is one JSON object"),
        ("a.jsonl", b"\n \n", None, "it is empty"),
        ("a.jsonl", "\ufeff{".encode("utf-16-le") + b"\0", None, "bytes that are not utf-16"),
        ("a.jsonl.gz", gzip.compress(os.urandom(9999).hex().encode())[:-100], None, "cannot be read"),
        ("a.json", b"", None, "it is empty"),
        ("a.json", b"[]", None, "it holds no records"),
        ("a.json", b"7", None, "no JSON object or array"),
        ("a.json", b'[{"text": "x"}', 1, "expected ,, found the end of the file"),
        ("a.json", b'[\n{"text": "x"}\n] more', 3, "expected the end of the file, found m"),
        ("a.json", b'[{"text": "x"},\n{"text": x}]', 2, "not JSON (Expecting value)"),
        ("a.json", b'{"a": [{}], "b": [{}]}', None, "several lists of objects, a, b"),
        ("a.json", b'{"a": ' + b"[" * 100_000, 1, "nested too deep"),
        ("a.csv", b"", None, "it is empty"),
        ("a.csv", ROW.encode(), None, "names of columns, and no other row"),
        (
            "a.csv",
            b"1,Some words\n2,More words\n",
            1,
            "its fields are 1, Some words; none of them is the text",
        ),
        ("a.csv", b"id,text,body,text\n", 1, "several columns have the name text"),
        ("a.csv", b"id,content,body\n", 1, "both content and body may be the text; name it by --text-field"),
        ("a.csv", b"id,text\0\n", None, "binary"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_reject_and_the_rest_goes_on(
    tmp_path: Path, name: str, content: bytes, line: int | None, reason: str
) -> None:
    found = given(put(tmp_path, {name: content, **GOOD}))
    (reject,) = found.rejects
    assert (reject.file, reject.id, reject.document) == (str(tmp_path / name), name, None)
    assert reject.line == line
    assert reject.reason.startswith(f"{tmp_path / name}{f', line {line}' if line else ''}: ")
    assert reason in reject.reason
    assert found.ids[-1] == "z.txt"


@pytest.mark.parametrize(
    ("name", "content", "line", "reason", "document"),
    [
        ("a.jsonl", LINE + "{\n" + LINE, 2, "not JSON", "{"),
        ("a.jsonl", LINE + "[1]\n" + LINE, 2, "a JSON object is expected, found list", "[1]"),
        (
            "a.jsonl",
            LINE + '{"id": 2, "text": 3}\n' + LINE,
            2,
            '"text" must be a string',
            {"id": 2, "text": 3},
        ),
        ("a.jsonl", LINE + '{"id": 2}\n' + LINE, 2, "its fields are id; none of them is the text", {"id": 2}),
        ("a.jsonl", LINE + "[" * 100_000 + "\n" + LINE, 2, "not JSON", "[" * 100_000),
        ("a.json", f"[{LINE},\n 5,\n{LINE}]", 3, "a JSON object is expected, found int", "5"),
        ("a.json", f'[{LINE},{{"text": NaN}},{LINE}]', 2, "NaN is not a JSON number", '{"text": NaN}'),
        ("a.json", f'[{LINE},{{"id": 2}},{LINE}]', 2, "none of them is the text", {"id": 2}),
        ("a.json", f"[{LINE},{DEEP},{LINE}]", 2, "nested too deep", DEEP),
        ("a.json", f"[{LINE},{LONG},{LINE}]", 2, "not JSON (Exceeds the limit", LONG),
        ("a.json", f"[{LINE},-{'9' * 5000},{LINE}]", 2, "not JSON (Exceeds the limit", "-" + "9" * 5000),
        ("a.json", f'{{"n": {LONG}, "docs": [{LINE},{LONG}\n,{LINE}]}}', 2, "not JSON (Exceeds", LONG),
        ("a.json", '{"text": "a",}\n' + LINE + LINE, 1, "not JSON", '{"text": "a",}'),
        ("a.json", "7\n" + LINE + LINE, 1, "a JSON object is expected, found int", "7"),
        ("a.json", "[1]\n" + LINE + LINE, 1, "a JSON object is expected, found list", "[1]"),
        ("a.json", "\n" + LINE + "{,}\n" + LINE, 3, "not JSON", "{,}"),
        ("a.csv", ROW + '1,x\n2,"a"b\n1,x\n', 3, "lines 3 to 3 are no row", None),
        ("a.csv", ROW + "1,x\n2\n1,x\n", 3, "the row has 1 values, the first row 2", None),
        ("a.csv", ROW + '1,"x\ny"\n2,x,3\n1,x\n', 4, "the row has 3 values, the first row 2", None),
        (
            "a.csv",
            ROW + '1,x\n2,"' + ("x" * 99 + "\n") * 101_000 + '"\n1,x\n',
            3,
            "larger than field limit",
            None,
        ),
        (
            "a.csv",
            ROW + '1,x\n2,"' + "x" * 9_000_000 + '","' + ("x" * 9_000_000 + "\n") * 2 + '"\n1,x\n',
            4,
            "more than 20000000 characters",
            None,
        ),
        ("a.tsv", 'id\ttext\n1\tx\n2\t"He left\n3\tx\n4\ty"\n1\tx\n', 3, "look like several", None),
        ("a.csv", ROW + "1,x\n2,\n1,x\n", 3, "its text and its title are empty", {"id": "2", "text": ""}),
        ("a.csv", ROW + "1,x\n2," + "x" * 10_000_001 + "\n1,x\n", 3, "larger than field limit", None),
        ("a.csv", ROW + "1,x\n2," + "x," * 10_000_001 + "\n1,x\n", 3, "more than 20000000 characters", None),
    ],
)
def test_a_record_that_cannot_be_read_is_a_reject_and_the_next_one_is_read(
    tmp_path: Path, name: str, content: str, line: int, reason: str, document: object
) -> None:
    found = given(put(tmp_path, {name: content, **GOOD}))
    (reject,) = found.rejects
    assert (reject.file, reject.line, reject.document) == (str(tmp_path / name), line, document)
    assert reason in reject.reason
    assert found.ids == ["1", "1", "z.txt"]


@pytest.mark.parametrize("piece", [1, 7])
@pytest.mark.parametrize("bad", ["9" * 5_000, LONG, f'[["\\"{{", {LONG}], "\\\\"]'])
def test_a_value_that_python_does_not_read_ends_where_it_ends(
    tmp_path: Path, piece: int, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", piece)
    found = given(put(tmp_path, {"a.json": f"[{LINE},{bad} ,{LINE},{bad}]", "b.json": f"[{bad}"}))
    assert found.ids == ["1", "1"]
    assert [reject.document for reject in found.rejects] == [bad, bad, bad, None]


def long_record(tmp_path: Path, name: str, size: int) -> tuple[Given, int]:
    long = b'{"id": "long", "text": "' + rb"[{\"" * (size // 4) + b'"}'
    line = LINE.strip().encode()
    content = b"\n".join((line, long, line)) if name == "a.jsonl" else b"[%b,%b,%b]" % (line, long, line)
    return given(put(tmp_path, {name: content})), len(long) + (name == "a.jsonl")


def check_long_record(found: Given, size: int, most: int) -> None:
    (reject,) = found.rejects
    assert f"has {size} " in reject.reason
    assert f"at most {most} are read" in reject.reason
    assert isinstance(reject.document, str)
    assert len(reject.document) < 1100
    assert found.ids == ["1", "1"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("more", [0, 1, 2, 3, 300_000, 3_000_000])
def test_a_record_over_the_limit_is_a_reject_with_its_beginning(
    tmp_path: Path, name: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (json_lines, json_stream):
        monkeypatch.setattr(module, "MOST_RECORD", 300_000)
    check_long_record(*long_record(tmp_path, name, 300_000 + more), 300_000)


@pytest.mark.long
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_record_of_200_megabytes_is_a_reject_with_its_beginning(tmp_path: Path, name: str) -> None:
    check_long_record(*long_record(tmp_path, name, 200_000_000), 64 * 1024 * 1024)


@contextmanager
def no_rights() -> Iterator[None]:
    """Give up the rights of root, who may read everything, for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_a_reject_and_is_read_once_it_may(tmp_path: Path) -> None:
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith("pytest"):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    put(tmp_path, {"a.txt": "x", "b/c/d.txt": "y", "b/e.txt": "z", **GOOD})
    (tmp_path / "a.txt").chmod(0)
    (tmp_path / "b").chmod(0)
    with no_rights():
        found = given(tmp_path)
    assert [(reject.id, reject.document) for reject in found.rejects] == [("a.txt", None), ("b", None)]
    assert all("Permission denied" in reject.reason for reject in found.rejects)
    assert found.ids == ["z.txt"]
    (tmp_path / "a.txt").chmod(0o644)
    (tmp_path / "b").chmod(0o755)
    again = given(rejects_file([*found.rejects, *found.rejects], tmp_path / "articles.rejects.jsonl"))
    assert (again.ids, again.rejects) == (["a.txt", "b/c/d.txt", "b/e.txt"], [])


def test_a_rejects_file_reads_mended_files_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(
        tmp_path / "in",
        {"a.txt": "", "b.jsonl": '{"id": 1}\n{"id": 2, "text": "x"', "c.csv": "id,text\n1\n2,y\n"},
    )
    monkeypatch.chdir(tmp_path)
    rejects = rejects_file(given(Path("in")).rejects, tmp_path / "articles.rejects-2.jsonl")
    monkeypatch.chdir("/")
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [line["document"] for line in lines] == [None, {"id": 1}, '{"id": 2, "text": "x"', None]
    put(tmp_path / "in", {"a.txt": "mended", "c.csv": "id,text\n1,x\n2,y\n"})
    lines[1]["document"]["text"] = "mended"
    lines[2]["document"] += "}"
    rejects.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = given(rejects)
    assert (again.ids, again.rejects) == (["a.txt", "1", "2", "1", "2"], [])


def test_a_row_of_a_rejects_file_is_read_as_in_its_table(tmp_path: Path) -> None:
    table = put(tmp_path, {"a.csv": "ID,Headline,text,n,metadata\n7,,,1,of it\n8,T,body,,\n"}) / "a.csv"
    found = given(table)
    assert (found.ids, found.rejects[0].id) == (["8"], "7")
    rejects = rejects_file(found.rejects, tmp_path / "articles.rejects.jsonl")
    line = json.loads(rejects.read_text())
    line["document"] |= {"text": "now it has text", "Headline": "T"}
    rejects.write_text(json.dumps(line))
    table.write_text(table.read_text().replace("7,,", "7,T,now it has text"))
    assert given(rejects).documents == given(table).documents[:1]


def test_a_rejects_file_is_read_beside_files_of_another_encoding(tmp_path: Path) -> None:
    put(tmp_path / "in", {"a.jsonl": '{"id": "é"}\n'.encode("utf-16-le"), "b.txt": b"x"})
    found = given(tmp_path / "in", encoding="utf-16-le")
    assert len(found.rejects) == 2
    rejects = rejects_file(found.rejects, tmp_path / "articles.rejects.jsonl")
    put(tmp_path / "in", {"b.txt": "ö".encode("utf-16-le")})
    again = given(rejects, encoding="utf-16-le")
    assert (again.texts, [reject.id for reject in again.rejects]) == (["ö"], ["é"])


def test_a_line_of_a_rejects_file_that_was_none_is_corrected_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.rejects.jsonl").write_text(
        '{"id": "1", "reason": "", "file": null, "line": null, '
        '"document": {"_id": "1", "text": "x", "n": Infinity}}'
    )
    found = given(tmp_path / "a.rejects.jsonl")
    assert found.documents == []
    second = rejects_file(found.rejects, tmp_path / "a.rejects-2.jsonl")
    second.write_text(second.read_text().replace("Infinity", "5"))
    assert [document[:4] for document in given(second).documents] == [("1", "", "x", {"n": 5})]


@pytest.mark.parametrize("document", ["7", "[1]", "true", "[" * 900 + "]" * 900])
def test_a_document_of_a_rejects_file_that_is_no_record_is_a_reject(tmp_path: Path, document: str) -> None:
    line = f'{{"id": "x", "reason": "", "file": null, "line": null, "document": {document}}}'
    found = given(put(tmp_path, {"a.rejects.jsonl": f"{line}\n{LINE}"}) / "a.rejects.jsonl")
    assert (found.ids, found.rejects[0].document) == (["1"], json.loads(line))
    assert '"document" must be an object or a text' in found.rejects[0].reason


@pytest.mark.parametrize(
    ("content", "taken"),
    [(None, True), ("", True), ("REJECT", True), (LINE, False), ("some text", False), ("\0\xff", False)],
)
def test_only_a_file_of_rejects_is_overwritten(tmp_path: Path, content: str | None, taken: bool) -> None:
    path = tmp_path / "a.jsonl"
    if content == "REJECT":
        rejects_file([Reject("why", {"id": 1})], path)
    elif content is not None:
        path.write_text(content)
    with nullcontext() if taken else pytest.raises(SettingsError, match="holds no rejects"):
        RejectsFile("articles", path)
    assert content is None or path.exists()


def test_a_file_that_another_run_makes_at_the_same_time_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # so it looks to each of several runs
    for number in (1, 2, 3):
        file = RejectsFile("a")
        file.write(Reject("why", {"run": number}))
        file.close()
    names = ["a.rejects.jsonl", "a.rejects-2.jsonl", "a.rejects-3.jsonl"]
    assert [json.loads(Path(name).read_text())["document"]["run"] for name in names] == [1, 2, 3]


@pytest.mark.parametrize("name", ["data.jsonl", "rejects.jsonl", "a.rejects.jsonl.txt.jsonl"])
def test_no_line_of_other_files_chooses_a_file_to_read(tmp_path: Path, name: str) -> None:
    secret = put(tmp_path, {"secret.txt": "secret"}) / "secret.txt"
    line = {"id": "x", "reason": "", "file": str(secret), "line": None, "document": None}
    found = given(put(tmp_path / "in", {name: json.dumps(line)}) / name)
    (reject,) = found.rejects
    assert found.documents == []
    assert "followed only where the name of its own file ends in .rejects.jsonl" in reject.reason
    assert (reject.file, reject.id, reject.document) == (str(secret), "x", None)


def test_a_rejects_file_that_names_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    rejects = rejects_file([Reject("", None, "a", str(tmp_path / "a.txt"))], tmp_path / "a.rejects.jsonl")
    assert "a pipe or a device" in given(rejects).rejects[0].reason


def test_records_that_look_like_rejects_are_read_where_their_text_is_named(tmp_path: Path) -> None:
    line = {"id": "x", "reason": "r", "file": "f", "line": 1, "document": "The text."}
    folder = put(tmp_path, {"a.jsonl": json.dumps(line)})
    found = given(folder, fields=Fields(text=("document",), id="id"))
    assert (found.ids, found.texts) == (["x"], ["The text."])


@pytest.mark.parametrize(
    "path", ["secret.txt", "/dev/zero", "/\0.txt", "-", 7, "/no/where.txt", "/etc/passwd"]
)
def test_a_rejects_file_names_only_files_of_kinds_that_are_read(tmp_path: Path, path: object) -> None:
    line = {"id": "x", "reason": "", "file": path, "line": None, "document": None}
    found = given(put(tmp_path, {"a.rejects.jsonl": json.dumps(line)}) / "a.rejects.jsonl")
    assert (found.documents, len(found.rejects)) == ([], 1)
