"""Documents of an ingest that fail, and those that come twice, in reports, files and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import run
from elasticsearch import Elasticsearch
from ingests import MOON, TREATY, an_ingest, everything, read, source_of, write

from es_rerank.collection import Document
from es_rerank.errors import IngestError
from es_rerank.node import Node
from ingest_pipelines import read_sources
from ingest_pipelines.rejects import Reject


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


# --- documents that fail


def test_a_refused_document_is_reported_and_replayed_once_mended(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    late = {"_id": "late", "text": "Never came.", "metadata": {"year": 10**1200}}
    report = an_ingest(es).run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, late, MOON])]))
    assert (report.documents, report.failed) == (2, 1)
    assert report.rejects == Path(f"{index}.rejects.jsonl")
    (reject,) = read(report.rejects)
    assert reject["id"] == "late"
    assert "Number value length (1201) exceeds the maximum allowed" in reject["reason"]
    assert reject["document"] == {
        "_id": "late",
        "title": "",
        "text": "Never came.",
        "metadata": {"year": 10**1200},
    }
    again = an_ingest(es).run(index, read_sources([report.rejects]))
    assert (again.documents, again.failed, again.rejects) == (0, 1, Path(f"{index}.rejects-2.jsonl"))
    reject["document"]["metadata"]["year"] = 2042
    mended = an_ingest(es).run(index, read_sources([write(report.rejects, [reject])]))
    assert (mended.documents, mended.failed, mended.rejects) == (1, 0, None)
    assert everything(es, index) == {"treaty", "late", "moon"}


def test_a_line_that_cannot_be_read_is_a_reject_with_its_place(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl",
        [
            TREATY,
            '{"_id": "broken", ',
            {"_id": "odd", "text": 7},
            '{"_id": "nan", "text": "x", "score": NaN}',
            MOON,
        ],
    )
    report = an_ingest(es).run(index, read_sources([source]), rejects=tmp_path / "bad.jsonl")
    assert (report.documents, report.failed, report.rejects) == (2, 3, tmp_path / "bad.jsonl")
    rejects = read(report.rejects)
    assert [(reject["id"], reject["file"], reject["line"]) for reject in rejects] == [
        (None, str(source), 2),
        ("odd", str(source), 3),
        (None, str(source), 4),
    ]
    assert "line 2: not JSON" in rejects[0]["reason"]
    assert rejects[0]["document"] == '{"_id": "broken", '
    rejects[0]["document"] += '"text": "Mended."}'
    rejects[1]["document"]["text"] = "seven"
    replayed = an_ingest(es).run(index, read_sources([write(tmp_path / "bad.jsonl", rejects)]))
    assert (replayed.documents, replayed.failed) == (2, 1)
    assert everything(es, index) == {"treaty", "moon", "broken", "odd"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document("i" * 513, "", "x", {}), "its id has 513 bytes"),
        (Document("", "", "x", {}), "its id has 0 bytes"),
        (Document("half", "", "\ud83d", {}), "surrogates not allowed"),
        (Document("object", "", "x", {"path": Path()}), "not JSON serializable"),
        (Document("long", "", "x" * 10_000_001, {}), "its text has 10000001 characters"),
        (Document("words", "", "word " * 40_000_000, {}), "its text has 200000000 characters"),
    ],
    ids=["long id", "no id", "half a character", "an object", "one word", "a line of 200 MB"],
)
def test_a_document_that_cannot_be_sent_does_not_take_others_with_it(
    es: Elasticsearch, index: str, document: Document, reason: str
) -> None:
    report = an_ingest(es, batch=10).run(index, [Document("good", "", "x", {}), document])
    assert (report.documents, report.failed) == (1, 1)
    assert reason in read(report.rejects)[0]["reason"]


def test_a_damaged_file_is_a_reject_that_says_from_where_on_and_the_rest_goes_on(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl.gz",
        [{"_id": str(number), "text": f"Number {number**9}."} for number in range(3000)],
    )
    whole = source.read_bytes()
    source.write_bytes(whole[:-2000])
    other = write(tmp_path / "b.jsonl", [MOON])
    report = an_ingest(es, batch=500).run(index, read_sources([source, other]))
    (reject,) = read(report.rejects)
    read_before = reject["line"] - 1
    assert (report.documents, report.failed) == (read_before + 1, 1)
    assert read_before >= 500
    assert (reject["id"], reject["file"], reject["document"]) == ("a.jsonl.gz", str(source), None)
    assert "from here on it cannot be read" in reject["reason"]
    source.write_bytes(whole)
    assert report.rejects is not None
    again = an_ingest(es, batch=500).run(index, read_sources([report.rejects]))
    assert (again.documents, again.skipped, again.failed) == (3000 - read_before, read_before, 0)


# --- the same id twice


@pytest.mark.parametrize("between", [0, 1, 9])
def test_of_two_documents_with_one_id_the_last_wins_and_it_is_said(
    es: Elasticsearch, index: str, between: int
) -> None:
    others = [Document(str(number), "", f"Other {number}.", {}) for number in range(between)]
    documents = [Document("twin", "", "first", {}), *others, Document("twin", "", "second", {})]
    report = an_ingest(es).run(index, documents)
    assert (report.documents, report.duplicates, report.skipped) == (between + 1, 1, 0)
    assert source_of(es, index, "twin")["text"] == "second"


@pytest.mark.parametrize("between", [0, 1, 9])
def test_a_repeated_document_is_a_duplicate_not_a_skipped_one(
    es: Elasticsearch, index: str, between: int
) -> None:
    others = [Document(str(number), "", f"Other {number}.", {}) for number in range(between)]
    report = an_ingest(es).run(
        index, [Document("twin", "", "same", {}), *others, Document("twin", "", "same", {})]
    )
    assert (report.documents, report.duplicates, report.skipped) == (between + 1, 1, 0)


# --- the command


def test_the_command_prints_exactly_the_report(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/image.png").touch()
    (tmp_path / "in/a.csv").write_text(
        "key,head,body,year,left\nüid,Head,Body,1648,x\nmoon,,Two people,1969,y\n"
    )
    fields = ("--text-field", "head", "--text-field", "body", "--title-field", "head", "--id-field", "key")
    to = ("--elasticsearch-url", node.url, "--metadata", "year", "--metadata", "yaer")
    done = run("ingest", *to, *fields, index, "in", "--json")
    assert done.returncode == 0, done.stderr
    assert "in: left out: 1 files of kinds that are not read (1 .png)" in done.stderr
    assert "no record has the field yaer" in done.stderr
    stored = source_of(es, index, "üid")
    assert (stored["title"], stored["text"], stored["metadata"]) == ("Head", "Head\n\nBody", {"year": 1648})
    report = json.loads(done.stdout)
    assert list(report) == ["index", "documents", "passages", "skipped", "failed", "seconds"]
    assert (report["index"], report["documents"], report["passages"], report["failed"]) == (index, 2, 2, 0)


def test_the_command_does_not_end_well_when_documents_failed(node: Node, index: str, tmp_path: Path) -> None:
    done = run(
        "ingest",
        "--elasticsearch-url",
        node.url,
        index,
        str(write(tmp_path / "a.jsonl", [TREATY, "nonsense"])),
        "--json",
        "--rejects",
        "bad.jsonl",
    )
    assert done.returncode == 6
    assert json.loads(done.stdout)["failed"] == 1
    assert "1 of 2 documents were not indexed" in done.stderr
    assert "bad.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
    again = run("ingest", "--elasticsearch-url", node.url, index, "bad.jsonl", "--rejects", "bad.jsonl")
    assert again.returncode == 2
    assert "is also a source" in again.stderr


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"_id": "q", "year": 1}, r"document 'q' was not indexed: .*none of them is the text"),
        (None, "the document was not indexed: an object of type builtins.NoneType is no document"),
        ([Document("l", "", "x", {})], "the document was not indexed: an object of type builtins.list"),
        (Document("", "", "x", {}), "document '' was not indexed: its id has 0 bytes"),
        (Reject("no JSON", "{"), "the document was not indexed: no JSON"),
    ],
)
def test_one_document_that_cannot_be_indexed_is_an_error_with_the_reason(
    es: Elasticsearch, index: str, item: Any, said: str
) -> None:
    with pytest.raises(IngestError, match=said):
        an_ingest(es).put(index, item)
    assert an_ingest(es).put(index, {"id": "d", "text": "taken as a dict"}).documents == 1
