"""Fields that somebody else mapped: they stay, and only a document that does not fit one is a reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest, everything, read

from es_rerank.collection import Document


@pytest.mark.parametrize(
    ("mapping", "right", "wrong", "value"),
    [
        ({"type": "integer"}, 2001, "many", "'many'"),
        ({"type": "geo_point"}, {"lat": 1, "lon": 2}, "nowhere", "nowhere"),
        ({"type": "flattened"}, {"a": {"b": 1}}, "words", "words"),
    ],
    ids=["integer", "point", "flattened"],
)
def test_a_document_that_conflicts_with_the_mapping_is_a_reject_that_says_how(
    es: Elasticsearch,
    index: str,
    tmp_path: Path,
    mapping: dict[str, Any],
    right: Any,
    wrong: Any,
    value: str,
) -> None:
    version = an_ingest(es).run(index, [Document("first", "", "x", {})]).version
    body = {
        "metadata": {"type": "object", "dynamic": False, "subobjects": False, "properties": {"at": mapping}}
    }
    es.indices.put_mapping(index=version, properties=body)
    corpus = [Document(f"r{n}", "", "x", {"at": right, f"k{n}": n}) for n in range(4)]
    corpus.insert(2, Document("wrong", "", "x", {"at": wrong}))
    report = an_ingest(es).run(index, corpus, rejects=tmp_path / "rejects")
    assert (report.documents, report.failed, report.unfit) == (4, 1, ())
    assert everything(es, index) == {"first", "r0", "r1", "r2", "r3"}
    (reject,) = read(report.rejects)
    assert reject["id"] == "wrong"
    for part in ("metadata.at", value, "correct the value, or index with --rebuild"):
        assert part in reject["reason"]
