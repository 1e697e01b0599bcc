"""Comparison of this engine with its peers: the same weights and the same pairs.

Every system has its own process, and the systems take turns within one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from .paired import Added, ratio
from .peers import System
from .workers import Lists, ScoreArray, Worker, WorkerError

ENGINE_ROUNDS = 5
TIMED_PAIRS = 200
TIMED_CANDIDATES = 100
"""Passages per query that are timed: the usual depth for comparing rerankers (MS MARCO's top 100), and a
search's maximum.
"""

BATCH_SIZES = (1, 4, 8, 16, 32)
"""Batch sizes that are tried for a peer that has a batch size; the fastest is used."""

TOLERANCE = 1e-3
"""Largest difference between fp32 scores and torch's.

Scores within it count as torch's scores, and torch's nDCG is used for them. A system above it is not
measured.
"""

LEAST_CORRELATION = 0.9
"""Smallest correlation of int8 scores with torch's. A system below it computes something else and is not
measured.
"""

_TRIED_PASSAGES = 50
"""Number of passages of one query that batch sizes are tried on."""

_TRIES = 2
"""Runs of each batch size; the faster one counts, because infinity makes a new engine in the first run."""

_TOO_SLOW = 1.3
"""No larger batch size is tried after one that takes this many times the best time: padding only grows."""

_QUERIES_A_STEP = 10
_SEED = 20_260_102

OnStep = Callable[[str], None]
"""A function that receives the name of what is measured next, once for each step."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A system, the version of its package, and the function that starts its process.

    ``start`` raises WorkerError when the process cannot be started.
    """

    system: System
    version: str
    start: Callable[[], Worker]


@dataclass(frozen=True, slots=True)
class SystemRow:
    """The measurements of one system. When ``reason`` is given, it says why the others are None.

    ``pairs_per_second`` is the median over rounds, ``low`` and ``high`` are minimum and maximum. ``ratio``
    compares with the fastest fp32 peer, ``ratio_any`` with the fastest peer of any precision; they are None
    when there is no such peer. ``largest_difference`` is the largest difference from torch, in logits, or in
    probabilities for a system that gives no logits. ``ranked`` has the scores of the lists that are ranked;
    the system ``ranked_by`` computed them.
    """

    system: System
    version: str
    reason: str | None = None
    batch: int | None = None
    largest_difference: float | None = None
    pairs_per_second: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: Added | None = None
    ratio_any: Added | None = None
    peak_rss_mb: float | None = None
    ranked: ScoreArray | None = None
    ranked_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row without its scores; what was not measured is null."""
        ratios = {
            f"{name}{suffix}": _rounded(value, 3)
            for name, compared in (("ratio", self.ratio), ("ratio_any", self.ratio_any))
            for suffix, value in zip(("", "_low", "_high"), compared or (None, None, None), strict=True)
        }
        return {
            "name": self.system.name,
            "precision": self.system.precision,
            "version": self.version,
            "batch": self.batch,
            "pairs_per_second": _rounded(self.pairs_per_second, 1),
            "min": _rounded(self.low, 1),
            "max": _rounded(self.high, 1),
            **ratios,
            "peak_rss_mb": _rounded(self.peak_rss_mb, 0),
            "largest_difference": None
            if self.largest_difference is None
            else float(f"{self.largest_difference:.3g}"),
            "reason": self.reason,
        }


@dataclass(slots=True)
class _Measurement:
    """The state of one entrant: its process once it has started, and its measurements so far."""

    entrant: Entrant
    worker: Worker | None = None
    reason: str | None = None
    batch: int | None = None
    difference: float | None = None
    seconds: list[float] = field(default_factory=list)
    peak_rss_mb: float | None = None
    ranked: ScoreArray | None = None
    ranked_by: str | None = None

    @contextmanager
    def failure_recorded(self) -> Iterator[None]:
        """Store the reason of a WorkerError in the row instead of raising it."""
        try:
            yield
        except WorkerError as error:
            self.reason = str(error)
            if self.worker is not None:
                self.worker.close()
                self.worker = None


class Contest:
    """The measurement of all entrants on the same lists; ``reference`` has torch's logits for them.

    Call ``prepare``, then ``time``, then ``rank`` if ranking is wanted; then ``rows`` returns the
    measurements. The processes end when the ``with`` block ends. ``batches`` are the batch sizes that are
    tried, each ``tries`` times. Without ``restart`` the process that tried them is also the one that is
    timed: that saves a start, and the memory of a peer is not known.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        lists: Lists,
        reference: ScoreArray,
        *,
        batches: Sequence[int] = BATCH_SIZES,
        tries: int = _TRIES,
        restart: bool = True,
        least_correlation: float = LEAST_CORRELATION,
    ) -> None:
        self._runs = [_Measurement(entrant) for entrant in entrants]
        self._lists, self._reference, self._batches = lists, reference, batches
        self._tries, self._restart, self._least = tries, restart, least_correlation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._live():
            assert run.worker is not None  # noqa: S101 the run was started
            run.worker.close()

    @property
    def systems(self) -> int:
        """Number of entrants; ``prepare`` and each round take as many steps."""
        return len(self._runs)

    def prepare(self, on_step: OnStep) -> None:
        """Start each entrant with its best batch size, warm it up on all lists, and compare its scores with
        torch's.

        Batch sizes are tried in ascending order.
        """
        for run in self._runs:
            on_step(run.entrant.system.name)
            with run.failure_recorded():
                self._start_at_best_batch(run)
                assert run.worker is not None  # noqa: S101 it was started
                assert run.batch is not None  # noqa: S101 it was chosen
                scores = run.worker.score(self._lists, run.batch).scores
                run.difference = difference_from_torch(
                    run.entrant.system, scores, self._reference, least_correlation=self._least
                )
                with run.worker.awake():
                    pass  # the process is stopped after this block

    def _start_at_best_batch(self, run: _Measurement) -> None:
        run.worker = run.entrant.start()
        if not run.entrant.system.batches:
            run.batch = 1
            return
        run.batch = self._best_batch(run.entrant.system, run.worker)
        if self._restart:  # so that the memory of larger batches is not counted
            run.worker.close()
            run.worker = None
            run.worker = run.entrant.start()

    def _best_batch(self, system: System, worker: Worker) -> int:
        tried = [(query, passages[:_TRIED_PASSAGES]) for query, passages in self._lists[:1]]
        first = worker.score(tried, self._batches[0]).scores  # the first run of a process is slower
        # Checked first, so that no minutes are spent on wrong scores.
        difference_from_torch(system, first, self._reference[: first.size], least_correlation=self._least)
        seconds: dict[int, float] = {}
        for batch in self._batches:
            seconds[batch] = min(worker.score(tried, batch).seconds for _ in range(self._tries))
            if seconds[batch] > _TOO_SLOW * min(seconds.values()):
                break
        return min(seconds, key=lambda batch: seconds[batch])

    def time(self, rounds: int, on_step: OnStep) -> None:
        """Let every entrant score all lists once in every round.

        Each round has its own random order. The other processes are stopped meanwhile.
        """
        draw = np.random.default_rng(_SEED)
        for _ in range(rounds):
            for place in draw.permutation(len(self._runs)):
                run = self._runs[place]
                on_step(run.entrant.system.name)
                self._timed(run)

    def _timed(self, run: _Measurement) -> None:
        if run.worker is None or run.batch is None:
            return
        with run.failure_recorded(), run.worker.awake() as worker:
            run.seconds.append(worker.score(self._lists, run.batch).seconds)
            if self._restart or not run.entrant.system.batches:
                worker.note_memory()
                run.peak_rss_mb = worker.peak_rss_mb

    def rank(self, lists: Lists, on_step: OnStep) -> None:
        """Score the lists with one fp32 system and with every int8 system.

        The other fp32 systems get the scores of that one. Without lists nothing is scored, and rows have no
        ``ranked``.
        """
        if not lists:
            return
        exact = [run for run in self._live() if run.entrant.system.precision == "fp32"]
        for run in exact[:1] + [run for run in self._live() if run not in exact]:
            self._rank(run, lists, on_step)
        for run in exact[1:]:
            run.ranked, run.ranked_by = exact[0].ranked, exact[0].ranked_by

    def _rank(self, run: _Measurement, lists: Lists, on_step: OnStep) -> None:
        assert run.worker is not None  # noqa: S101 the run was started
        assert run.batch is not None  # noqa: S101 it was chosen before
        scores: list[ScoreArray] = []
        with run.failure_recorded(), run.worker.awake() as worker:
            for start in range(0, len(lists), _QUERIES_A_STEP):
                on_step(run.entrant.system.name)
                scores.append(worker.score(lists[start : start + _QUERIES_A_STEP], run.batch).scores)
            run.ranked, run.ranked_by = np.concatenate(scores), label(run.entrant.system)

    def rank_steps(self, lists: Lists) -> int:
        """Return how many steps ``rank`` will take."""
        precisions = [run.entrant.system.precision for run in self._live()]
        return (precisions.count("int8") + bool(precisions.count("fp32"))) * -(-len(lists) // _QUERIES_A_STEP)

    def rows(self) -> list[SystemRow]:
        """Return the rows, the fastest first. Systems that could not be measured come last."""
        peers = {
            label(run.entrant.system): run
            for run in self._runs
            if run.entrant.system.peer is not None and _was_timed(run)
        }
        best_any = min(peers.values(), key=_median, default=None)
        best_fp32 = min(
            (run for run in peers.values() if run.entrant.system.precision == "fp32"),
            key=_median,
            default=None,
        )
        pairs = sum(len(passages) for _, passages in self._lists)
        return sorted(
            (_row(run, pairs, best_fp32, best_any) for run in self._runs),
            key=lambda row: -(row.pairs_per_second or 0.0),
        )

    def _live(self) -> list[_Measurement]:
        return [run for run in self._runs if run.worker is not None]


def label(system: System) -> str:
    """Return a system's name with its precision; this label is unique."""
    return f"{system.name} {system.precision}"


def difference_from_torch(
    system: System,
    scores: ScoreArray,
    reference: ScoreArray,
    *,
    least_correlation: float = LEAST_CORRELATION,
) -> float:
    """Return the largest difference from torch's logits. Raises WorkerError for wrong scores."""
    expected = reference if system.scale == "logit" else 1 / (1 + np.exp(-reference))
    largest = float(np.abs(scores - expected).max())
    if system.precision == "fp32" and not largest <= TOLERANCE:
        raise WorkerError(
            f"wrong scores: they differ from torch's by up to {largest:.2g}, more than {TOLERANCE:g}"
        )
    if (
        system.precision == "int8"
        and not (correlation := _correlation(scores, expected)) >= least_correlation
    ):
        raise WorkerError(
            f"wrong scores: their correlation with torch's is {correlation:.2f}, less than "
            f"{least_correlation}"
        )
    return largest


def _correlation(scores: ScoreArray, expected: ScoreArray) -> float:
    """Return Pearson's correlation, 0 when one side is constant."""
    if np.ptp(scores) == 0 or np.ptp(expected) == 0:
        return 0.0
    return float(np.corrcoef(scores, expected)[0, 1])


def _was_timed(run: _Measurement) -> bool:
    return run.reason is None and bool(run.seconds)


def _median(run: _Measurement) -> float:
    return float(np.median(run.seconds))


def _row(
    run: _Measurement, pairs: int, best_fp32: _Measurement | None, best_any: _Measurement | None
) -> SystemRow:
    system, version = run.entrant.system, run.entrant.version
    if not _was_timed(run):
        return SystemRow(
            system, version, reason=run.reason, batch=run.batch, largest_difference=run.difference
        )
    seconds = np.asarray(run.seconds)
    speeds = pairs / seconds
    return SystemRow(
        system,
        version,
        batch=run.batch,
        largest_difference=run.difference,
        pairs_per_second=float(np.median(speeds)),
        low=float(speeds.min()),
        high=float(speeds.max()),
        ratio=_ratio(run, best_fp32),
        ratio_any=_ratio(run, best_any),
        peak_rss_mb=run.peak_rss_mb,
        ranked=run.ranked,
        ranked_by=run.ranked_by,
    )


def _ratio(run: _Measurement, best: _Measurement | None) -> Added | None:
    return None if best is None else ratio(np.asarray(run.seconds), np.asarray(best.seconds))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
