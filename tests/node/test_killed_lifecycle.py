"""What a process leaves that is killed while it rebuilds an index or removes documents, and what mends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest, everything
from waiting import until

from es_rerank.collection import Document
from es_rerank.node import Node
from ingest_pipelines.lifecycle.catalog import State, catalog
from ingest_pipelines.lifecycle.cleaning import removable, remove

CHILD = """
import sys
from elasticsearch import Elasticsearch
from es_rerank.collection import Document
from ingests import an_ingest

url, index, what, ids = sys.argv[1:]

def stop(report):
    if what == "rebuild" or report.removed:
        print(report.removed, flush=True)
        sys.stdin.read()  # nothing comes: the parent kills

with Elasticsearch(url) as client:
    documents = [Document(each, "", "x", {}) for each in ids.split(",")]
    an_ingest(client, batch=500).run(
        index, documents, rebuild=what == "rebuild", sync=what == "sync", remove_most=True, on_progress=stop
    )
"""


def documents(*ids: str) -> list[Document]:
    return [Document(each, "", "x", {}) for each in ids]


@contextmanager
def stopped(node: Node, index: str, what: str, *ids: str) -> Iterator[str]:
    """Run an ingest in a process that stops in the middle, and is killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, node.url, index, what, ",".join(ids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
    )
    with child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.mark.long
def test_what_a_killed_rebuild_leaves_is_an_orphan_and_removed(
    es: Elasticsearch, node: Node, index: str
) -> None:
    """While it runs, and for a while after, it is not taken for an orphan. Another rebuild may run beside."""

    def states() -> dict[int | None, State]:
        return {version.number: version.state for version in catalog(es, index)}

    def cleaned() -> list[int | None]:
        chosen = removable(catalog(es, index))
        return [version.number for version, gone in remove(es, chosen, between_looks_s=0) if gone]

    an_ingest(es).run(index, documents("a", "b"))
    with stopped(node, index, "rebuild", "c", "d") as said:
        assert said == "None"
        assert states() == {1: "in_use", 2: "building"}
        assert an_ingest(es).run(index, documents("e"), rebuild=True).version == f"{index}-000003"
        assert cleaned() == []
    assert states() == {1: "earlier", 2: "building", 3: "in_use"}
    until(lambda: states()[2] == "orphan", patience_s=300)
    assert cleaned() == [2]
    assert states() == {1: "earlier", 3: "in_use"}
    assert everything(es, index) == {"e"}


@pytest.mark.long
def test_a_removal_that_was_killed_goes_on(es: Elasticsearch, node: Node, index: str) -> None:
    many = [str(number) for number in range(1_800)]
    an_ingest(es, batch=500).run(index, documents(*many))
    with stopped(node, index, "sync", "1", "new") as said:
        assert said == "500"
    es.indices.refresh(index=index)
    assert es.count(index=index)["count"] == 1_301
    report = an_ingest(es).run(index, documents("1", "new"), sync=True, remove_most=True)
    assert (report.skipped, report.removed) == (2, 1_299)
    assert everything(es, index) == {"1", "new"}
