"""A node is killed and started again in the midst of an ingest: counts are those of an undisturbed one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from ingests import chunker
from own_nodes import OwnNode, own_node
from server import reserved_port

from es_rerank.collection import Document
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, IngestReport
from ingest_pipelines.live_copy import LiveCopy
from ingest_pipelines.patience import Patience
from ingest_pipelines.reading.elasticsearch_index import index_documents

pytestmark = [pytest.mark.node, pytest.mark.long, pytest.mark.timeout(900)]

NUMBER = 2_000
PATIENCE = Patience(max_retries=60, initial_backoff_s=0.2)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnNode]:
    with (
        reserved_port() as port,
        own_node(tmp_path_factory.mktemp("own"), {"http.port": port}, plugin=False) as node,
    ):
        node.start(heap_mb=256)
        yield node


@pytest.fixture
def es(own: OwnNode) -> Iterator[Elasticsearch]:
    with Elasticsearch(own.url, request_timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def corpus() -> Iterator[Document]:
    for n in range(NUMBER):
        yield Document(f"d{n}", f"title {n}", f"text {n} of the corpus", {"n": n})


def disturbed(node: OwnNode, documents: Iterable[Any], at: int) -> Iterator[Any]:
    """Kill the node when so many documents were read, and start it again while reading and writing go on."""
    starting = threading.Thread(target=lambda: node.start(heap_mb=256))
    for place, document in enumerate(documents):
        if place == at:
            node.kill()
            starting.start()
        yield document
    starting.join()


def ingest(es: Elasticsearch, dims: int) -> Ingest:
    return Ingest(
        es,
        HashEmbedder(dims),
        chunker=chunker(),
        batch_documents=50,
        max_retries=PATIENCE.max_retries,
        initial_backoff_s=PATIENCE.initial_backoff_s,
    )


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.documents, report.passages, report.skipped, report.failed, report.duplicates


def content(es: Elasticsearch, index: str) -> dict[str, Any]:
    """All that an index holds but the time."""
    es.indices.refresh(index=index)
    hits = es.search(index=index, size=10_000, source_exclude_vectors=False)["hits"]["hits"]
    return {hit["_id"]: {**hit["_source"], "@timestamp": None} for hit in hits}


def test_an_ingest_counts_and_writes_as_an_undisturbed_one(own: OwnNode, es: Elasticsearch) -> None:
    calm = ingest(es, 16).run("calm", corpus())
    report = ingest(es, 16).run("files", disturbed(own, corpus(), 900))
    assert counts(report) == counts(calm) == (NUMBER, NUMBER, 0, 0, 0)
    assert content(es, "files") == content(es, "calm")
    again = ingest(es, 16).run("files", disturbed(own, corpus(), 900))
    assert counts(again) == (0, 0, NUMBER, 0, 0)


def test_an_index_is_read_and_re_embedded_as_if_nothing_was(own: OwnNode, es: Elasticsearch) -> None:
    calm = ingest(es, 8).run("calm-8", corpus())
    with index_documents(es, "calm", patience=PATIENCE) as documents:
        report = ingest(es, 8).run("copied", disturbed(own, documents, 700))
    assert counts(report) == counts(calm)
    assert content(es, "copied") == content(es, "calm-8")
    with LiveCopy(es, "files", embedder="hash-8", patience=PATIENCE) as copy:
        read = disturbed(own, copy.documents(), 1_500)
        report = ingest(es, 8).run("files", read, rebuild=True, before_switch=copy.finish)
    assert counts(report) == counts(calm)
    assert set(es.indices.get_alias(name="files")) == {report.version}
    assert content(es, "files") == content(es, "calm-8")
