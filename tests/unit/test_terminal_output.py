"""What a terminal is shown of names that a service or an index tells: as it is, and without control codes."""

from __future__ import annotations

from typing import Any

import pytest
from rich.table import Table

from es_rerank.cli.index_check import _table
from es_rerank.cli.index_list import shown
from es_rerank.cli.output import leave, print_table, progress, stderr, warn_if_incomplete
from es_rerank.cli.search import _show
from es_rerank.errors import IndexMismatchError
from ingest_pipelines.checking.check import IndexCheck
from ingest_pipelines.lifecycle.catalog import IndexVersion

NAME = "model[v2] :100: a\x1b[31mred\x9b1m\u202e [bold]b[/nope]"
SHOWN = "model[v2] :100: a␛[31mred�1m� [bold]b[/nope]"


def _hits() -> None:
    block: dict[str, Any] = {"status": "reranked", "model": "m", "candidates": 1, "requests": 1}
    hit = {"_id": NAME, "_score": 1.0, "_source": {"text": "x"}}
    _show({"hits": {"hits": [hit]}, "rerank": {**block, "milliseconds": {}}})


def _check() -> Table:
    counts: dict[str, Any] = {
        "documents": 1,
        "passages": 1,
        "queries": 1,
        "without_passages": 0,
        "without_vector": 0,
    }
    none: dict[str, Any] = dict.fromkeys(
        ("recall_at_10", "p50_ms", "p95_ms", "vector_difference", "deleted", "segments")
    )
    check: dict[str, Any] = {"index_options": {}, "asked_with": "given queries", "dims": 3, "other_dims": 0}
    return _table(IndexCheck(index="i", version="i-000001", embedder=NAME, **counts, **none, **check))


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(shown([IndexVersion("i", "i-000001", 1, (), "in_use", "", embedder=NAME, dims=3)]))
    print_table(_check())
    with pytest.raises(SystemExit):
        leave(IndexMismatchError(f"the index was made with {NAME}", index="i"))
    stderr.print(NAME, markup=False, soft_wrap=True)
    with progress(None, f"reading {NAME}"):
        pass
    said = capsys.readouterr()
    assert said.out.count(SHOWN) == 2
    assert said.err.count(SHOWN) == 2


def test_ids_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _hits()
    assert SHOWN[-30:-8] in capsys.readouterr().out


def test_what_is_to_be_known_about_scores_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    warn_if_incomplete({"status": "reranked", "warnings": ["the model m was not trained on Han script"]})
    assert capsys.readouterr().err == "warning: the model m was not trained on Han script\n"
