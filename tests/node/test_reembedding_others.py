"""Several runs that make or replace versions of one index at once, and the aliases that they move."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from ingests import an_ingest, everything, source_of

from es_rerank.collection import Document
from es_rerank.errors import IngestError, SourceError
from es_rerank.testing import HashEmbedder
from ingest_pipelines import IngestReport, versions
from ingest_pipelines.aliases import is_claim
from ingest_pipelines.lifecycle.catalog import catalog
from ingest_pipelines.live_copy import LiveCopy
from ingest_pipelines.patience import Patience
from ingest_pipelines.rejects import Reject, rejected

AT_ONCE = Patience(max_retries=3, initial_backoff_s=0)
DOCUMENTS = [Document(f"d{place}", "", f"text {place}", {"place": place}) for place in range(5)]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def reembed(
    es: Elasticsearch,
    index: str,
    *,
    copied: Callable[[LiveCopy], object] = lambda _: None,
    before_switch: Callable[[], object] = lambda: None,
) -> tuple[IngestReport, LiveCopy]:
    """``copied`` is called when all is copied, and ``before_switch`` when the versions were compared too."""
    with LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE) as copy:

        def documents() -> Iterator[Any]:
            yield from copy.documents()
            copied(copy)

        def finish(report: IngestReport) -> None:
            copy.finish(report)
            before_switch()

        return an_ingest(es, dims=16).run(index, documents(), rebuild=True, before_switch=finish), copy


def written(es: Elasticsearch, version: str) -> None:
    """As a writer does that knows the concrete index: what is acknowledged must not be lost."""
    es.index(index=version, id="acknowledged", document={"text": "x"}, refresh=True)


def stopped(es: Elasticsearch, index: str) -> None:
    """Begin a re-embedding, which blocks the writes, and stop it."""
    with suppress(KeyboardInterrupt), LiveCopy(es, index, embedder="hash-32", patience=AT_ONCE) as copy:
        list(copy.documents())
        raise KeyboardInterrupt


def claims(es: Elasticsearch, index: str) -> list[str]:
    return [name for name in es.indices.get_alias(index=index)[index]["aliases"] if is_claim(name)]


# --- two re-embeddings of one version


@pytest.mark.parametrize("when", [pytest.param("copied", marks=pytest.mark.long), "compared"])
def test_one_that_another_has_taken_over_moves_nothing(es: Elasticsearch, index: str, when: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version

    def disturb(*_: object) -> None:
        stopped(es, index)
        written(es, version)

    place = {"copied": "copied", "compared": "before_switch"}[when]
    with pytest.raises(IngestError, match="another run"):
        reembed(es, index, **{place: disturb})
    assert set(es.indices.get_alias(name=index)) == {version} == set(es.indices.get(index=f"{index}*"))
    assert "acknowledged" in everything(es, index)
    assert claims(es, version) == []
    assert reembed(es, index)[0].documents == 6


def test_the_last_one_goes_on_and_the_first_lifts_no_block(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version

    def first_is_stopped(_: LiveCopy) -> None:
        first.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        with pytest.raises(ApiError, match="index write"):
            written(es, version)
        listed = catalog(es, index, counts=False)
        assert [each.aliases for each in listed] == [(index,), ()]

    with LiveCopy(es, index, embedder="hash-32", patience=AT_ONCE) as first:
        list(first.documents())
        report, _ = reembed(es, index, copied=first_is_stopped)
    assert set(es.indices.get_alias(name=index)) == {report.version}
    assert claims(es, version) == []


def test_writes_that_somebody_allows_meanwhile_are_found(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version

    def lifted(_: LiveCopy) -> None:
        es.indices.put_settings(index=version, settings={"index.blocks.write": None})
        written(es, version)
        es.delete(index=version, id="d0", refresh=True)
        es.indices.add_block(index=version, block="write")

    with pytest.raises(IngestError, match=f"somebody has allowed writes into {version}"):
        reembed(es, index, copied=lifted)
    assert set(es.indices.get_alias(name=index)) == {version}
    assert an_ingest(es).run(index, [Document("new", "", "new", {})]).documents == 1


def test_a_run_that_ends_early_leaves_no_point_in_time(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    with suppress(KeyboardInterrupt), LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE) as copy:
        documents = copy.documents()
        next(documents)
        raise KeyboardInterrupt
    stats = es.indices.stats(index=version, metric="search")["indices"][version]["total"]["search"]
    assert stats["open_contexts"] == 0
    with pytest.raises(SourceError, match="has ended"):
        copy._walk._reopen()  # type: ignore[union-attr]  # noqa: SLF001 as when its reader goes on
    documents.close()  # type: ignore[attr-defined]


@pytest.mark.long
def test_a_block_that_is_set_after_the_way_back_stays(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    report, copy = reembed(es, index)
    es.indices.put_settings(index=version, settings={"index.blocks.write": None})
    es.indices.update_aliases(**json.loads(copy.way_back(report.version).partition("POST /_aliases ")[2]))
    es.indices.add_block(index=version, block="write")
    with pytest.raises(IngestError, match="remove the block"):
        an_ingest(es).run(index, [Document("new", "", "new", {})])
    stopped(es, index)
    with pytest.raises(ApiError, match="index write"):
        written(es, version)


# --- aliases


def aliases(es: Elasticsearch, version: str) -> dict[str, Any]:
    found: dict[str, Any] = es.indices.get_alias(index=version)[version]["aliases"]
    return found


def test_all_aliases_move_with_their_options_and_back(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    few = {"range": {"metadata.place": {"lt": 3}}}
    es.indices.put_alias(index=version, name=index, filter=few, is_write_index=True)
    second = {"index": version, "alias": f"{index}-second", "is_hidden": True, "routing": "0"}
    es.indices.update_aliases(actions=[{"add": second}])
    before = aliases(es, version)
    for name in (index, f"{index}-second"):
        with LiveCopy(es, name, embedder="hash-16", patience=AT_ONCE) as copy:
            report = an_ingest(es, dims=16).run(
                name, copy.documents(), rebuild=True, before_switch=copy.finish
            )
        assert aliases(es, report.version) == before
        assert aliases(es, copy.version) == {}
        assert (report.documents, es.count(index=index)["count"]) == (5, 3)
    # The first name is not left with an index that takes no writes.
    assert an_ingest(es, dims=16).run(index, [Document("new", "", "new", {})]).documents == 1
    es.indices.update_aliases(**json.loads(copy.way_back(report.version).partition("POST /_aliases ")[2]))
    assert aliases(es, copy.version) == before


def test_a_rebuild_keeps_the_options_of_its_alias_and_leaves_others(es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    es.indices.put_alias(index=version, name=index, filter={"term": {"metadata.place": 1}})
    es.indices.put_alias(index=version, name=f"{index}-second")
    before = aliases(es, version)
    report = an_ingest(es).run(index, DOCUMENTS, rebuild=True)
    assert aliases(es, report.version) == {index: before[index]}
    assert aliases(es, version) == {f"{index}-second": {}}


# --- runs that make a version at the same time


class Deletes(HashEmbedder):
    """Somebody deletes an index while passages are embedded."""

    def __init__(self, delete: Callable[[], object]) -> None:
        super().__init__(64)
        self.delete = delete

    def embed(self, texts: Any, *, purpose: Any = "passage") -> Any:
        self.delete()
        return super().embed(texts, purpose=purpose)


@pytest.mark.parametrize(
    "metadata",
    [pytest.param({}, id="written"), pytest.param({"new": 1}, id="mapped", marks=pytest.mark.long)],
)
def test_an_index_that_is_deleted_while_it_is_written_is_an_error(
    es: Elasticsearch, index: str, metadata: dict[str, int]
) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    ingest = an_ingest(es)
    ingest._embedder = Deletes(lambda: es.indices.delete(index=version))  # noqa: SLF001 in the midst of a run
    with pytest.raises(IngestError, match=f"somebody has deleted the index {version}"):
        ingest.run(index, [Document("last", "", "x", metadata)])


@pytest.mark.long
def test_an_index_that_is_deleted_before_the_look_up_is_an_error(es: Elasticsearch, index: str) -> None:
    def documents() -> Iterator[Document]:
        yield from DOCUMENTS
        es.indices.delete(index=f"{index}-000001")

    with pytest.raises(IngestError, match="somebody has deleted or closed the index"):
        an_ingest(es, batch=10).run(index, documents())


@pytest.mark.parametrize("rebuild", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_first_run_goes_on_in_the_index_that_another_has_made(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch, *, rebuild: bool
) -> None:
    create = versions._create  # noqa: SLF001 another run comes between its look and its creation

    def slow(*given: Any, **named: Any) -> bool:
        monkeypatch.setattr(versions, "_create", create)
        an_ingest(es).run(index, DOCUMENTS)
        return create(*given, **named)

    monkeypatch.setattr(versions, "_create", slow)
    an_ingest(es).run(index, [Document("other", "", "other", {}), *DOCUMENTS], rebuild=rebuild)
    assert list(es.indices.get_alias(name=index)) == [f"{index}-00000{1 + rebuild}"]
    assert everything(es, index) == {"other", *(each.id for each in DOCUMENTS)}
    an_ingest(es).run(index, DOCUMENTS)
    assert source_of(es, index, "d1")["text"] == "text 1"


@pytest.mark.long
def test_of_two_rebuilds_each_has_its_version_and_the_later_says_so(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_ingest(es).run(index, DOCUMENTS)
    create = versions._create  # noqa: SLF001 another rebuild begins between the choice and the creation

    def slow(*given: Any, **named: Any) -> bool:
        monkeypatch.setattr(versions, "_create", create)
        an_ingest(es).run(index, DOCUMENTS, rebuild=True)
        return create(*given, **named)

    monkeypatch.setattr(versions, "_create", slow)
    with pytest.raises(IngestError, match=f"another run has moved {index} away from {index}-000001"):
        an_ingest(es).run(index, DOCUMENTS, rebuild=True)
    assert set(es.indices.get_alias(name=index)) == {f"{index}-000002"}
    assert set(es.indices.get(index=f"{index}*")) == {f"{index}-000001", f"{index}-000002"}


@pytest.mark.parametrize(("failing", "switched"), [(1, True), (2, False)])
def test_an_index_is_not_replaced_by_half_of_it(
    es: Elasticsearch, index: str, failing: int, switched: bool, tmp_path: Path
) -> None:
    an_ingest(es).run(index, DOCUMENTS[:4])
    refused = pytest.raises(IngestError, match=r"would have 2 of 4, so .*rejects holds each")
    with (
        nullcontext() if switched else refused,
        LiveCopy(es, index, embedder="hash-16", patience=AT_ONCE) as copy,
    ):

        def some_refused() -> Iterator[Document | Reject]:
            for place, each in enumerate(copy.documents()):
                yield rejected(each, "refused") if place < failing and isinstance(each, Document) else each

        an_ingest(es, dims=16).run(
            index,
            some_refused(),
            rebuild=True,
            rejects=tmp_path / "rejects",
            before_switch=copy.finish,
        )
    assert len(everything(es, index)) == (3 if switched else 4)
