"""An ingest that is stopped finishes its batch, leaves no version behind, and goes on where it stopped."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest, chunker, everything, write
from proxies import Outcome, proxied
from waiting import until

from es_rerank.collection import Document
from es_rerank.errors import IngestStoppedError
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, IngestReport


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def documents(count: int) -> list[Document]:
    return [Document(str(number), "", f"Text number {number}.", {}) for number in range(count)]


def stopping_at(ingest: Ingest, indexed: int) -> list[IngestReport]:
    """Return the list of reports. It stops the ingest when so many documents are indexed."""

    class Reports(list[IngestReport]):
        def append(self, report: IngestReport) -> None:
            super().append(report)
            if report.documents >= indexed:
                ingest.stop()

    return Reports()


def test_a_stopped_ingest_goes_on_where_it_stopped(es: Elasticsearch, index: str) -> None:
    ingest = an_ingest(es, batch=2)
    reports = stopping_at(ingest, 4)
    with pytest.raises(IngestStoppedError, match="goes on where this one stopped") as stopped:
        ingest.run(index, documents(90), on_progress=reports.append)
    done = reports[-1].documents
    assert f"{done} documents were indexed" in stopped.value.message
    assert 4 <= done < 90
    assert len(everything(es, index)) == done, "what was written is searchable"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest-")]
    with pytest.raises(IngestStoppedError):
        ingest.run(index, documents(90))
    report = an_ingest(es).run(index, documents(90))
    assert (report.skipped, report.documents) == (done, 90 - done)


def test_a_stopped_rebuild_leaves_no_version(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, documents(3))
    for stopped_at in (0, 2):  # before anything is written, and amid it
        ingest = an_ingest(es, batch=1)
        reports = stopping_at(ingest, stopped_at)
        with pytest.raises(IngestStoppedError, match=f"{index} stays as it was"):
            ingest.run(index, documents(90), rebuild=True, on_progress=reports.append)
        assert list(es.indices.get(index=f"{index}-*")) == [f"{index}-000001"]
        assert len(everything(es, index)) == 3


def test_a_rebuild_that_is_stopped_at_its_end_is_complete(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, documents(3))
    ingest = an_ingest(es, batch=5)
    reports = stopping_at(ingest, 5)
    report = ingest.run(index, documents(5), rebuild=True, on_progress=reports.append)
    assert (report.documents, report.version) == (5, f"{index}-000002")
    assert list(es.indices.get_alias(name=index)) == [report.version]


@pytest.mark.parametrize("outcome", [(429, b"{}"), "close"], ids=["busy", "away"])
def test_a_stop_does_not_wait_for_an_elasticsearch_that_is_busy_or_away(
    es: Elasticsearch, node: Node, index: str, outcome: Outcome
) -> None:
    writes = itertools.count()

    def rule(method: str, path: str, size: int) -> Outcome:
        if not path.endswith("_bulk") or next(writes) == 0:
            return None
        ingest.stop()
        return outcome

    with proxied(node.url, rule) as proxy, Elasticsearch(proxy.url, max_retries=0) as client:
        # Without the stop, the wait would be one of hours.
        ingest = Ingest(
            client, HashEmbedder(), chunker=chunker(), batch_documents=5, initial_backoff_s=10_000
        )
        with pytest.raises(IngestStoppedError, match=r"was stopped: \d+ documents were indexed.* goes on"):
            ingest.run(index, documents(40))
    report = an_ingest(es).run(index, documents(40))
    assert report.documents + report.skipped == 40
    assert report.skipped


def test_sigterm_finishes_the_batch_and_tells_the_command_to_go_on(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl", [{"_id": str(number), "text": f"Text {number}."} for number in range(20_000)]
    )
    command = ["ingest", index, str(source), "--elasticsearch-url", node.url]
    with subprocess.Popen(
        [sys.executable, "-m", "es_rerank", *command],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        patient = es.options(max_retries=0, ignore_status=[503])  # the shard may not have started
        until(lambda: bool(patient.exists(index=index, id="0")), "the first batch is written")
        child.send_signal(signal.SIGTERM)
        said, errors = child.communicate()
    assert (child.returncode, said) == (143, "")
    assert "finishing the batch in work" in errors
    assert (
        f"goes on where this one stopped, and meets again what failed: {shlex.join(['es-rerank', *command])}"
        in errors
    )
    assert (
        f"{len(es.search(index=index, size=10_000, source=False)['hits']['hits'])} documents were indexed"
        in errors
    )
