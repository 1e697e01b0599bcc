"""Reading sources: what is no source is refused, and what is no document is kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingests import TREATY, WEB, write

from es_rerank.collection import Document
from es_rerank.errors import (
    SourceError,
)
from ingest_pipelines import Reject, read_sources


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "does not exist"),
        ("folder", "neither corpus"),
        ("image.png", "ends in none of .jsonl"),
    ],
)
def test_a_source_that_cannot_be_read_at_all_is_refused_at_once(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "image.png").touch()
    with pytest.raises(SourceError, match=message):
        read_sources([tmp_path / name])


def test_the_reader_keeps_apart_documents_and_rejects(tmp_path: Path) -> None:
    items = list(read_sources([write(tmp_path / "a.jsonl", [TREATY, "[]", "", WEB])]))
    assert [type(item) for item in items] == [Document, Reject, Document]
