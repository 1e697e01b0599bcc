"""Indices and aliases of an ingest, and a node that refuses documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import AuthorizationException, Elasticsearch
from ingests import an_ingest, chunker, everything, read

from es_rerank.collection import Document
from es_rerank.errors import (
    IndexMismatchError,
    IngestError,
    ModelError,
    SettingsError,
)
from es_rerank.models import Vectors
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, IngestReport


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


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
    assert meta.pop("vectors")["index_options"] == {"type": "flat"}
    assert meta == {
        "managed_by": "es-rerank",
        "version": 2,
        "embedder": "hash-64",
        "dims": 64,
        "chunking": {"size": 8, "overlap": 2},
        "search": {"field": ["title", "passages.text"], "vector_field": "passages.vector"},
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


@pytest.mark.parametrize(
    "name",
    [
        "",
        "art*",
        "a,b",
        "_all",
        "-a",
        "+a",
        ".",
        "..",
        "a:b",
        "<a-{now/d}>",
        "a b",
        "a\nb",
        "a/b",
        "a#b",
        'a"b',
    ],
)
def test_a_name_of_several_indices_or_of_none_is_refused(es: Elasticsearch, name: str) -> None:
    for refused in (lambda: an_ingest(es).run(name, []), lambda: an_ingest(es).delete(name, ["a"])):
        with pytest.raises(SettingsError, match="does not name one index"):
            refused()


@pytest.mark.parametrize(("name", "why"), [("UPPER", "must be lowercase"), ("x" * 250, "too long")])
def test_a_name_that_no_index_can_have_is_refused(es: Elasticsearch, name: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"makes no index of this name.*{why}"):
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
    # The second batch has the same ids, so it is not sent beside the first one.
    documents = [Document(str(number % 2), "", f"x {number}", {}) for number in range(4)]
    with failing(node, ["items"] * 7) as client:
        report = an_ingest(client).run(index, documents)
    assert (report.documents, report.failed) == (2, 2)
    assert [reject["reason"] for reject in read(report.rejects)] == [
        "429 es_rejected_execution_exception: queue is full"
    ] * 2


def test_a_refusal_that_every_document_would_meet_ends_the_run(node: Node, index: str) -> None:
    with (
        failing(node, [(403, b'{"error": {"reason": "no"}, "status": 403}')]) as client,
        pytest.raises(AuthorizationException),
    ):
        an_ingest(client).run(index, [Document(str(number), "", "x", {}) for number in range(4)])
