"""Which files of sources are read, in which order and under which id; what is left out is said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from ingests import TREATY, WEB, write
from sources import given, put

from es_rerank.collection import Document
from es_rerank.errors import RequestError, SourceError
from ingest_pipelines import Fields, Reject, read_sources, source_files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "does not exist"),
        ("folder", "neither corpus.jsonl nor a file whose name ends in .jsonl, .*left out: 1 files of kinds"),
        ("image.png", "ends in none of .jsonl"),
        ("pipe.jsonl", "is a pipe or a device; give - as the source"),
    ],
)
def test_a_source_that_cannot_be_read_at_all_is_refused_at_once(
    tmp_path: Path, name: str, message: str
) -> None:
    put(tmp_path, {"folder/image.png": "", "image.png": ""})
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(SourceError, match=message):
        read_sources([tmp_path / name])


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "nonsense"},
        {"encoding": "base64"},
        {"encoding": ""},
        {"fields": Fields(text=("",))},
        {"fields": Fields(id=" ")},
        {"fields": Fields(text=("a", "a"))},
        {"fields": Fields(metadata=())},
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_at_once(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        read_sources([put(tmp_path, {"a.txt": "x"})], **options)


def test_the_reader_keeps_apart_documents_and_rejects(tmp_path: Path) -> None:
    items = list(read_sources([write(tmp_path / "a.jsonl", [TREATY, "[]", "", WEB])]))
    assert [type(item) for item in items] == [Document, Reject, Document]


def test_a_folder_is_walked_in_order_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "in",
        {
            "b/with space.txt": "1",
            "b/文件.TXT": "2",
            "b.txt": "3",
            "a/b/c.txt": "4",
            "image.png": "",
            "README": "",
            ".hidden.txt": "",
            ".git/x.txt": "",
            "node_modules/x.txt": "",
            "~$b.txt": "",
            "articles.rejects.jsonl": "",
            "articles.rejects-2.jsonl": "",
            "bad.jsonl": "",
        },
    )
    outside = put(tmp_path / "out", {"secret.txt": "secret"})
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "linked").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    found = given(folder, not_this=folder / "bad.jsonl")
    assert found.ids == ["a/b/c.txt", "b/with space.txt", "b/文件.TXT", "b.txt"]
    assert found.rejects == []
    (note,) = found.notes
    assert note == (
        f"{folder}: left out: 2 files of kinds that are not read (1 without a suffix, 1 .png); "
        "3 hidden files and folders; 3 links, which are not followed; 3 rejects of an earlier run (name such "
        "a file to read it); 1 folders that programs fill; 1 pipes and devices"
    )
    assert [path.name for path in source_files([folder])][:2] == ["c.txt", "with space.txt"]


def test_a_file_that_becomes_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", dict.fromkeys(("a.txt", "b.txt", "c.txt", "d.txt"), "x"))
    secret = put(tmp_path / "out", {"secret.txt": "secret"}) / "secret.txt"
    items = read_sources([folder])
    first = next(items)
    for name in ("b.txt", "c.txt"):
        (folder / name).unlink()
    (folder / "b.txt").symlink_to(secret)
    os.mkfifo(folder / "c.txt")
    assert [type(item) for item in (first, *items)] == [Document, Reject, Reject, Document]


def test_without_a_listener_notes_are_warnings(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"left out: 1 files of kinds that are not read \(1 \.png\)"):
        list(read_sources([put(tmp_path, {"a.txt": "x", "b.png": ""})]))


def test_of_a_folder_in_beir_layout_only_the_corpus_is_read(tmp_path: Path) -> None:
    line = '{"_id": "%s", "text": "x"}\n'
    beir = {
        "corpus.jsonl": line % "1",
        "queries.jsonl": line % "q",
        "qrels/test.tsv": "query-id",
    }
    put(tmp_path, {f"one/{name}": content for name, content in beir.items()})
    put(tmp_path, {"one/more.txt": "x", "two.txt": "x"})
    assert (given(tmp_path / "one").ids, given(tmp_path).ids) == (["1"], ["1", "two.txt"])
    assert "1 files beside a corpus.jsonl" in given(tmp_path).notes[0]


def test_only_the_corpus_of_a_source_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path, {"blob": '{"_id": "1", "text": "x"}', "in/beir/queries.jsonl": "", "in/a.txt": "x"})
    (tmp_path / "in/beir/corpus.jsonl").symlink_to(tmp_path / "blob")
    assert given(tmp_path / "in/beir").ids == ["1"]
    assert given(tmp_path / "in").ids == ["a.txt"]
    assert "1 links" in given(tmp_path / "in").notes[0]


def test_a_file_has_the_same_id_and_content_on_every_system(tmp_path: Path) -> None:
    name, long = "Übersicht.txt", "/".join(["十" * 80] * 3) + ".txt"
    composed = put(tmp_path / "a", {name: "one\ntwo", long: "x"})
    other = put(tmp_path / "b", {unicodedata.normalize("NFD", name): "one\r\ntwo", long: "x"})
    os.utime(other / long, (0, 0))
    assert given(composed).documents == given(other).documents
    assert given(composed).documents[0] == Document(
        name, "Übersicht", "one\ntwo", {"path": name, "file_type": "txt"}
    )
    hashed = given(composed).documents[1]
    assert len(hashed.id) == 32
    assert hashed.metadata["path"] == long


def test_two_names_that_only_differ_in_their_unicode_form_are_two_documents(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "é.txt") for form in ("NFC", "NFD")]
    found = given(put(tmp_path, dict.fromkeys(names, "x")))
    assert len(set(found.ids)) == 2


def test_a_name_that_is_not_utf8_gives_an_id_that_is(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    found = given(tmp_path)
    assert found.ids == ["caf\\udce9.txt"]
    assert found.documents[0].metadata["path"].encode() == b"caf\\udce9.txt"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a", "b"], "would be one document, as both are same.txt in their source"),
        (["a/same.txt", "b/same.txt"], "would be one document"),
        (["a", "b/same.txt"], "would be one document"),
        (["a/same.txt", "b"], "would be one document"),
        (["a", "a/x"], "lies in"),
        (["a/same.txt", "a"], "lies in"),
        (["a", "a"], "lies in"),
        (["u/é.txt".replace("é", "e\u0301"), "v"], "would be one document"),
        (["v", "u"], "would be one document"),
        (["u", "v/é.txt"], "would be one document"),
    ],
)
def test_two_sources_never_give_two_files_one_id_or_one_file_two(
    tmp_path: Path, sources: list[str], message: str
) -> None:
    put(tmp_path, {"a/same.txt": "1", "a/x/y.txt": "2", "b/same.txt": "3", "c/other.txt": "4"})
    put(tmp_path, {"u/e\u0301.txt": "5", "v/é.txt": "6"})
    with pytest.raises(SourceError, match=message):
        read_sources([tmp_path / source for source in sources])
    assert given(tmp_path / "a", tmp_path / "c").ids == ["same.txt", "x/y.txt", "other.txt"]
    put(tmp_path, {"a/.kept/z.txt": "5", "a/i.rejects.jsonl": '{"id": 1, "text": "x"}'})
    others = [tmp_path / "a", tmp_path / "a/.kept", tmp_path / "a/i.rejects.jsonl"]
    assert given(*others).ids == ["same.txt", "x/y.txt", "z.txt", "1"]


def test_many_files_as_sources_are_not_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {f"{number}.txt": "x" for number in range(50)})
    asked: list[Path] = []
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: asked.append(path) or is_dir(path))  # type: ignore[func-returns-value]
    read_sources(sorted(tmp_path.iterdir()))
    assert len(asked) < 50 * 10


def test_files_whose_names_are_only_alike_in_their_last_part_are_read(tmp_path: Path) -> None:
    put(tmp_path, {"README.md": "a", "docs/guide/README.md": "b", "c/.x/y.txt": "c", "d/.x/y.txt": "d"})
    put(tmp_path, {"e/f.txt": "e", "g/h.txt": "h"})
    (tmp_path / "g/f.txt").symlink_to(tmp_path / "e/f.txt")
    for sources in (["README.md", "docs"], ["docs", "README.md"], ["c", "d", "e/f.txt"], ["g", "e"]):
        put(tmp_path, {"c/z.txt": "c", "d/q.txt": "d"})
        found = given(*(tmp_path / source for source in sources))
        assert len(set(found.ids)) == len(found.ids) > 1


def test_json_lines_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"id": 1, "text": "x"}\n{')))
    monkeypatch.setattr("sys.stdin", lines)
    found = given(Path("-"))
    assert found.ids == ["1"]
    assert found.rejects[0].reason.startswith("standard input, line 2: not JSON")


def test_a_program_ends_while_a_thread_waits_for_standard_input() -> None:
    program = """
import threading
from pathlib import Path
from ingest_pipelines import read_sources

documents = read_sources([Path("-")])
print(next(documents).id, flush=True)
threading.Thread(target=next, args=(documents, None), daemon=True).start()
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdin is not None
    assert run.stderr is not None
    with run:
        run.stdin.write(b'{"id": "a", "text": "x"}\n')
        run.stdin.flush()
        assert run.wait(60) == 0, run.stderr.read()


def test_standard_input_that_is_closed_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert given(Path("-")).rejects[0].reason == "standard input: it is closed; nothing can be read from it"


def test_a_file_name_does_not_control_the_terminal(tmp_path: Path) -> None:
    found = given(put(tmp_path, {"a\x1b[31m\n.txt": "", "b\x1b.csv": "headline,body\nT,x\n"}))
    told = [found.rejects[0].reason, *found.notes]
    assert len(told) == 2
    assert all(text.isprintable() for text in told)


def test_notes_are_counted_and_no_million_of_files_gives_a_million_lines(tmp_path: Path) -> None:
    same = {f"{number}.jsonl": '{"content": "x"}\n' * 3 for number in range(30)}
    notes = given(put(tmp_path / "same", same)).notes
    assert len(notes) == 2
    assert 'reads "content" as text' in notes[0]
    assert notes[1].startswith("29 more files: ")
    other = {f"{number}.jsonl": f'{{"{"text".ljust(5 + number)}": "x"}}' for number in range(30)}
    assert len(given(put(tmp_path / "other", other)).notes) == 21


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"paint.csv": "id,text\n1,red\n2,blue\n", "wood.csv": "id,text\n1,oak\n2,ash\n"},
            "wood.csv: the id '1' is in {}/paint.csv too; ",
        ),
        ({"paint.csv": "id,text\n1,red\n1,blue\n"}, "paint.csv: the id '1' is twice in it; "),
        ({"a.csv": "id,text\n1,red\n", "b.csv": "id,text\n2,blue\n"}, None),
    ],
)
def test_the_first_id_that_two_documents_have_is_told_with_its_files(
    tmp_path: Path, files: dict[str, str], told: str | None
) -> None:
    notes: list[str] = []
    put(tmp_path, files)
    list(read_sources([tmp_path], on_note=notes.append))
    said = [note for note in notes if "the id" in note]
    assert len(said) == (told is not None)
    assert all((told or "").format(tmp_path) in note for note in said)
