"""``ingest --dry-run``: it counts as the run does, writes nothing and asks no service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import run
from elasticsearch import Elasticsearch
from http_servers import EveryMethod, serving_in_thread
from ingests import TREATY, WEB, chunker, write

from es_rerank.cli.dry_run import _stated_name
from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError
from es_rerank.models.embedder_spec import parse_embedder
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest
from ingest_pipelines.dry_run import DryRun, PlannedEmbedder
from ingest_pipelines.rejects import Reject

DOCUMENTS: list[Document | Reject] = [
    Document("a", "One", "The peace ended thirty years of war. It was signed in Osnabrück.", {}),
    Document("b", "", "Two people walked on the Moon while a third kept circling it.", {"year": 1969}),
    Document("", "", "A document without an id.", {}),
    Reject("no JSON", "x", file="f.jsonl", line=3),
]


def _planned(local: bool = True) -> PlannedEmbedder:  # noqa: FBT002 a test's choice
    model = HashEmbedder(64)
    return PlannedEmbedder(model.name, 64, None, local=model if local else None)


def test_it_counts_what_the_run_then_does(es: Elasticsearch, index: str, tmp_path: Path) -> None:
    dry = DryRun(es, _planned(), chunker=chunker(), price=2.0)
    before = dry.run(index, DOCUMENTS)
    assert not es.indices.get(index=f"{index}*")
    report = Ingest(es, HashEmbedder(64), chunker=chunker(), initial_backoff_s=0).run(
        index, DOCUMENTS, rejects=tmp_path / "rejects"
    )
    assert (before.documents, before.passages, before.failed) == (
        report.documents,
        report.passages,
        report.failed,
    )
    assert before.tokens == sum(
        chunker().count(f"{title}\n{passage.text}" if title else passage.text)
        for title, text in ((each.title, each.text) for each in DOCUMENTS[:2] if isinstance(each, Document))
        for passage in chunker().chunk(text)
    )
    assert before.price == before.tokens * 2.0 / 1e6
    assert before.megabytes is not None
    assert before.minutes is not None
    assert [each.reason[:6] for each in before.rejects] == ["its id", "no JSO"]
    state = es.indices.stats(index=index)["_all"]["primaries"]["docs"]["count"]
    changed = [*DOCUMENTS[:1], Document("b", "", "Another text.", {})]
    after = dry.run(index, changed)
    assert (after.documents, after.unchanged) == (1, 1)
    assert dry.run(index, changed, rebuild=True).documents == 2
    assert es.indices.stats(index=index)["_all"]["primaries"]["docs"]["count"] == state


def test_documents_that_share_an_id_are_counted_as_the_run_counts_them(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    two = [Document(f"d{number % 150}", "", f"text {number}", {}) for number in range(300)]
    three = [*two, *(Document(f"d{number}", "", f"text {150 + number}", {}) for number in range(3))]
    before = DryRun(es, _planned(), chunker=chunker()).run(index, three)
    report = Ingest(es, HashEmbedder(64), chunker=chunker(), initial_backoff_s=0).run(
        index, three, rejects=tmp_path / "rejects"
    )
    assert (before.documents, before.duplicates) == (report.documents, report.duplicates) == (150, 153)
    assert before.passages == 300
    # The last text of each is in the index, and the first ones would be written anew.
    after = DryRun(es, _planned(), chunker=chunker()).run(index, two)
    assert (after.documents, after.duplicates, after.unchanged) == (150, 150, 0)


def test_metadata_are_in_the_size(es: Elasticsearch, index: str) -> None:
    sizes = []
    for metadata in ({}, {"note": "x" * 10_000}):
        found = DryRun(es, _planned(), chunker=chunker()).run(index, [Document("a", "", "text", metadata)])
        sizes.append(found.megabytes or 0)
    assert 0.005 < sizes[1] - sizes[0] < 0.027


def test_a_prefix_takes_room_and_tokens(es: Elasticsearch, index: str) -> None:
    text = [Document("a", "", "tide moon water pull night " * 40, {})]
    bare, longer = (
        DryRun(es, PlannedEmbedder("m", 64, 8, prefix=prefix), chunker=chunker()).run(index, text)
        for prefix in ("", "passage: of ")
    )
    assert longer.passages > bare.passages
    assert bare.tokens / bare.passages <= longer.tokens / longer.passages <= 8


def test_an_index_that_the_run_would_refuse_is_refused(es: Elasticsearch, index: str) -> None:
    Ingest(es, HashEmbedder(64), chunker=chunker(), initial_backoff_s=0).run(index, DOCUMENTS[:1])
    with pytest.raises(IndexMismatchError, match="this run uses embedder other"):
        DryRun(es, PlannedEmbedder("other", 64, None), chunker=chunker()).run(index, DOCUMENTS)
    # A service that has not told its model yet is taken to have the index's.
    unknown = DryRun(es, PlannedEmbedder(None, None, None), chunker=chunker()).run(index, DOCUMENTS[:1])
    assert unknown.unchanged == 1
    assert "taken for granted" in unknown.notes[0]
    es.indices.create(index=f"{index}-own")
    with pytest.raises(IndexMismatchError, match="was not made by"):
        DryRun(es, _planned(), chunker=chunker()).run(f"{index}-own", DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("openai:m?dims=8", "m"),
        ("remote:openai:http://h/v1?model=m&query_prefix=q", "m?query_prefix=q"),
        ("remote:openai:http://h/v1", None),
        ("remote:http://h?model=m", None),  # it may be a sidecar, which tells the model's own name
        ("remote:tei:http://h?model=m", None),
    ],
)
def test_a_name_that_is_known_before_the_service_is_asked(name: str, stated: str | None) -> None:
    assert _stated_name(parse_embedder(name)) == stated


class _Asked(EveryMethod):
    requests: list[str]

    def answer(self) -> None:
        self.requests.append(self.path)
        self.send_error(500)


@pytest.fixture
def nobody() -> Iterator[tuple[str, list[str]]]:
    """A service that must not be asked, and what it was asked."""
    requests: list[str] = []
    handler = type("_Handler", (_Asked,), {"requests": requests})
    with serving_in_thread(HTTPServer(("127.0.0.1", 0), handler)) as url:
        yield url, requests


def test_the_command_asks_no_service(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path, nobody: tuple[str, list[str]]
) -> None:
    url, asked = nobody
    source = write(tmp_path / "docs.jsonl", [TREATY, WEB, "{"])
    name = f"remote:{url.replace('//', '//u:geheim@')}?dims=64"
    options = ["--embedder", name, "--price", "0.02", "--tokens-per-minute", "100"]
    given = ["ingest", index, source, "--dry-run", *options, "--elasticsearch-url", node.url, "--json"]
    done = run(*map(str, given))
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (found["documents"], found["failed"], found["dry_run"]) == (2, 1, True)
    assert found["tokens"] > 0
    assert found["minutes"] == round(found["tokens"] / 100, 2)
    assert found["price"] == round(found["tokens"] * 0.02 / 1e6, 6)
    assert found["megabytes"] is not None
    assert asked == []
    assert not es.indices.get(index=f"{index}*")
    assert "geheim" not in done.stdout + done.stderr
