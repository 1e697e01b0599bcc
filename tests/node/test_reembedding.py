"""Another embedding model beside the old one while an index is read and written, switched in one step."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from elasticsearch import ApiError, Elasticsearch
from ingests import an_ingest, chunker, everything, source_of
from proxies import PAGE, Outcome, first_of_each, proxied

from es_rerank import RerankClient
from es_rerank.collection import Document
from es_rerank.errors import EsRerankError, IndexMismatchError, IngestError, ModelError
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from ingest_pipelines import Ingest, IngestReport, vector_options
from ingest_pipelines.live_copy import LiveCopy
from ingest_pipelines.patience import Patience

AT_ONCE = Patience(max_retries=3, initial_backoff_s=0)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def documents(number: int) -> Iterator[Document]:
    for place in range(number):
        yield Document(f"d{place}", f"t{place}", f"text {place} of many", {"place": place})


def reembedded(
    es: Elasticsearch,
    index: str,
    dims: int = 16,
    meanwhile: Callable[[str, Document], None] = lambda *_: None,
    **options: Any,
) -> tuple[IngestReport, LiveCopy]:
    """``meanwhile`` is called with the version in use and each document that is copied."""
    with LiveCopy(es, index, embedder=f"hash-{dims}", patience=AT_ONCE) as copy:

        def copied() -> Iterator[Any]:
            for each in copy.documents():
                meanwhile(copy.version, each)  # type: ignore[arg-type]
                yield each

        ingest = an_ingest(es, dims=dims, batch=50)
        report = ingest.run(index, copied(), rebuild=True, before_switch=copy.finish, **options)
    return report, copy


def test_what_is_written_and_deleted_meanwhile_is_in_the_new_version(es: Elasticsearch, index: str) -> None:
    an_ingest(es, batch=100).run(index, documents(300))
    asked: list[str] = []

    def meanwhile(version: str, document: Document) -> None:
        """Change and delete what was read and what was not, as long as the first documents come."""
        asked.append(document.id)
        if len(asked) in (1, 150):
            changed = [Document(f"d{n}", "", f"changed {len(asked)}", {}) for n in (0, 140, 299)]
            an_ingest(es).run(index, [*changed, Document(f"new{len(asked)}", "", "new", {"more": 1})])
            for identifier in (f"d{len(asked)}", "d298" if len(asked) == 1 else "d2"):
                es.delete(index=index, id=identifier)

    report, copy = reembedded(es, index, meanwhile=meanwhile)
    expected = {f"d{n}" for n in range(300)} - {"d1", "d298", "d150", "d2"} | {"new1", "new150"}
    assert set(es.indices.get_alias(name=index)) == {report.version} == {f"{index}-000002"}
    assert {hit["_id"] for hit in es.search(index=index, size=1000)["hits"]["hits"]} == expected
    assert es.count(index=copy.version)["count"] == len(expected)
    for n in (0, 140, 299):
        assert source_of(es, index, f"d{n}")["text"] == "changed 150"
    assert source_of(es, index, "new1")["metadata"] == {"more": 1}
    assert report.failed == 0
    properties = es.indices.get_mapping(index=index)[report.version]["mappings"]["properties"]
    assert properties["passages"]["properties"]["vector"]["dims"] == 16
    with pytest.raises(ApiError, match="index write"):
        es.index(index=copy.version, id="late", document={"text": "x"})
    back = copy.way_back(report.version)
    assert f"PUT /{copy.version}/_settings" in back


def test_every_shard_has_its_own_numbers(es: Elasticsearch, index: str) -> None:
    template = {"settings": {"number_of_shards": 2}}
    es.indices.put_index_template(name=index, index_patterns=f"{index}-*", template=template, priority=900)
    try:
        an_ingest(es, batch=100).run(index, documents(60))
    finally:
        es.indices.delete_index_template(name=index)
    many = iter(range(100))

    def meanwhile(version: str, document: Document) -> None:
        if (n := next(many, 100)) < 10:
            an_ingest(es).run(index, [Document(f"more{n}", "", "new", {})])

    report, _ = reembedded(es, index, meanwhile=meanwhile)
    assert everything(es, index) == {f"d{n}" for n in range(60)} | {f"more{n}" for n in range(10)}
    assert report.documents == 70


@pytest.mark.parametrize("fault", ["reading", pytest.param("switching", marks=pytest.mark.long)])
def test_a_re_embedding_that_fails_allows_writes_again(es: Elasticsearch, index: str, fault: str) -> None:
    an_ingest(es).run(index, documents(5))

    def failing(copy: LiveCopy) -> Iterator[Any]:
        yield from copy.documents()
        if fault == "reading":
            raise IngestError("broken")

    def finish(_: IngestReport) -> None:
        raise IngestError("broken")

    with (
        pytest.raises(IngestError, match="broken"),
        LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE) as copy,
    ):
        an_ingest(es, dims=16).run(index, failing(copy), rebuild=True, before_switch=finish)
    assert set(es.indices.get(index=f"{index}*")) == {f"{index}-000001"}
    report = an_ingest(es).run(index, [Document("late", "", "x", {})])
    assert (report.documents, report.version) == (1, f"{index}-000001")
    meta = es.indices.get_mapping(index=index)[report.version]["mappings"]["_meta"]
    assert "reembedded_with" not in meta


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param((429, b"{}"), id="429"),
        pytest.param("lose", id="lost", marks=pytest.mark.long),
        pytest.param("close", id="closed", marks=pytest.mark.long),
        pytest.param((200, PAGE), id="page", marks=pytest.mark.long),
    ],
)
def test_a_bad_moment_of_any_call_is_waited_out(
    node: Node, es: Elasticsearch, index: str, outcome: Outcome
) -> None:
    """Every call of a re-embedding fails once: look, refresh, point in time, block, alias and all others."""
    an_ingest(es, batch=100).run(index, documents(30))

    def meanwhile(version: str, document: Document) -> None:
        if document.id == "d5":
            es.delete(index=version, id="d1")

    with (
        proxied(node.url, first_of_each(outcome)) as proxy,
        Elasticsearch(proxy.url, max_retries=0) as client,
    ):
        report, _ = reembedded(client, index, meanwhile=meanwhile)
    assert (report.documents, report.failed, report.duplicates) == (30, 0, 0)
    assert everything(es, index) == {f"d{n}" for n in range(30)} - {"d1"}
    assert set(es.indices.get_alias(name=index)) == {f"{index}-000002"}
    asked = {path.rpartition("/")[2] for _, path, _, _ in proxy.seen}
    assert asked >= {"docs", "_refresh", "_pit", "_search", "_bulk", "_mget", "write", "_count", "_aliases"}


def broken_after(items: Iterator[Any]) -> Iterator[Any]:
    yield from items
    raise ModelError("broken")


@pytest.mark.long
def test_a_block_that_was_there_before_stays(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, documents(3)).version
    es.indices.add_block(index=version, block="write")
    with (
        pytest.raises(ModelError),
        LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE) as copy,
    ):
        an_ingest(es).run(index, broken_after(copy.documents()), rebuild=True)
    with pytest.raises(IngestError, match="remove the block"):
        an_ingest(es).run(index, [Document("n", "", "n", {})])
    assert reembedded(es, index)[0].documents == 3


# --- our own writers that meet the block


class MeetsBlock(HashEmbedder):
    """Lets something happen before its second batch, when the index is open for writing and known."""

    def __init__(self, dims: int, happens: Callable[[], object]) -> None:
        super().__init__(dims)
        self.calls = 0
        self.happens = happens

    def embed(self, texts: Any, *, purpose: Any = "passage") -> Any:
        self.calls += 1
        if self.calls == 2:
            self.happens()
        return super().embed(texts, purpose=purpose)


def writing(
    es: Elasticsearch, index: str, happens: Callable[[], object], corpus: list[Document]
) -> IngestReport:
    ingest = an_ingest(es)
    ingest._embedder = MeetsBlock(64, happens)  # noqa: SLF001 in the midst of a run, and not at its start
    return ingest.run(index, corpus)


def test_a_run_goes_on_in_a_new_version_of_the_same_recipe_and_counts_once(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_options, "FLAT_UNTIL", 15)
    an_ingest(es).run(index, documents(10))
    new = [Document(f"n{n}", "", f"new {n}", {f"key{n}": 1}) for n in range(8)]
    again = Document("n0", "", "new 0 again", {})
    report = writing(es, index, lambda: reembedded(es, index, dims=64), [*new, again, *documents(10)])
    assert report.version == f"{index}-000002"
    assert (report.documents, report.duplicates, report.skipped, report.failed) == (8, 1, 10, 0)
    assert everything(es, index) == {f"d{n}" for n in range(10)} | {f"n{n}" for n in range(8)}
    assert source_of(es, index, "n0")["text"] == "new 0 again"
    mapped = es.indices.get_mapping(index=index)[report.version]["mappings"]["properties"]
    assert {f"key{n}" for n in range(8)} <= mapped["metadata"]["properties"].keys()
    assert mapped["passages"]["properties"]["vector"]["index_options"]["type"] == "int8_hnsw"  # it grew there


def test_a_run_whose_index_got_another_embedder_says_which(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, documents(10))
    new = [Document(f"n{n}", "", f"new {n}", {}) for n in range(8)]
    with pytest.raises(IndexMismatchError, match="repeat the run with --embedder hash-16") as caught:
        writing(es, index, lambda: reembedded(es, index), new)
    assert "was re-embedded meanwhile" in caught.value.message
    kept = {hit["_id"] for hit in es.search(index=f"{index}-000001", size=100)["hits"]["hits"]}
    assert everything(es, index) == kept >= {f"d{n}" for n in range(10)}
    report = an_ingest(es, dims=16).run(index, new)
    assert report.documents + report.skipped == 8


def test_a_block_of_somebody_else_is_told_at_once(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, documents(3)).version
    with pytest.raises(IngestError, match=f"index {version} takes no documents: .*remove the block"):
        writing(
            es,
            index,
            lambda: es.indices.add_block(index=version, block="write"),
            [Document(f"n{n}", "", "n", {}) for n in range(8)],
        )


def test_a_re_embedding_that_was_killed_blocks_no_longer_than_patience_and_can_be_repeated(
    es: Elasticsearch, index: str
) -> None:
    an_ingest(es).run(index, documents(3))
    copy = LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE).__enter__()
    assert len(list(copy.documents())) == 3  # and nobody leaves the block
    with pytest.raises(IngestError, match="If no re-embedding runs any more, repeat that"):
        an_ingest(es).run(index, [Document("n", "", "n", {})])
    assert reembedded(es, index)[0].documents == 3
    assert an_ingest(es, dims=16).run(index, [Document("n", "", "n", {})]).documents == 1


# --- reads and writes that go on


def knn(text: str) -> dict[str, Any]:
    builder = {"text_embedding": {"model_text": text}}
    return {
        "knn": {"field": "passages.vector", "query_vector_builder": builder, "k": 5, "num_candidates": 50}
    }


TREES: list[dict[str, Any]] = [
    knn("text 1"),
    {"rrf": {"retrievers": [knn("text 2"), {"standard": {"query": {"match": {"text": "many"}}}}]}},
    {"text_similarity_reranker": {"retriever": knn("text 3"), "field": "text", "inference_text": "text"}},
]


class Traffic:
    """Threads that search, write single documents and delete them, until ``stop``.

    ``written`` holds the text of each document whose write was acknowledged last, ``deleted`` the ids whose
    delete was. ``late``: how many writes only the new version took.
    """

    def __init__(self, es: Elasticsearch, index: str, number: int, writers: int) -> None:
        self.es, self.index, self.number, self.writers = es, index, number, writers
        embedders = {"old": HashEmbedder(64), "new": HashEmbedder(16)}
        self.client = RerankClient(
            es, reranker=WordOverlapReranker(), embedder=embedders, plugin="never", timeout_s=60
        )
        self.done, self.lock = threading.Event(), threading.Condition()
        self.reads, self.late, self.acknowledged = 0, 0, 0
        self.faults: list[str] = []
        self.written: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.threads = [threading.Thread(target=self.read) for _ in range(2)]
        self.threads += [threading.Thread(target=self.write, args=(n,)) for n in range(writers)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()

    def read(self) -> None:
        while not self.done.is_set():
            for tree in TREES:
                try:
                    answer = self.client.search(index=self.index, retriever=tree, size=5)
                    found = len(answer["hits"]["hits"])
                except (ApiError, EsRerankError) as error:
                    self.faults.append(repr(error))
                else:
                    self.faults += [] if found == 5 else [f"{found} hits"]
                self.reads += 1

    def write(self, thread: int) -> None:
        place = 0
        while not self.done.is_set() or place < 3:
            place += 1
            # Each thread has documents of its own: some of the corpus, and new ones.
            old = place * 7 % (self.number // self.writers) * self.writers + thread
            identifier = f"d{old}" if place % 2 else f"w{thread}-{place}"
            self.write_one(Document(identifier, "", f"written by {thread} as {place}", {}))
            if place % 5 == 0:
                self.delete_one(identifier)

    def write_one(self, document: Document) -> None:
        for dims in (64, 16):
            with suppress(IndexMismatchError):  # was re-embedded: once more with the other embedder
                ingest = Ingest(
                    self.es, HashEmbedder(dims), chunker=chunker(), max_retries=50, initial_backoff_s=0.05
                )
                report = ingest.run(self.index, [document])
                assert report.documents == 1
                with self.lock:
                    self.written[document.id] = document.text
                    self.deleted.discard(document.id)
                    self.late += dims == 16
                    self.acknowledged += 1
                    self.lock.notify_all()
                return

    def delete_one(self, identifier: str) -> None:
        with suppress(ApiError):  # refused while writes are blocked, and so not acknowledged
            self.es.delete(index=self.index, id=identifier)
            with self.lock:
                self.deleted.add(identifier)
                self.written.pop(identifier, None)


def check_traffic(es: Elasticsearch, index: str, number: int, writers: int, writes: int) -> Traffic:
    """Re-embed ``number`` documents under traffic, and compare the new version with what was acknowledged.

    The copying waits for the writers, so that there are at least ``writes`` while it goes on.
    """
    an_ingest(es, batch=100).run(index, documents(number))
    copied = itertools.count(1)

    def meanwhile(version: str, document: Document) -> None:
        wanted = min(next(copied), number) * writes // number
        with traffic.lock:
            assert traffic.lock.wait_for(lambda: traffic.acknowledged >= wanted, timeout=300)

    with Traffic(es, index, number, writers) as traffic:
        report, _ = reembedded(es, index, meanwhile=meanwhile)
    es.indices.refresh(index=index)
    assert traffic.faults == []
    assert traffic.reads > 10
    assert set(es.indices.get_alias(name=index)) == {report.version} == {f"{index}-000002"}
    hits = es.search(index=index, size=10_000, source_includes=["text"])["hits"]["hits"]
    texts = {hit["_id"]: hit["_source"]["text"] for hit in hits}
    expected = {each.id: each.text for each in documents(number)} | traffic.written
    assert texts == {key: text for key, text in expected.items() if key not in traffic.deleted}
    assert report.failed == 0
    return traffic


def test_no_read_fails_and_no_write_is_lost(es: Elasticsearch, index: str) -> None:
    assert check_traffic(es, index, 60, 1, 3).written


@pytest.mark.long
def test_no_read_fails_and_no_write_is_lost_with_2000_documents(
    es: Elasticsearch, index: str, record_property: Callable[[str, object], None]
) -> None:
    traffic = check_traffic(es, index, 2_000, 3, 150)
    for name in ("reads", "late"):
        record_property(name, getattr(traffic, name))
    record_property("writes", traffic.acknowledged)
    record_property("deletes", len(traffic.deleted))
