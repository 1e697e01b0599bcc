"""What Elasticsearch never has the memory for is a reject at once; what it has none for now is sent again."""

from __future__ import annotations

from typing import Any

import pytest
from elastic_transport import BaseNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch
from scripted_elasticsearch import Reply, Script

from ingest_pipelines.bulk import BulkWriter
from ingest_pipelines.patience import Patience

MOST = 500


def refusal(size: int) -> dict[str, Any]:
    """What Elasticsearch 9.5 says of a shard's part of a bulk request."""
    return {
        "type": "es_rejected_execution_exception",
        "reason": "rejected execution of primary operation [coordinating_and_primary_bytes=0, "
        f"replica_bytes=0, all_bytes=0, primary_operation_bytes={size}, max_primary_bytes={MOST}]",
    }


def answered(body: list[dict[str, Any]], *, whole: bool) -> Reply:
    """Refuse a request whose texts have more than ``MOST`` characters: as a whole, or each document."""
    size = sum(len(line["text"]) for line in body[1::2])
    if size > MOST and whole:
        return Reply(429, {"error": refusal(size), "status": 429})
    answer = {"status": 429, "error": refusal(size)} if size > MOST else {"status": 201}
    return Reply(
        body={"errors": True, "items": [{"index": {**line["index"], **answer}} for line in body[::2]]}
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_document_that_needs_more_memory_than_there_is_takes_no_other_with_it(whole: bool) -> None:
    script = Script(lambda _, body: answered(body, whole=whole))
    patience = Patience(max_retries=3, initial_backoff_s=0)

    class Node(BaseNode):
        def perform_request(
            self, method: str, target: str, body: bytes | None = None, *args: Any, **kwargs: Any
        ) -> NodeApiResponse:
            return script.reply(self.config, method, target, body)

    with Elasticsearch("http://scripted:9200", node_class=Node) as client:
        writer = BulkWriter(client, "x", max_bytes=1_000_000, patience=patience)
        answers = dict(writer.write((str(size), {"text": "x" * size}) for size in (100, 200, 600, 450)))
    assert {name for name, answer in answers.items() if answer["status"] == 201} == {"100", "200", "450"}
    assert "needs 600 bytes of memory for it and takes at most 500" in answers["600"]["error"]
    assert "split the document" in answers["600"]["error"]
    assert len(script.asked) <= 7
