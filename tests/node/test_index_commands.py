"""``es-rerank index list`` and ``clean``: versions, what killed rebuilds left, and what must stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import ApiError, Elasticsearch
from ingests import an_ingest, everything
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.collection import Document
from es_rerank.errors import IngestError
from es_rerank.node import Node
from ingest_pipelines import IngestReport
from ingest_pipelines.lifecycle import cleaning, lease
from ingest_pipelines.lifecycle.catalog import IndexVersion, State, catalog, versions_of
from ingest_pipelines.lifecycle.cleaning import removable, remove
from ingest_pipelines.mapping import UNFINISHED

DOCUMENTS = [
    Document("a", "", "one two three four five six seven eight nine ten", {}),
    Document("b", "", "x", {}),
]


@pytest.fixture(autouse=True)
def _at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing restarts here between the two looks. Rejects files are written into the working folder."""
    monkeypatch.setattr(cleaning, "BETWEEN_LOOKS_S", 0.0)
    monkeypatch.chdir(tmp_path)


def states(es: Elasticsearch, index: str) -> dict[str, State]:
    return {version.index.removeprefix(index): version.state for version in catalog(es, index)}


def orphan(es: Elasticsearch, index: str) -> str:
    """Make what a rebuild leaves that is killed: its version without its alias, with the mark."""
    version = f"{index}-000009"
    es.indices.create(index=version, mappings={"_meta": {"managed_by": "es-rerank", UNFINISHED: True}})
    return version


def command(node: Node, name: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["index", name, "--elasticsearch-url", node.url, *arguments])


def test_versions_are_listed_with_their_state_and_counts(es: Elasticsearch, node: Node, index: str) -> None:
    an_ingest(es).run(index, DOCUMENTS)
    an_ingest(es, dims=32).run(index, DOCUMENTS[:1], rebuild=True)
    orphan(es, index)
    es.indices.create(index=f"{index}-not-ours")
    es.indices.put_settings(index=f"{index}-000001", settings={"index.blocks.write": True})
    listed = json.loads(command(node, "list", index, "--json").stdout)["indices"]
    assert [(each["index"], each["number"], each["state"]) for each in listed] == [
        (f"{index}-000001", 1, "earlier"),
        (f"{index}-000002", 2, "in_use"),
        (f"{index}-000009", 9, "orphan"),
    ]
    first, second, _ = listed
    assert (first["documents"], first["passages"], first["dims"], first["blocks"]) == (2, 3, 64, ["write"])
    assert (second["documents"], second["passages"], second["dims"], second["aliases"]) == (1, 2, 32, [index])
    assert second["embedder"] == "hash-32"
    assert second["vectors"]["type"] == "flat"
    assert second["size"] > 0
    assert second["created"] > "2020"
    es.indices.close(index=f"{index}-000001")
    (closed, *_) = catalog(es, index)
    assert (closed.documents, closed.size, closed.blocks) == (None, None, ("write", "closed"))
    shown = command(node, "list", index).stdout
    assert "orphan of a killed rebuild" in shown
    assert "not-ours" not in shown
    assert f"there is no index of the name [{index}-x]" in str(command(node, "list", f"{index}-x").exception)


def test_an_index_whose_shards_are_lost_is_listed_without_counts(
    es: Elasticsearch, node: Node, index: str
) -> None:
    class Lost(Urllib3HttpNode):
        def perform_request(self, method: str, target: str, *more: Any, **named: Any) -> Any:
            if "_search" not in target:
                return super().perform_request(method, target, *more, **named)
            headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
            return NodeApiResponse(ApiResponseMeta(503, "1.1", headers, 0.0, self.config), b"{}")

    an_ingest(es).run(index, DOCUMENTS)
    with Elasticsearch(node.url, node_class=Lost) as client:
        (only,) = catalog(client, index)
    assert (only.state, only.documents, only.passages, only.watched) == ("in_use", None, None, False)


def test_a_name_is_not_the_beginning_of_another(es: Elasticsearch, index: str) -> None:
    for name in (index, f"{index}.v2", f"{index}-de"):
        an_ingest(es).run(name, DOCUMENTS[:1])
    es.indices.create(index=f"{index}-old", mappings={"_meta": {"managed_by": "es-rerank"}})
    es.indices.put_alias(index=f"{index}-old", name=f"{index}.also")
    assert states(es, index) == {"-000001": "in_use"}
    assert states(es, f"{index}.v2") == {"-000001": "in_use"}
    assert [version.index for version in catalog(es, f"{index}.also")] == [f"{index}-old"]
    assert [version.index for version in catalog(es, f"{index}-000001")] == [f"{index}-000001"]


def version(number: int, state: State = "earlier", **more: Any) -> IndexVersion:
    aliases = ("a",) if state == "in_use" else ()
    made = IndexVersion("a", f"a-{number:06d}", number, aliases, state, uuid=str(number), watched=False)
    return replace(made, **more)


@pytest.mark.parametrize(
    ("versions", "keep", "removed"),
    [
        ([version(1), version(2, "in_use"), version(3, "orphan")], None, [3]),
        ([version(1), version(2, "in_use"), version(3, "building")], None, []),
        ([version(1), version(2), version(3, "in_use")], 0, [1, 2]),
        ([version(1), version(2), version(3, "in_use")], 1, [1]),
        ([version(1), version(2), version(3, "in_use")], 5, []),
        ([version(1), version(2), version(3, "in_use"), version(4)], 1, [1, 4]),
        ([version(1), version(2, "in_use", name="b", aliases=("a", "b"))], 0, [1]),
        ([version(1, watched=True), version(2, "in_use")], 0, []),
        ([version(1, watched=None), version(2, "in_use"), version(3, "orphan", watched=None)], 0, []),
        ([version(1), version(2)], 0, []),
        ([version(1), version(2, "in_use", aliases=("other",))], 0, []),
        ([version(1, "in_use"), version(2)], 0, [2]),
    ],
)
def test_what_may_be_removed(versions: list[IndexVersion], keep: int | None, removed: list[int]) -> None:
    """The last versions of a name without an alias may be the only copy of the documents."""
    assert [each.number for each in removable(versions, keep=keep)] == removed


def test_what_may_be_built_is_no_orphan() -> None:
    """Without the privilege for statistics, Elasticsearch tells nothing of an index."""
    settings = {"index": {"uuid": "u"}}
    state = {"mappings": {"_meta": {"managed_by": "es-rerank", UNFINISHED: True}}, "settings": settings}
    (untold,) = versions_of({"a-000002": state}, {})
    told = {"a-000002": {"total": {"search": {"open_contexts": 0}}}}
    assert (untold.state, untold.watched) == ("building", None)
    assert [each.state for each in versions_of({"a-000002": state}, told)] == ["orphan"]
    settings["index"]["verified_before_close"] = "true"
    assert [each.state for each in versions_of({"a-000002": state}, {})] == ["orphan"]


def test_an_index_of_an_earlier_es_rerank_is_no_orphan() -> None:
    """It has no mark, so it is not known whether a killed rebuild left it, or somebody went back."""
    state = {"mappings": {"_meta": {"managed_by": "es-rerank"}}, "settings": {"index": {"uuid": "u"}}}
    assert [each.state for each in versions_of({"a-000002": state}, {}, "a")] == ["earlier"]


def test_clean_removes_orphans_and_asks_first(es: Elasticsearch, node: Node, index: str) -> None:
    an_ingest(es).run(index, DOCUMENTS)
    an_ingest(es).run(index, DOCUMENTS, rebuild=True)
    left = orphan(es, index)
    assert "1 would be removed" in command(node, "clean", index, "--dry-run").stdout
    refused = command(node, "clean", index)
    assert isinstance(refused.exception, IngestError)
    assert "--earlier too" in str(command(node, "clean", index, "--keep", "1").exception)
    assert states(es, index) == {"-000001": "earlier", "-000002": "in_use", "-000009": "orphan"}
    held = es.open_point_in_time(index=left, keep_alive="1m")["id"]
    assert "0 removed" in command(node, "clean", index, "--yes").stdout
    es.close_point_in_time(id=held)
    assert json.loads(command(node, "clean", index, "--yes", "--json").stdout)["removed"] == [left]
    assert states(es, index) == {"-000001": "earlier", "-000002": "in_use"}
    assert "1 removed" in command(node, "clean", index, "--earlier", "--yes").stdout
    assert everything(es, index) == {"a", "b"}


def test_documents_are_deleted_by_their_ids(es: Elasticsearch, node: Node, index: str) -> None:
    """Each id that is not there is told, after the others were removed."""
    an_ingest(es).run(index, DOCUMENTS)
    done = command(node, "delete", index, "b", "--json", "--", "-x", "nobody")
    said = json.loads(done.stdout)
    assert (said["version"], said["removed"]) == (f"{index}-000001", ["b"])
    assert said["missing"] == ["-x", "nobody"]
    assert isinstance(done.exception, IngestError)
    assert done.exception.message == (
        f"{index} holds no document with these ids: '-x', 'nobody'; 1 of 3 were removed"
    )
    assert everything(es, index) == {"a"}
    assert command(node, "delete", index, "a").stdout == f"1 removed from {index}-000001\n"


def test_what_came_into_use_between_two_looks_stays(es: Elasticsearch, index: str) -> None:
    an_ingest(es).run(index, DOCUMENTS)
    left = orphan(es, index)
    chosen = removable(catalog(es, index))
    es.indices.put_alias(index=left, name=f"{index}-of-another")
    assert [gone for _, gone in remove(es, chosen, between_looks_s=0)] == [False]
    es.indices.delete(index=left)
    assert [gone for _, gone in remove(es, chosen, between_looks_s=0)] == [False]
    orphan(es, index)  # another index of the same name
    assert [gone for _, gone in remove(es, chosen, between_looks_s=0)] == [False]


def test_a_running_rebuild_is_not_cleaned_away(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after its point in time was renewed. At its end there is neither a mark nor an open one."""
    monkeypatch.setattr(lease, "RENEWAL_S", 0.01)
    an_ingest(es).run(index, DOCUMENTS)
    seen: list[tuple[State, int]] = []

    def look(_: IngestReport) -> None:
        chosen = [
            replace(each, state="orphan", watched=False) for each in catalog(es, index) if each.number == 2
        ]
        gone = [gone for _, gone in remove(es, chosen, between_looks_s=0)]
        seen.append((states(es, index)["-000002"], sum(gone)))

    an_ingest(es, batch=1).run(index, DOCUMENTS, rebuild=True, on_progress=look)
    assert set(seen) == {("building", 0)}
    (_, second) = catalog(es, index)
    assert (second.state, second.watched) == ("in_use", False)
    assert UNFINISHED not in es.indices.get_mapping(index=index)[second.index]["mappings"]["_meta"]


def test_a_rebuild_whose_version_is_removed_leaves_the_old_one(es: Elasticsearch, index: str) -> None:
    """A bulk request makes an index anew that was deleted; that one must not come into use."""
    an_ingest(es).run(index, DOCUMENTS)

    def delete(_: IngestReport) -> None:
        es.indices.delete(index=f"{index}-000002", ignore_unavailable=True)

    many = [Document(str(number), "", "x", {}) for number in range(6)]
    with pytest.raises((IngestError, ApiError)):
        an_ingest(es).run(index, many, rebuild=True, on_progress=delete)
    assert set(es.indices.get(index=f"{index}*")) == {f"{index}-000001"}
    assert everything(es, index) == {"a", "b"}
