"""``ingest --sync`` removes what left the sources, and nothing else; single documents are put and deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch
from ingests import an_ingest, chunker, everything, source_of, write
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.collection import Document
from es_rerank.errors import EsRerankError, IngestError, IngestStoppedError, SettingsError, SourceError
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import IngestReport, Reject

Item = Document | Reject


class Words(HashEmbedder):
    """A cheap embedder with a tokenizer, as commands need one."""

    tokenizer = chunker()._tokenizer  # noqa: SLF001 a tokenizer of words


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def documents(*ids: str, text: str = "x") -> list[Item]:
    return [Document(each, "", text, {}) for each in ids]


def sync(es: Elasticsearch, index: str, items: Any, **options: Any) -> IngestReport:
    return an_ingest(es).run(index, items, sync=True, **options)


def test_the_index_equals_the_sources(es: Elasticsearch, index: str) -> None:
    """Removed, renamed and changed; an id twice; an id that must be quoted; also what no search finds yet."""
    odd = 'a "b"\n/ü%20\\'
    first = sync(es, index, documents("kept", "changed", "renamed", "left", odd, "7"))
    assert (first.documents, first.removed, first.not_removed) == (6, 0, None)
    es.indices.put_settings(index=index, settings={"index.refresh_interval": "-1"})
    es.index(index=index, id="unsearchable", document={"text": "x"})
    now = [*documents("kept", odd, "kept", "new name", "7"), Document("changed", "", "other words", {})]
    second = sync(es, index, now)
    assert (second.documents, second.skipped, second.removed) == (2, 4, 3)
    assert second.as_json().keys() - first.as_json().keys() == set()
    assert second.as_json()["removed"] == 3
    assert everything(es, index) == {"kept", odd, "7", "new name", "changed"}
    assert sync(es, index, now).removed == 0
    nested = {"nested": {"path": "passages", "query": {"match": {"passages.text": "x"}}}}
    assert es.search(index=index, query=nested)["hits"]["total"]["value"] == 4


def line(identifier: str | None) -> Reject:
    return Reject("it is wrong", {"text": 1}, identifier, "/source.jsonl", 3)


def file(name: str) -> Reject:
    return Reject("it cannot be read", None, name, f"/source/{name}")


def ends() -> Iterator[Item]:
    yield from documents("a", "b", "c")
    raise SourceError("the file is damaged")


ALL = documents(*"abcde", "d.pdf")
UNKNOWN = "1 rejects have no id"
STAYS: list[tuple[list[Item], bool, str]] = [
    ([*ALL[:3], line(None)], True, UNKNOWN),
    ([*ALL[:3], file("rows.csv")], True, UNKNOWN),
    ([*ALL[:3], file("rows.JSONL.gz")], True, UNKNOWN),
    ([*ALL[:3], file("folder")], True, UNKNOWN),
    (ALL[:2], False, "of the 6 documents .* hold 2 under their ids, and 4 would go; .* its path .* --yes"),
    ([], True, "hold no document"),
]
GOES: list[tuple[list[Item], bool, str]] = [
    ([*ALL[:3], line("d"), line("new")], False, "abcd"),
    ([*ALL[:3], Document("d", "", "x" * 10_000_001, {})], False, "abcd"),
    ([*ALL[:2], line("c"), file("d.pdf")], False, "abc d.pdf"),
    ([*ALL, line(None)], False, "abcde d.pdf"),
    (ALL[:2], True, "ab"),
    (documents(*"abcvwx"), False, "abcvwx"),
]


def test_what_stays(es: Elasticsearch, index: str) -> None:
    """Nobody knows which documents a CSV or a folder held that cannot be read."""
    an_ingest(es).run(index, ALL)
    for items, agreed, why in STAYS:
        report = sync(es, index, items, remove_most=agreed)
        assert re.search(why, report.not_removed or ""), items
        assert report.removed == 0
    assert everything(es, index) == {*"abcde", "d.pdf"}
    for items, agreed, kept in GOES:
        assert sync(es, index, ALL, remove_most=True).not_removed is None
        assert sync(es, index, items, remove_most=agreed).not_removed is None, items
        letters, *names = kept.split()
        assert everything(es, index) == {*letters, *names}, items


def test_the_command_counts_what_it_removes_and_refuses_rejects(
    es: Elasticsearch, node: Node, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("es_rerank.models.load.embedder_of", lambda *_, **__: nullcontext(Words(8)))

    def ingest(*arguments: str) -> Any:
        asked = ("ingest", index, *arguments, "--elasticsearch-url", node.url)
        return CliRunner().invoke(app, asked)

    folder = Path("docs")
    for number in range(4):
        write(folder / f"{number}.txt", ["some words"])
    bad = {"_id": "bad", "text": 1}
    write(folder / "rows.jsonl", [{"_id": "good", "text": "words"}, bad])
    assert ingest("docs").exception.failed == 1
    (folder / "0.txt").unlink()
    (folder / "1.txt").write_bytes(b"")
    done = ingest("docs", "--sync", "--json")
    assert json.loads(done.stdout)["removed"] == 1
    assert everything(es, index) == {"1.txt", "2.txt", "3.txt", "good"}
    named = write(Path("renamed.jsonl"), [Reject("it is wrong", bad)._asdict()])
    packed = write(Path("renamed.jsonl.gz"), [Reject("it is wrong", bad)._asdict()])
    for source in (f"{index}.rejects.jsonl", str(named), str(packed)):
        assert "holds rejects of an earlier run" in str(ingest(source, "docs", "--sync").exception)
    for *more, why in (
        ("--sync", "--rebuild", "leave one of the two out"),
        ("--sync", "--dry-run", "leave one of the two out"),
        ("--yes", "write --sync too"),
    ):
        assert why in str(ingest("docs", *more).exception)
    (folder / "rows.jsonl").unlink()
    refused = ingest("docs/2.txt", "--sync")
    assert "and 3 would go; the id of a file is its path within the source" in str(refused.exception)
    assert "removed" not in json.loads(ingest("docs/2.txt", "--json").stdout)
    assert ingest("docs/2.txt", "--sync", "--yes").exit_code == 0
    assert everything(es, index) == {"2.txt"}


def test_nothing_is_removed_after_an_error(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, documents("a", "b", "c", "d"))
    with pytest.raises(SourceError):
        sync(es, index, ends())
    with pytest.raises(SettingsError, match="leave one of the two out"):
        sync(es, index, documents("a"), rebuild=True)
    assert everything(es, index) == {"a", "b", "c", "d"}


def test_what_others_write_meanwhile_stays(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, documents("a", "b", "c", "gone", "gone by another", "theirs"))

    def meanwhile() -> Iterator[Item]:
        yield from documents("a", "b", "c")
        es.index(index=index, id="new of theirs", document={"text": "y"})
        es.index(index=index, id="theirs", document={"text": "y"})
        es.delete(index=index, id="gone by another")

    report = sync(es, index, meanwhile())
    assert everything(es, index) == {"a", "b", "c", "theirs", "new of theirs"}
    assert report.removed == 2


@pytest.mark.long
def test_documents_with_a_routing_are_removed_from_their_shards(es: Elasticsearch, index: str) -> None:
    """Another program may write them, and choose more than one shard."""
    version = an_ingest(es).run(index, documents("a")).version
    mappings = es.indices.get_mapping(index=version)[version]["mappings"]
    es.indices.delete(index=version)
    settings = {"number_of_shards": 3, "number_of_replicas": 0}
    es.indices.create(index=version, mappings=mappings, settings=settings, aliases={index: {}})
    an_ingest(es).run(index, documents("a", "b"))
    for shard in range(9):
        es.index(index=index, id="routed", routing=str(shard), document={"text": "x"})
    es.indices.refresh(index=index)
    held = es.count(index=index)["count"]
    assert held > 3
    report = sync(es, index, documents("a", "b"), remove_most=True)
    es.indices.refresh(index=index)
    assert (report.removed, es.count(index=index)["count"]) == (held - 2, 2)


def test_a_removal_may_be_stopped(es: Elasticsearch, index: str) -> None:
    an_ingest(es, batch=700).run(index, documents(*map(str, range(700))))
    ingest = an_ingest(es)

    def stop(report: IngestReport) -> None:
        if report.removed:
            ingest.stop()

    with pytest.raises(IngestStoppedError, match="the same run removes the rest"):
        ingest.run(index, documents("1"), sync=True, remove_most=True, on_progress=stop)
    es.indices.refresh(index=index)
    assert es.count(index=index)["count"] == 200
    assert sync(es, index, documents("1"), remove_most=True).removed == 199


class FailingNode(Urllib3HttpNode):
    """A connection that gives other answers to the next requests that remove, or loses them."""

    bad: list[str]

    def perform_request(
        self, method: str, target: str, body: bytes | None = None, *more: Any, **named: Any
    ) -> Any:
        if "_bulk" not in target or b'"delete"' not in (body or b"") or not self.bad:
            return super().perform_request(method, target, body, *more, **named)
        kind = self.bad.pop(0)
        status, content = {"429": (429, {}), "413": (413, {})}.get(kind, (200, {}))
        if kind == "lost":
            super().perform_request(method, target, body, *more, **named)
            status = 503
        if kind in ("queue", "block"):
            refused = {"status": 429 if kind == "queue" else 403, "error": {"reason": "it is full"}}
            content = {"errors": True, "items": [{"delete": refused} for _ in (body or b"").splitlines()]}
        headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
        meta = ApiResponseMeta(status, "1.1", headers, 0.0, self.config)
        return NodeApiResponse(meta, json.dumps(content).encode())


def failing(node: Node, *bad: str) -> Elasticsearch:
    class Node(FailingNode):
        def __init__(self, config: NodeConfig) -> None:
            super().__init__(config)
            self.bad = list(bad)

    return Elasticsearch(node.url, node_class=Node, max_retries=0, request_timeout=30)


def test_bad_moments_of_a_removal_are_waited_out(es: Elasticsearch, node: Node, index: str) -> None:
    """Each document is counted once, though the answer to its removal was lost."""
    an_ingest(es).run(index, documents(*"abcdefgh"))
    with failing(node, "429", "queue", "413", "lost") as client:
        report = sync(client, index, documents(*"abcde"))
    assert report.removed == 3
    refused = pytest.raises(IngestError, match="cannot be removed: 403 it is full")
    with failing(node, "block") as client, refused:
        sync(client, index, documents(*"abc"))
    assert everything(es, index) == {*"abcde"}


def test_one_document_is_put_and_deleted(es: Elasticsearch, index: str) -> None:
    ingest = an_ingest(es)
    assert ingest.put(index, Document("a", "", "first words", {})).documents == 1
    assert ingest.put(index, Document("a", "", "other words", {"year": 2})).documents == 1
    assert ingest.put(index, Document("b", "", "x", {})).documents == 1
    assert everything(es, index) == {"a", "b"}
    assert source_of(es, index, "a")["text"] == "other words"
    with pytest.raises(IngestError, match="its id has 0 bytes"):
        ingest.put(index, Document("", "", "x", {}))
    assert not list(Path().iterdir())
    unknown = ["nobody", "", "\ud800", "x" * 600]
    done = ingest.delete(index, ["b", *unknown, "b"])
    assert (done.version, done.removed, done.missing) == (f"{index}-000001", ["b"], unknown)
    assert everything(es, index) == {"a"}
    with pytest.raises(EsRerankError, match=r"does not name one index"):
        ingest.delete(f"{index}*", ["a"])
    for no_list in ("ac", [1]):
        with pytest.raises(SettingsError, match="ids must be a list of texts"):
            ingest.delete(index, no_list)  # type: ignore[arg-type]
    with pytest.raises(EsRerankError, match=r"there is no index"):
        ingest.delete(f"{index}-x", ["a"])
    es.indices.create(index=f"{index}-other")
    with pytest.raises(EsRerankError, match="was not made by es-rerank"):
        ingest.delete(f"{index}-other", ["a"])
    assert everything(es, index) == {"a"}
