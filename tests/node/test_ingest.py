from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import AuthorizationException, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from es_rerank.cli.connection import connect, with_port
from es_rerank.collection import Document
from es_rerank.errors import (
    IndexMismatchError,
    IngestError,
    ModelError,
    SettingsError,
    SourceError,
    UnreachableError,
)
from es_rerank.models import Vectors
from es_rerank.node import Node
from es_rerank.settings import Settings
from es_rerank.testing import HashEmbedder
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest, IngestReport, Reject, read_sources
from ingest_pipelines.prefetch import prefetch
from ingest_pipelines.vectors import as_numbers, packed, written_for

TREATY = {
    "_id": "treaty",
    "title": "Westphalia",
    "text": "The peace ended thirty years of war. It was signed in Osnabrück.",
    "year": 1648,
    "tags": ["war", "law"],
}
MOON = {
    "_id": "moon",
    "title": "",
    "text": "Two people walked on the Moon while a third kept circling it.",
    "metadata": {"year": 1969, "on": "1969-07-20"},
}
WEB = {
    "id": 3,
    "title": "Web",
    "text": "A proposal for linked documents circulated among physicists.",
    "metadata": {"year": 1989, "on": "1989-03-12T09:00:00Z"},
}


def chunker(size: int = 8, overlap: int = 2) -> Chunker:
    """Passages of words: one token per word."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return Chunker(tokenizer, size=size, overlap=overlap)


def an_ingest(client: Elasticsearch, *, dims: int = 64, size: int = 8, batch: int = 2) -> Ingest:
    return Ingest(
        client, HashEmbedder(dims), chunker=chunker(size), batch_documents=batch, initial_backoff_s=0
    )


def write(path: Path, records: Sequence[dict[str, Any] | str]) -> Path:
    """Write JSONL, gzipped when the name ends in .gz; a string is a line as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records
    ).encode()
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def read(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def source_of(es: Elasticsearch, index: str, identifier: str) -> dict[str, Any]:
    source: dict[str, Any] = es.get(index=index, id=identifier)["_source"]
    return source


def found(es: Elasticsearch, index: str, query: dict[str, Any]) -> set[str]:
    return {hit["_id"] for hit in es.search(index=index, query=query, size=100)["hits"]["hits"]}


def everything(es: Elasticsearch, index: str) -> set[str]:
    return found(es, index, {"match_all": {}})


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


# --- what arrives in the index


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_beir_folder_is_indexed_behind_an_alias(
    es: Elasticsearch, index: str, tmp_path: Path, suffix: str
) -> None:
    write(tmp_path / "beir" / f"corpus.jsonl{suffix}", [TREATY, MOON, WEB])
    report = an_ingest(es).run(index, read_sources([tmp_path / "beir"]))
    assert (report.index, report.version) == (index, f"{index}-000001")
    assert (report.documents, report.skipped, report.failed, report.duplicates, report.rejects) == (
        3,
        0,
        0,
        0,
        None,
    )
    assert everything(es, index) == {"treaty", "moon", "3"}
    stored = [source_of(es, index, identifier) for identifier in ("treaty", "moon", "3")]
    assert report.passages == sum(len(source["passages"]) for source in stored)
    for source in stored:
        assert all(
            source["text"][passage["start"] : passage["end"]] == passage["text"]
            for passage in source["passages"]
        )
    assert stored[0]["metadata"] == {"year": 1648, "tags": ["war", "law"]}


def test_nested_knn_finds_the_passage(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    an_ingest(es).run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, MOON, WEB])]))
    second = source_of(es, index, "treaty")["passages"][1]
    vector = HashEmbedder().embed([f"Westphalia\n{second['text']}"])[0].tolist()
    inner = {"size": 1, "_source": ["passages.text", "passages.start"]}
    hits = es.search(
        index=index,
        knn={
            "field": "passages.vector",
            "query_vector": vector,
            "k": 2,
            "num_candidates": 10,
            "inner_hits": inner,
        },
    )["hits"]["hits"]
    assert hits[0]["_id"] == "treaty"
    best = hits[0]["inner_hits"]["passages"]["hits"]["hits"][0]["_source"]
    assert best == {"text": second["text"], "start": second["start"]}
    assert hits[0]["_score"] == pytest.approx(1.0, abs=1e-5)


def test_metadata_filters_by_its_type(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    an_ingest(es).run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, MOON, WEB])]))
    assert found(es, index, {"range": {"metadata.year": {"gte": 1969}}}) == {"moon", "3"}
    assert found(es, index, {"term": {"metadata.tags": "law"}}) == {"treaty"}
    assert found(es, index, {"range": {"metadata.on": {"lt": "1970-01-01"}}}) == {"moon"}


def test_a_code_that_looks_like_a_year_stays_a_code(es: Elasticsearch, index: str) -> None:
    documents = [
        Document("a", "", "x", {"zip": "1010"}),
        Document("b", "", "x", {"zip": "10115"}),
        Document("c", "", "x", {"zip": "n/a"}),
    ]
    assert an_ingest(es).run(index, documents).documents == 3
    assert found(es, index, {"term": {"metadata.zip": "10115"}}) == {"b"}


def test_an_empty_text_is_indexed_with_its_title_as_passage(es: Elasticsearch, index: str) -> None:
    report = an_ingest(es).run(
        index, [Document("titled", "Only a title", " ", {}), Document("empty", "", "", {})]
    )
    assert (report.documents, report.passages) == (2, 1)
    assert source_of(es, index, "titled")["passages"] == [{"text": "Only a title", "start": 0, "end": 0}]
    assert source_of(es, index, "empty")["passages"] == []


def test_a_very_long_document_is_one_document(es: Elasticsearch, index: str) -> None:
    text = "word " * 12_000
    report = Ingest(es, HashEmbedder(16), chunker=chunker(1, 0)).run(index, [Document("long", "", text, {})])
    assert (report.documents, report.passages) == (1, 12_000)


def test_several_sources_make_one_run(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    sources = [
        write(tmp_path / "a.jsonl", [TREATY]),
        write(tmp_path / "b.ndjson.gz", [MOON]),
        write(tmp_path / "beir" / "corpus.jsonl", [WEB]).parent,
    ]
    assert an_ingest(es).run(index, read_sources(sources)).documents == 3


# --- running again


def test_running_again_skips_everything(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [TREATY, MOON, WEB])
    an_ingest(es).run(index, read_sources([source]))
    report = an_ingest(es).run(index, read_sources([source]))
    assert (report.documents, report.passages, report.skipped) == (0, 0, 3)
    assert es.get(index=index, id="moon")["_version"] == 1


@pytest.mark.parametrize("change", [{"title": "Münster"}, {"text": "Another text."}, {"year": 1649}])
def test_a_changed_document_is_indexed_anew(
    es: Elasticsearch, index: str, tmp_path: Path, change: dict[str, Any]
) -> None:
    an_ingest(es).run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, MOON])]))
    report = an_ingest(es).run(
        index, read_sources([write(tmp_path / "a.jsonl", [{**TREATY, **change}, MOON])])
    )
    assert (report.documents, report.skipped, report.duplicates) == (1, 1, 0)
    source = source_of(es, index, "treaty")
    assert {**source, **source["metadata"]}.items() >= change.items()
    assert len(everything(es, index)) == 2


def test_a_record_without_id_keeps_the_id_of_its_content(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.jsonl", [{"text": "No id here."}, {"title": "T", "text": "Nor here."}])
    assert an_ingest(es).run(index, read_sources([source])).documents == 2
    assert an_ingest(es).run(index, read_sources([source])).skipped == 2


CHILD = """
import sys
from pathlib import Path
from elasticsearch import Elasticsearch
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, read_sources
from test_ingest import chunker

def on_progress(report):
    if report.documents >= 60:
        print(report.documents, flush=True)
        sys.stdin.read()  # the next batch is being embedded meanwhile; nothing comes, the parent kills

with Elasticsearch(sys.argv[1]) as client:
    ingest = Ingest(client, HashEmbedder(), chunker=chunker(), batch_documents=20)
    ingest.run(sys.argv[2], read_sources([Path(sys.argv[3])]), on_progress=on_progress)
"""


def test_an_ingest_that_was_killed_goes_on_where_it_stopped(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl",
        [{"_id": str(number), "text": f"Text number {number}. " * 5} for number in range(200)],
    )
    arguments = [sys.executable, "-c", CHILD, node.url, index, str(source)]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1] / 'support'}"},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "60\n"
        child.kill()
    report = an_ingest(es, batch=20).run(index, read_sources([source]))
    assert report.skipped >= 60
    assert report.documents + report.skipped == 200
    assert report.failed == report.duplicates == 0
    assert es.count(index=index)["count"] == 200
    assert an_ingest(es, batch=50).run(index, read_sources([source])).skipped == 200


# --- documents that fail


def test_a_mapping_conflict_is_reported_and_replayed_once_mended(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    late = {"_id": "late", "text": "Never came.", "metadata": {"year": "soon"}}
    report = an_ingest(es).run(index, read_sources([write(tmp_path / "a.jsonl", [TREATY, late, MOON])]))
    assert (report.documents, report.failed) == (2, 1)
    assert report.rejects == Path(f"{index}.rejects.jsonl")
    (reject,) = read(report.rejects)
    assert reject["id"] == "late"
    assert "metadata.year" in reject["reason"]
    assert 'For input string: "soon"' in reject["reason"]
    assert reject["document"] == {
        "_id": "late",
        "title": "",
        "text": "Never came.",
        "metadata": {"year": "soon"},
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
        (Document("nan", "", "x", {"score": float("nan")}), "not JSON compliant"),
        (Document("object", "", "x", {"path": Path()}), "not JSON serializable"),
        (Document("long", "", "x" * 10_000_001, {}), "its text has 10000001 characters"),
        (Document("words", "", "word " * 40_000_000, {}), "its text has 200000000 characters"),
    ],
    ids=["long id", "no id", "half a character", "not a number", "an object", "one word", "a line of 200 MB"],
)
def test_a_document_that_cannot_be_sent_does_not_take_others_with_it(
    es: Elasticsearch, index: str, document: Document, reason: str
) -> None:
    report = an_ingest(es, batch=10).run(index, [Document("good", "", "x", {}), document])
    assert (report.documents, report.failed) == (1, 1)
    assert reason in read(report.rejects)[0]["reason"]


def test_a_damaged_file_ends_the_run_and_keeps_what_came_before(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl.gz",
        [{"_id": str(number), "text": f"Number {number**9}."} for number in range(3000)],
    )
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"cannot read .*a\.jsonl\.gz after line \d+"):
        an_ingest(es, batch=500).run(index, read_sources([source]))
    es.indices.refresh(index=index)
    assert es.count(index=index)["count"] >= 500


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "does not exist"),
        ("folder", "neither corpus"),
        ("paper.pdf", "ends in none of .jsonl"),
    ],
)
def test_a_source_that_cannot_be_read_at_all_is_refused_at_once(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "paper.pdf").touch()
    with pytest.raises(SourceError, match=message):
        read_sources([tmp_path / name])


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


# --- indices and aliases


@pytest.mark.parametrize(("dims", "size"), [(32, 8), (64, 6)])
def test_another_embedder_or_chunking_is_refused_naming_both(
    es: Elasticsearch, index: str, dims: int, size: int
) -> None:
    an_ingest(es).run(index, [Document("a", "", "x", {})])
    with pytest.raises(IndexMismatchError) as caught:
        an_ingest(es, dims=dims, size=size).run(index, [Document("a", "", "x", {})])
    assert caught.value.index == f"{index}-000001"
    for part in (
        "hash-64",
        f"hash-{dims}",
        "passages of 8 tokens",
        f"passages of {size} tokens",
        "--rebuild",
    ):
        assert part in caught.value.message


def test_the_mapping_records_how_vectors_were_made(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, [Document("a", "", "x", {})]).version
    meta = es.indices.get_mapping(index=index)[version]["mappings"]["_meta"]
    assert meta == {
        "managed_by": "es-rerank",
        "version": 1,
        "embedder": "hash-64",
        "dims": 64,
        "chunking": {"size": 8, "overlap": 2},
    }


def test_a_rebuild_switches_at_the_end_and_keeps_the_old_version(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, [Document("old", "", "x", {})])
    seen: list[set[str]] = []
    report = an_ingest(es, dims=32).run(
        index,
        [Document("new", "", "x", {})],
        rebuild=True,
        on_progress=lambda _: seen.append(set(es.indices.get_alias(name=index))),
    )
    assert seen == [{f"{index}-000001"}]
    assert report.version == f"{index}-000002"
    assert set(es.indices.get_alias(name=index)) == {f"{index}-000002"}
    assert everything(es, index) == {"new"}
    assert everything(es, f"{index}-000001") == {"old"}
    assert (
        an_ingest(es, dims=16).run(index, [Document("newer", "", "x", {})], rebuild=True).version
        == f"{index}-000003"
    )


class BrokenEmbedder(HashEmbedder):
    """Fails at the second batch."""

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        if any("two" in text for text in texts):
            raise ModelError("the model broke")
        return super().embed(texts, purpose=purpose)


@pytest.mark.parametrize("fault", ["model", "empty", "interrupt"])
def test_a_rebuild_that_fails_leaves_the_old_version_alone(es: Elasticsearch, index: str, fault: str) -> None:
    an_ingest(es).run(index, [Document("old", "", "x", {})])
    error: type[BaseException] = {"model": ModelError, "empty": IngestError, "interrupt": KeyboardInterrupt}[
        fault
    ]
    documents = [] if fault == "empty" else [Document("1", "", "one", {}), Document("2", "", "two", {})]

    def interrupt(_: IngestReport) -> None:
        if fault == "interrupt":
            raise KeyboardInterrupt

    with pytest.raises(error):
        Ingest(es, BrokenEmbedder(), chunker=chunker(), batch_documents=1).run(
            index, documents, rebuild=True, on_progress=interrupt
        )
    assert set(es.indices.get(index=f"{index}*")) == {f"{index}-000001"}
    assert everything(es, index) == {"old"}


def test_a_rebuild_of_nothing_is_a_first_build(es: Elasticsearch, index: str) -> None:
    assert an_ingest(es).run(index, [Document("a", "", "x", {})], rebuild=True).version == f"{index}-000001"


def test_a_version_that_lost_its_alias_is_not_written_over(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, [Document("a", "", "x", {})])
    es.indices.delete_alias(index=f"{index}-000001", name=index)
    assert an_ingest(es).run(index, [Document("b", "", "x", {})]).version == f"{index}-000002"
    assert everything(es, f"{index}-000001") == {"a"}


@pytest.mark.parametrize("rebuild", [False, True])
def test_an_index_that_is_not_ours_is_refused(es: Elasticsearch, index: str, *, rebuild: bool) -> None:
    es.indices.create(index=index)
    with pytest.raises(IndexMismatchError, match="was not made by es-rerank ingest; choose another name"):
        an_ingest(es).run(index, [Document("a", "", "x", {})], rebuild=rebuild)


def test_an_alias_of_several_indices_is_refused(es: Elasticsearch, index: str) -> None:
    for number in (1, 2):
        es.indices.create(index=f"{index}-part{number}", aliases={index: {}})
    with pytest.raises(
        IndexMismatchError, match=rf"alias of several indices \({index}-part1, {index}-part2\)"
    ):
        an_ingest(es).run(index, [])


def test_a_version_can_be_written_by_its_own_name_but_not_rebuilt(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, [Document("a", "", "x", {})]).version
    assert an_ingest(es).run(version, [Document("b", "", "x", {})]).documents == 1
    with pytest.raises(IndexMismatchError, match="cannot be replaced by a new version"):
        an_ingest(es).run(version, [Document("b", "", "x", {})], rebuild=True)


@pytest.mark.parametrize("name", ["", "art*", "a,b"])
def test_a_name_of_several_indices_is_refused(es: Elasticsearch, name: str) -> None:
    with pytest.raises(SettingsError, match="does not name one index"):
        an_ingest(es).run(name, [])


# --- a node that refuses


class FailingNode(Urllib3HttpNode):
    """A connection to the real node that answers some bulk requests itself;
    ``answers`` holds those still to come.
    """

    answers: list[tuple[int, bytes] | Literal["items"]]

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> NodeApiResponse:
        if "_bulk" not in target or not self.answers:
            return super().perform_request(method, target, body, headers, request_timeout)
        answer = self.answers.pop(0)
        status, content = (200, _all_refused(body or b"")) if answer == "items" else answer
        answered = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
        return NodeApiResponse(ApiResponseMeta(status, "1.1", answered, 0.0, self.config), content)


def _all_refused(body: bytes) -> bytes:
    actions = (json.loads(line)["index"] for line in body.splitlines()[::2])
    error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
    return json.dumps(
        {
            "errors": True,
            "items": [{"index": {**action, "status": 429, "error": error}} for action in actions],
        }
    ).encode()


def failing(node: Node, answers: list[tuple[int, bytes] | Literal["items"]]) -> Elasticsearch:
    class Node(FailingNode):
        def __init__(self, config: NodeConfig) -> None:
            super().__init__(config)
            self.answers = answers

    return Elasticsearch(node.url, node_class=Node, max_retries=0, request_timeout=30)


def test_a_full_queue_is_tried_again(es: Elasticsearch, node: Node, index: str) -> None:
    answers: list[tuple[int, bytes] | Literal["items"]] = [(429, b"{}"), "items", (429, b"{}"), "items"]
    with failing(node, answers) as client:
        report = an_ingest(client).run(index, [Document(str(number), "", "x", {}) for number in range(5)])
    assert answers == []
    assert (report.documents, report.failed) == (5, 0)
    assert len(everything(es, index)) == 5


def test_documents_that_stay_refused_are_rejects(node: Node, index: str) -> None:
    with failing(node, ["items"] * 7) as client:
        report = an_ingest(client).run(index, [Document(str(number), "", "x", {}) for number in range(4)])
    assert (report.documents, report.failed) == (2, 2)
    assert [reject["reason"] for reject in read(report.rejects)] == [
        "429 es_rejected_execution_exception: queue is full"
    ] * 2


def test_a_request_that_is_too_large_fails_its_documents_only(node: Node, index: str) -> None:
    with failing(node, [(413, b'{"error": {"reason": "too large"}, "status": 413}')]) as client:
        report = an_ingest(client).run(index, [Document(str(number), "", "x", {}) for number in range(4)])
    assert (report.documents, report.failed) == (2, 2)
    assert read(report.rejects)[0]["reason"].startswith("413: ")


def test_a_refusal_that_every_document_would_meet_ends_the_run(node: Node, index: str) -> None:
    with (
        failing(node, [(403, b'{"error": {"reason": "no"}, "status": 403}')]) as client,
        pytest.raises(AuthorizationException),
    ):
        an_ingest(client).run(index, [Document(str(number), "", "x", {}) for number in range(4)])


# --- streaming


def test_no_more_than_two_batches_are_held(es: Elasticsearch, index: str) -> None:
    taken, held = 0, list[int]()

    def documents() -> Iterator[Document]:
        nonlocal taken
        for taken in range(1, 201):
            yield Document(str(taken), "", f"Text {taken}.", {})

    an_ingest(es, batch=10).run(
        index, documents(), on_progress=lambda report: held.append(taken - report.documents)
    )
    assert max(held) <= 10  # beside the ten just written


class WaitingEmbedder(HashEmbedder):
    """Says when its second batch has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.second = threading.Event()

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        if any("two" in text for text in texts):
            self.second.set()
        return super().embed(texts, purpose=purpose)


def test_the_next_batch_is_embedded_while_one_is_indexed(es: Elasticsearch, index: str) -> None:
    embedder, overlapped = WaitingEmbedder(), list[bool]()
    ingest = Ingest(es, embedder, chunker=chunker(), batch_documents=1)
    ingest.run(
        index,
        [Document("1", "", "one", {}), Document("2", "", "two", {})],
        on_progress=lambda _: overlapped.append(embedder.second.wait(60)),
    )
    assert overlapped[0]


def test_long_texts_close_a_batch_early(es: Elasticsearch, index: str) -> None:
    reports: list[IngestReport] = []
    ingest = Ingest(es, HashEmbedder(), chunker=chunker(), batch_documents=100, batch_characters=10)
    ingest.run(
        index,
        [Document(str(number), "", "ten letters", {}) for number in range(3)],
        on_progress=reports.append,
    )
    assert [report.documents for report in reports] == [1, 2, 3, 3]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_working_ahead_keeps_the_order(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth)) == items


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ModelError("third")

    stream = prefetch(items(), depth=3)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ModelError, match="third"):
        next(stream)


def test_closing_early_asks_for_no_more() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    stream = prefetch(items(), depth=2)
    next(stream)
    stream.close()
    assert len(asked) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest-ahead")]


# --- vectors


def test_a_packed_vector_is_the_same_numbers(es: Elasticsearch) -> None:
    vector = HashEmbedder().embed(["a b c d e f g"])[0]
    assert np.frombuffer(base64.b64decode(packed(vector)), dtype=">f4").tolist() == as_numbers(vector)
    assert written_for(es) is packed


def test_the_reader_keeps_apart_documents_and_rejects(tmp_path: Path) -> None:
    items = list(read_sources([write(tmp_path / "a.jsonl", [TREATY, "[]", "", WEB])]))
    assert [type(item) for item in items] == [Document, Reject, Document]


# --- the client of the commands


def test_an_address_where_nothing_answers_is_named_without_its_password() -> None:
    with pytest.raises(
        UnreachableError, match=r"no Elasticsearch answers at http://me:\*\*\*@127\.0\.0\.1:1 .*es-rerank up"
    ) as caught:
        connect("http://me:secret@127.0.0.1:1", Settings())
    assert "secret" not in caught.value.url


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:70000"):
        connect("http://127.0.0.1:70000", Settings())


def test_an_address_without_a_port_means_the_port_of_its_scheme() -> None:
    urls = [
        "https://me:secret@search.example/es",
        "http://search.example",
        "http://[::1]",
        "http://search.example:9200",
    ]
    expected = [
        "https://me:secret@search.example:443/es",
        "http://search.example:80",
        "http://[::1]:80",
        "http://search.example:9200",
    ]
    assert [with_port(url) for url in urls] == expected


class Stranger(BaseHTTPRequestHandler):
    """A web server that is no Elasticsearch."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def test_what_answers_but_is_no_elasticsearch_is_named() -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(UnreachableError, match="is not Elasticsearch"):
            connect(f"http://127.0.0.1:{server.server_port}", Settings())
        server.shutdown()
        thread.join()


# --- the command


def command(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "es_rerank", "ingest", *arguments, "--elasticsearch-url", node.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_command_prints_exactly_the_report(node: Node, index: str, tmp_path: Path) -> None:
    done = command(node, index, str(write(tmp_path / "a.jsonl", [TREATY, MOON])), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["index", "documents", "passages", "skipped", "failed", "seconds"]
    assert (report["index"], report["documents"], report["passages"], report["failed"]) == (index, 2, 2, 0)


def test_the_command_does_not_end_well_when_documents_failed(node: Node, index: str, tmp_path: Path) -> None:
    done = command(
        node,
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
    again = command(node, index, "bad.jsonl", "--rejects", "bad.jsonl")
    assert again.returncode == 2
    assert "is also a source" in again.stderr
