from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from es_rerank.collection import (
    Document,
    as_document,
    find_file,
    is_collection,
    read_corpus,
    read_jsonl,
    read_lines,
    read_qrels,
    read_queries,
    splits,
)
from es_rerank.errors import SourceError


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, gzipped when its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_in_beir_layout_is_read_plain_or_gzipped(tmp_path: Path, suffix: str) -> None:
    write(
        tmp_path / f"corpus.jsonl{suffix}",
        '{"_id": "d1", "title": "T", "text": "x", "metadata": {"year": 2020}, "url": "u"}\n\n'
        '{"id": 2, "text": ""}\n',
    )
    write(tmp_path / f"queries.jsonl{suffix}", '{"_id": "q1", "text": "who?"}\n')
    write(tmp_path / "qrels" / f"test.tsv{suffix}", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\r\n")
    assert is_collection(tmp_path)
    assert list(read_corpus(tmp_path)) == [
        Document("d1", "T", "x", {"url": "u", "year": 2020}),
        Document("2", "", "", {}),
    ]
    assert read_queries(tmp_path) == {"q1": "who?"}
    assert read_qrels(tmp_path, "test") == {"q1": {"d1": 2, "2": 0}}


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", b'\xef\xbb\xbf{"_id": "1", "text": "x"}\n')
    assert list(read_jsonl(path)) == [(1, {"_id": "1", "text": "x"})]


def test_a_missing_file_is_named_with_both_spellings(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither corpus\.jsonl nor corpus\.jsonl\.gz"):
        find_file(tmp_path, "corpus.jsonl")
    assert not is_collection(tmp_path)


def test_a_missing_split_lists_those_that_exist(tmp_path: Path) -> None:
    write(tmp_path / "qrels" / "dev.tsv", "q\td\t1\n")
    write(tmp_path / "qrels" / "test.tsv.gz", "q\td\t1\n")
    assert splits(tmp_path) == ["dev", "test"]
    with pytest.raises(SourceError, match="no split 'train'; splits with judgements: dev, test"):
        read_qrels(tmp_path, "train")


def test_a_collection_without_judgements_says_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="judgements: none"):
        read_qrels(tmp_path, "test")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json}", "not JSON"),
        (b"[1, 2]", "object is expected, found list"),
        (b'{"_id": "1", "text": "\xff"}', "utf-8"),
        (b'{"_id": "1", "text": "x", "score": NaN}', "NaN is not a JSON number"),
        (b"[" * 200_000, "not JSON"),
    ],
)
def test_a_line_that_is_not_a_json_object_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path / "corpus.jsonl", b'{"_id": "0", "text": "fine"}\n' + line + b"\n")
    with pytest.raises(SourceError, match=reason) as caught:
        list(read_jsonl(path))
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    assert f"{path}, line 2" in caught.value.message


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"text": "x"}', '"_id" must be a non-empty string or a number, found None'),
        ('{"_id": true, "text": "x"}', "found True"),
        ('{"_id": "1"}', '"text"'),
        ('{"_id": "1", "text": 5}', '"text"'),
        ('{"_id": "1", "text": "x", "title": ["a"]}', '"title"'),
        ('{"_id": "1", "text": "x", "metadata": "y"}', '"metadata" must be an object, found str'),
    ],
)
def test_a_record_that_is_no_document_is_named(tmp_path: Path, record: str, reason: str) -> None:
    write(tmp_path / "corpus.jsonl", record)
    with pytest.raises(SourceError, match=reason) as caught:
        list(read_corpus(tmp_path))
    assert caught.value.line == 1


def test_a_text_may_be_a_list_of_texts() -> None:
    record = {"id": 1, "text": ["one", " ", "two"], "a": 1, "b": 2, "metadata": {"a": 3}}
    assert as_document(record, Path("f"), 1) == Document("1", "", "one\n\ntwo", {"a": 3, "b": 2})


def test_what_is_not_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(b'{"_id": "1", "text": "x"}\n')
    with pytest.raises(SourceError, match=f"cannot read {path}: Not a gzipped file"):
        list(read_corpus(tmp_path))


@pytest.mark.parametrize("damage", ["cut short", "altered"])
def test_a_damaged_gzip_is_named_with_the_last_good_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    data = bytearray(
        gzip.compress(
            b"".join(b'{"_id": "%d", "text": "%d"}\n' % (number, number**9) for number in range(50_000))
        )
    )
    if damage == "altered":
        data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(SourceError, match=r"cannot read .* after line") as caught:
        list(read_lines(path))
    assert caught.value.line is not None
    assert caught.value.line > 1000


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is a directory"):
        list(read_lines(tmp_path))


def test_a_query_without_text_is_named(tmp_path: Path) -> None:
    write(tmp_path / "queries.jsonl", '{"_id": "q1"}\n')
    with pytest.raises(SourceError, match='line 1: a query needs "_id" and "text"'):
        read_queries(tmp_path)


@pytest.mark.parametrize("line", ["q1 d1 1", "q1\td1\tgood", "q1\t0\td1\t1"])
def test_a_malformed_judgement_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\nq1\td0\t1\n{line}\n")
    with pytest.raises(SourceError, match="line 3: expected query-id, corpus-id"):
        read_qrels(tmp_path, "test")
