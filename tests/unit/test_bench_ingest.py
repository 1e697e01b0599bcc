"""The comparison of embedders times all of them in the same rounds, and only what computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from es_rerank.research.bench import ingest
from es_rerank.research.bench.ingest import IngestRow, embedding_systems, measure
from es_rerank.research.bench.peers.worker import LOADERS
from es_rerank.research.bench.workers import Lists, TimedScores, WorkerError

DOCUMENTS: Lists = [("", ["one and two"]), ("", ["three"])]
PASSAGES: Lists = [("", ["one", "two", "three"])]
PRODUCTS = [1.0, 0.5, 0.25]
SYSTEMS = embedding_systems("ours", Path("torch"), Path("flat"), Path("flat-int8"))
SECONDS = {"ours": 1.0, "torch": 2.0, "flat": 3.0, "flat-int8": 1.5}


class StandIn:
    """A worker whose answers are given, and whose smallest batch is the fastest."""

    def __init__(self, folder: str, scores: list[float]) -> None:
        self.process_tree = SimpleNamespace(sleep=lambda: None)
        self._folder, self._scores = folder, scores

    def score(self, _lists: Lists, batch: int) -> TimedScores:
        return TimedScores(SECONDS[self._folder] + batch / 1_000, np.array(self._scores))

    @contextmanager
    def awake(self) -> Iterator[StandIn]:
        yield self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **scores: list[float]) -> list[IngestRow]:
    def started(system: ingest.EmbeddingSystem, *_: object, **__: object) -> Any:
        if system.folder == "flat" and "flat" not in scores:
            raise WorkerError("could not be installed")
        return StandIn(
            system.folder, scores.get(system.folder, [2.0, 1.0] if system.peer is None else PRODUCTS)
        )

    monkeypatch.setattr(ingest, "_started", started)
    return measure(
        SYSTEMS,
        DOCUMENTS,
        PASSAGES,
        {"whole": lambda: 4.0},
        rounds=3,
        threads=1,
        max_length=256,
        scratch=tmp_path,
        cache=tmp_path,
        on_step=lambda _: None,
    )


def test_all_systems_are_timed_in_every_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = {row.name: row for row in measured(monkeypatch, tmp_path, flat=PRODUCTS)}
    assert [len(row.seconds) for row in rows.values()] == [3] * 5
    assert rows["fastembed"].batch == 4, "the fastest of the batch sizes"
    ahead = rows["SentenceTransformer.encode"].ahead
    assert ahead is not None
    assert ahead.median == pytest.approx(2.0, rel=0.01)
    assert rows["es-rerank"].as_json()["passages_per_second"] == pytest.approx(3.0, rel=0.01)
    assert rows["whole"].rates()[0] == pytest.approx(0.75)


def test_a_peer_that_fails_or_computes_something_else_is_a_row_that_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {row.name: row for row in measured(monkeypatch, tmp_path, **{"flat-int8": [1.0, 0.1, 0.9]})}
    assert rows["fastembed"].reason == "could not be installed"
    assert "wrong vectors" in str(rows["fastembed, our int8"].reason)
    assert len(rows["SentenceTransformer.encode"].seconds) == 3
    rows = {row.name: row for row in measured(monkeypatch, tmp_path, flat=[1.0, 0.5, 0.26])}
    assert "wrong vectors" in str(rows["fastembed"].reason)


def test_this_ingest_must_cut_what_the_peers_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = measured(monkeypatch, tmp_path, ours=[2.0, 2.0])
    assert rows[0].reason == "cut 4 passages, and the peers get 3"


def test_every_system_has_a_way_to_run() -> None:
    assert {system.worker for system in SYSTEMS} <= LOADERS.keys()
