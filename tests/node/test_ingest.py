"""Documents arrive in a real Elasticsearch once, whole and findable, and what fails is kept."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from commands import run
from elasticsearch import Elasticsearch
from ingests import MOON, TREATY, WEB, an_ingest, chunker, everything, found, source_of, write

from es_rerank.collection import Document
from es_rerank.models import Vectors
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, IngestReport, read_sources
from ingest_pipelines.vectors import as_numbers, pack_vector, written_for


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
from ingests import chunker

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
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
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


# --- streaming


def test_no_more_than_six_batches_are_held(es: Elasticsearch, index: str) -> None:
    taken, held = 0, list[int]()

    def documents() -> Iterator[Document]:
        nonlocal taken
        while taken < 300:
            taken += 1
            yield Document(str(taken), "", f"Text {taken:03}. " * 10, {})

    ingest = Ingest(es, HashEmbedder(), chunker=chunker(), batch_documents=10, batch_characters=1_000)
    ingest.run(index, documents(), on_progress=lambda report: held.append(taken - report.documents))
    assert max(held) <= 60  # in six batches, one of which is read and waits, beside the ten just written


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


def test_texts_in_a_script_that_the_embedder_does_not_read_are_counted(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    class LatinOnly(HashEmbedder):
        scripts = ("Latin",)

    texts = ["who signed the treaty", "谁签署了条约", "он подписал", "条约已签署"]
    documents = [Document(str(number), "", text, {}) for number, text in enumerate(texts)]
    report = Ingest(es, LatinOnly(), chunker=chunker()).run(index, documents)
    assert (report.documents, report.other_scripts) == (4, {"Han": 2, "Cyrillic": 1})
    assert Ingest(es, HashEmbedder(), chunker=chunker()).run(f"{index}-any", documents).other_scripts == {}
    source = write(tmp_path / "a.jsonl", [{"_id": item.id, "text": item.text} for item in documents])
    done = run("ingest", "--elasticsearch-url", node.url, f"{index}-told", str(source))
    assert done.returncode == 0, done.stderr
    assert "2 documents are in Han script, on which the embedder was not trained" in done.stderr


def test_the_command_says_how_many_titles_were_cut(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    records: list[dict[str, Any] | str] = [
        {"_id": "long", "title": "treaty " * 300, "text": "It rained."},
        TREATY,
    ]
    source = write(tmp_path / "a.jsonl", records)
    done = run("ingest", "--elasticsearch-url", node.url, index, str(source))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "1 documents have a title of more than a quarter of what the embedder reads" in said


# --- vectors


def test_a_packed_vector_is_the_same_numbers(es: Elasticsearch) -> None:
    vector = HashEmbedder().embed(["a b c d e f g"])[0]
    assert np.frombuffer(base64.b64decode(pack_vector(vector)), dtype=">f4").tolist() == as_numbers(vector)
    assert written_for(es) is pack_vector
