"""What the commands say of a filter on a field that no index has."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.cli.search_options import fields_that_lack
from es_rerank.retrievers.planning.index_schema import IndexSchema

TYPES = {"title": "text", "metadata.file_type": "keyword", "other": "flattened"}
SCHEMA = IndexSchema("docs", TYPES, known=True, indices=frozenset({"docs"}))
LACKING = "--filter: index [docs] has no field [file_type]; metadata.file_type is there"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"term": {"file_type": "pdf"}}, [LACKING]),
        ({"bool": {"must_not": {"exists": {"field": "file_type"}}}}, [LACKING]),
        (
            {"bool": {"filter": [{"range": {"yaer": {"gte": 1}}}], "minimum_should_match": 1}},
            ["has no field [yaer]"],
        ),
        ({"term": {"metadata.file_type": "pdf", "boost": 2}}, []),
        ({"term": {"other.any": "x"}}, []),
        ({"term": {"_id": "x"}}, []),
        ({"exists": {"field": "file*"}}, []),
        ({"query_string": {"query": "file_type:pdf"}}, []),
        ({"term": "broken"}, []),
    ],
)
def test_a_field_that_no_index_has_is_named(query: dict[str, Any], said: list[str]) -> None:
    found = fields_that_lack([query, query], SCHEMA)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))
    assert fields_that_lack([query], IndexSchema("docs")) == []
