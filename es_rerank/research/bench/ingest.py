"""Comparison of how fast passages are embedded: this project's ingest, and the embedders of peers.

All get the same texts and weights. This project cuts the documents too; the peers get the passages already
cut. Every system has its own process, and the systems take turns within one run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import peers as table
from .engine import LEAST_CORRELATION, TOLERANCE
from .paired import Added, ratio
from .peers import PEERS, Peer
from .peers.environment import installed, variables
from .workers import Lists, ScoreArray, Worker, WorkerError

INGEST_ROUNDS = 5
_TRIED_PASSAGES = 300
_TRIES = 2
_SEED = 20_260_128
_WORKER = Path(table.__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class EmbeddingSystem:
    """One way of embedding passages. ``peer`` is None for this project, whose lists are documents.

    ``batches`` are the batch sizes that are tried; the fastest is used.
    """

    name: str
    peer: str | None
    worker: str
    folder: str
    precision: str
    batches: tuple[int, ...] = (1,)


def embedding_systems(ours: str, torch: Path, flat: Path, flat_int8: Path) -> list[EmbeddingSystem]:
    """Return the systems: ``ours`` names the embedder of this project, the folders hold the same weights."""
    sizes = (4, 16, 64, 256)  # 256 is fastembed's default
    return [
        EmbeddingSystem("es-rerank", None, "es-rerank-ingest", ours, "int8"),
        EmbeddingSystem(
            "SentenceTransformer.encode", "sentence-transformers", "sentence-transformers-encode", str(torch),
            "fp32",
        ),
        EmbeddingSystem("fastembed", "fastembed", "fastembed-embed", str(flat), "fp32", sizes),
        EmbeddingSystem("fastembed, our int8", "fastembed", "fastembed-embed", str(flat_int8), "int8", sizes),
    ]  # fmt: skip


@dataclass(slots=True)
class IngestRow:
    """The measurements of one system; ``reason`` says why there are none.

    ``seconds`` are those of each round, ``ahead`` how many times faster this project was in the same round.
    """

    name: str
    precision: str
    version: str
    passages: int
    batch: int | None = None
    reason: str | None = None
    seconds: list[float] = field(default_factory=list)
    ahead: Added | None = None

    def rates(self) -> tuple[float, float, float]:
        """Return median, minimum and maximum of the passages per second."""
        speeds = self.passages / np.asarray(self.seconds)
        return float(np.median(speeds)), float(speeds.min()), float(speeds.max())

    def as_json(self) -> dict[str, Any]:
        """Return the row; what was not measured is null."""
        median, low, high = (round(rate, 1) for rate in self.rates()) if self.seconds else (None, None, None)
        ahead = (round(value, 3) for value in self.ahead) if self.ahead else (None, None, None)
        return {
            "name": self.name,
            "precision": self.precision,
            "version": self.version,
            "batch": self.batch,
            "passages_per_second": median,
            "min": low,
            "max": high,
            **dict(zip(("es_rerank_times_faster", "faster_low", "faster_high"), ahead, strict=True)),
            "reason": self.reason,
        }


def measure(
    systems: Sequence[EmbeddingSystem],
    documents: Lists,
    passages: Lists,
    others: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    threads: int,
    max_length: int,
    scratch: Path,
    cache: Path,
    on_step: Callable[[str], None],
) -> list[IngestRow]:
    """Let every system embed everything once in every round, and return the rows.

    ``documents`` are (title, [text]) of each document, ``passages`` [("", texts)], what they are cut into.
    ``others``: by name, what does the same in this process and returns its seconds. ``on_step`` receives the
    name of what is measured next. What fails is the reason of a row.
    """
    count = len(passages[0][1])
    known = {peer.name: peer for peer in PEERS}
    rows = {
        system.name: IngestRow(
            system.name, system.precision, known[system.peer].version if system.peer else "this", count
        )
        for system in systems
    }
    whole = {name: IngestRow(name, "int8", "this", count) for name in others}
    with ExitStack() as running:
        timed: dict[str, Callable[[], float]] = dict(others)
        expected: ScoreArray | None = None
        for system in systems:
            on_step(system.name)
            row, texts = rows[system.name], documents if system.peer is None else passages
            try:
                peer = known[system.peer] if system.peer else None
                worker = running.enter_context(
                    _started(
                        system, peer, threads=threads, max_length=max_length, scratch=scratch, cache=cache
                    )
                )
                row.batch = _best_batch(worker, system, texts)
                scores = worker.score(texts, row.batch).scores
                expected = _checked(system, scores, expected, count)
            except WorkerError as error:
                row.reason = str(error)
                continue
            worker.process_tree.sleep()
            timed[system.name] = partial(_seconds, worker, texts, row.batch)
        draw, every = np.random.default_rng(_SEED), {**rows, **whole}
        for _ in range(rounds):
            for name in draw.permutation(sorted(timed)):
                on_step(str(name))
                every[str(name)].seconds.append(timed[str(name)]())
    ours = next((rows[system.name] for system in systems if system.peer is None), None)
    for row in every.values():
        if ours is not None and row is not ours and row.seconds and ours.seconds:
            row.ahead = ratio(np.asarray(ours.seconds), np.asarray(row.seconds))
    return list(every.values())


def _started(
    system: EmbeddingSystem, peer: Peer | None, *, threads: int, max_length: int, scratch: Path, cache: Path
) -> Worker:
    python = Path(sys.executable) if peer is None else installed(peer, cache)
    task = {
        "system": system.worker,
        "folder": system.folder,
        "threads": threads,
        "max_length": max_length,
    }
    log = scratch / f"{system.worker}-{system.precision}.log"
    command = [str(python), "-P", str(_WORKER), json.dumps(task)]
    return Worker(command, log, env=variables(scratch, own=peer is None))


def _best_batch(worker: Worker, system: EmbeddingSystem, texts: Lists) -> int:
    if len(system.batches) == 1:
        return system.batches[0]
    tried = [(query, passages[:_TRIED_PASSAGES]) for query, passages in texts]
    worker.score(tried, system.batches[0])  # the first run of a process is slower
    seconds = {
        batch: min(worker.score(tried, batch).seconds for _ in range(_TRIES)) for batch in system.batches
    }
    return min(seconds, key=lambda batch: seconds[batch])


def _checked(
    system: EmbeddingSystem, scores: ScoreArray, expected: ScoreArray | None, count: int
) -> ScoreArray | None:
    """Return the dot products that all peers should give. Raises WorkerError for wrong ones.

    Of this project the number of passages is checked: it must have cut what the peers got.
    """
    if system.peer is None:
        if int(scores.sum()) != count:
            raise WorkerError(f"cut {int(scores.sum())} passages, and the peers get {count}")
        return expected
    if expected is None:
        return scores
    largest = float(np.abs(scores - expected).max())
    if system.precision == "fp32" and not largest <= TOLERANCE:
        raise WorkerError(f"wrong vectors: their products differ by up to {largest:.2g} from torch's")
    if not float(np.corrcoef(scores, expected)[0, 1]) >= LEAST_CORRELATION:
        raise WorkerError("wrong vectors: their products hardly correlate with torch's")
    return expected


def _seconds(worker: Worker, texts: Lists, batch: int) -> float:
    with worker.awake():
        return worker.score(texts, batch).seconds
