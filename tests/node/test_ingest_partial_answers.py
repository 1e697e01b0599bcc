"""Elasticsearch answers 200 and yet only in part, as while a node starts: an ingest asks again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch
from ingests import an_ingest, everything

from es_rerank.collection import Document
from es_rerank.errors import IngestError
from es_rerank.node import Node

BUSY = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
SHARDS = {"_shards": {"total": 1, "successful": 0, "failed": 1, "failures": [{"reason": BUSY}]}}
NO_SHARD = {"_shards": {"total": 1, "successful": 0, "failed": 0}}
DOCUMENTS = [Document(str(n), "", f"text {n}", {}) for n in range(5)]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def _parsed(body: Any) -> Any:
    lines = [json.loads(line) for line in (body or b"").splitlines()]
    return lines if len(lines) > 1 else lines[0] if lines else None


def in_part(node: Node, part: str, left: int, answer: Callable[[Any], Any]) -> Elasticsearch:
    """A client that gets ``answer`` of the body to its first ``left`` requests for ``part``."""

    class Partial(Urllib3HttpNode):
        waiting = left

        def perform_request(
            self, method: str, target: str, body: Any = None, *args: Any, **kwargs: Any
        ) -> NodeApiResponse:
            if part not in target or not Partial.waiting:
                return super().perform_request(method, target, body, *args, **kwargs)
            Partial.waiting -= 1
            headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
            content = json.dumps(answer(_parsed(body))).encode()
            return NodeApiResponse(ApiResponseMeta(200, "1.1", headers, 0.0, self.config), content)

    return Elasticsearch(node.url, node_class=Partial)


def refused(body: Any) -> dict[str, Any]:
    return {"docs": [{"_index": "i", "_id": each, "error": BUSY} for each in body["ids"]]}


def not_there(body: Any) -> dict[str, Any]:
    return {"docs": [{"_index": "i", "_id": each["_id"], "error": BUSY} for each in body["docs"]]}


def test_what_cannot_be_looked_up_is_not_taken_for_missing(node: Node, es: Elasticsearch, index: str) -> None:
    version = an_ingest(es).run(index, DOCUMENTS).version
    with in_part(node, "_mget", 2, not_there) as client:
        assert an_ingest(client).delete(index, ["1", "none"])[1:] == (["1"], ["none"])
    es.indices.close(index=version)
    with pytest.raises(IngestError, match="index_closed_exception"):
        an_ingest(es).delete(index, ["2"])


@pytest.mark.parametrize(
    ("part", "answer"),
    [("_mget", refused), ("_refresh", lambda _: SHARDS), ("_refresh", lambda _: NO_SHARD)],
    ids=["look-up", "refresh", "refresh of nothing"],
)
def test_an_answer_in_part_is_asked_for_again(
    node: Node, es: Elasticsearch, index: str, part: str, answer: Callable[[Any], Any]
) -> None:
    an_ingest(es).run(index, DOCUMENTS[:3])
    with in_part(node, part, 2, answer) as client:
        report = an_ingest(client, batch=10).run(index, DOCUMENTS)
    assert (report.documents, report.skipped, report.failed) == (2, 3, 0)
    assert everything(es, index) == set("01234")
    with (
        in_part(node, part, 99, answer) as client,
        pytest.raises(IngestError, match=r"answers only in part: .*(queue is full|no shard is active)"),
    ):
        an_ingest(client).run(index, DOCUMENTS)


def items(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    """An answer to a bulk request, of which nothing was done."""
    return lambda lines: change({"items": [{"index": {"_id": each["index"]["_id"]}} for each in lines[::2]]})


def failed(kind: str, status: int) -> Callable[[Any], Any]:
    def changed(answer: dict[str, Any]) -> dict[str, Any]:
        for item in answer["items"]:
            item["index"] |= {"status": status, "error": {"type": kind, "reason": "r"}}
        return answer

    return items(changed)


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("_mget", lambda _: {}),
        ("_mget", lambda body: {"docs": [{"_id": body["ids"][0], "found": False}]}),
        ("_mget", lambda _: []),
        ("_bulk", lambda _: {}),
        ("_bulk", lambda _: []),
        ("_bulk", items(lambda answer: {"items": answer["items"][:-1]})),
        ("_bulk", failed("node_closed_exception", 500)),
        ("_bulk", failed("shard_not_found_exception", 404)),
        ("_bulk", failed("version_conflict_engine_exception", 409)),
        ("_bulk", failed("receive_timeout_transport_exception", 408)),
    ],
)
def test_an_answer_that_says_nothing_lasting_is_asked_for_again(
    node: Node, index: str, part: str, answer: Callable[[Any], Any]
) -> None:
    an_ingest(es := Elasticsearch(node.url)).run(index, DOCUMENTS[:3])
    with es, in_part(node, part, 2, answer) as client:
        report = an_ingest(client, batch=10).run(index, DOCUMENTS)
        assert (report.documents, report.skipped, report.failed) == (2, 3, 0)
        assert everything(es, index) == set("01234")
