"""This engine beside its peers: the same weights and the same pairs, every system in a process of its own, interleaved in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from .paired import Added, ratio
from .peers import System
from .workers import Lists, Values, Worker, WorkerError

ROUNDS = 5
PAIRS = 200
CANDIDATES = 100
"""Passages per query in what is timed: the window that rerankers are compared on (MS MARCO's top 100), and the most of a search."""

BATCHES = (1, 4, 8, 16, 32)
"""Batch sizes that are tried for a peer that has one; the best is used."""

TOLERANCE = 1e-3
"""fp32 scores that differ from torch's by less are torch's scores: nDCG is taken over. Over it, a system is not measured."""

LEAST_CORRELATION = 0.9
"""Least correlation of int8 scores with torch's; a system below it computes something else and is not measured."""

_TRIED = 50
"""Passages of one query that batch sizes are tried on."""

_TRIES = 2
"""Runs of each size; the quicker counts, since infinity makes its engine anew in the first."""

_TOO_SLOW = 1.3
"""A batch size that takes so many times as long as the best is the last that is tried: padding only grows from there."""

_QUERIES_A_STEP = 10
_SEED = 20_260_102

Step = Callable[[str], None]
"""Told what has been done, once for each step."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A system, the version of its package, and how its process is started, which raises WorkerError where that cannot be."""

    system: System
    version: str
    start: Callable[[], Worker]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one system; ``reason`` says why the rest is None.

    ``pairs_per_second`` is the median over rounds, ``low`` and ``high`` the extremes; ``ratio`` is to the fastest fp32 peer,
    ``ratio_any`` to the fastest peer of any precision, both None where there is none. ``largest_difference`` is from torch,
    in logits, or in probabilities where the system gives no logits. ``ranked`` holds the scores of the lists to be
    ranked, which are those of the system ``ranked_by``.
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
    ranked: Values | None = None
    ranked_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row without its scores, null where nothing was measured."""
        ratios = {
            f"{name}{suffix}": _rounded(value, 3)
            for name, found in (("ratio", self.ratio), ("ratio_any", self.ratio_any))
            for suffix, value in zip(("", "_low", "_high"), found or (None, None, None), strict=True)
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
class _Run:
    """An entrant under way: its process once it has one, and what is known of it so far."""

    entrant: Entrant
    worker: Worker | None = None
    reason: str | None = None
    batch: int | None = None
    difference: float | None = None
    seconds: list[float] = field(default_factory=list)
    peak_rss_mb: float | None = None
    ranked: Values | None = None
    ranked_by: str | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep why something failed instead of raising it: it becomes the row."""
        try:
            yield
        except WorkerError as error:
            self.reason = str(error)
            if self.worker is not None:
                self.worker.close()
                self.worker = None


class Contest:
    """The entrants, on the same lists; ``reference`` holds torch's logits of them.

    Call ``prepare``, ``time``, and where wanted ``rank``; ``rows`` then tells what was found. Processes end with the block.
    ``batches`` are the sizes that are tried.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        lists: Lists,
        reference: Values,
        *,
        batches: Sequence[int] = BATCHES,
    ) -> None:
        self._runs = [_Run(entrant) for entrant in entrants]
        self._lists, self._reference, self._batches = lists, reference, batches

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._live():
            assert run.worker is not None
            run.worker.close()

    @property
    def systems(self) -> int:
        """How many entrants there are, which is how many steps ``prepare`` and each round take."""
        return len(self._runs)

    def prepare(self, on_step: Step) -> None:
        """Find each entrant's best batch size, the sizes tried upwards, start it anew, warm it up on all lists, and hold its scores to torch's."""
        for run in self._runs:
            on_step(run.entrant.system.name)
            with run.kept():
                run.batch = self._best_batch(run.entrant)
                # Anew, so that the memory of larger batches is not counted.
                run.worker = run.entrant.start()
                scores = run.worker.score(self._lists, run.batch).scores
                run.difference = difference(run.entrant.system, scores, self._reference)
                with run.worker.awake():
                    pass  # asleep from here on

    def _best_batch(self, entrant: Entrant) -> int:
        if not entrant.system.batches:
            return 1
        tried = [(query, passages[:_TRIED]) for query, passages in self._lists[:1]]
        with entrant.start() as worker:
            first = worker.score(tried, self._batches[0]).scores  # the first run of a process is slower
            difference(
                entrant.system, first, self._reference[: first.size]
            )  # before minutes are spent on wrong scores
            seconds: dict[int, float] = {}
            for batch in self._batches:
                seconds[batch] = min(worker.score(tried, batch).seconds for _ in range(_TRIES))
                if seconds[batch] > _TOO_SLOW * min(seconds.values()):
                    break
        return min(seconds, key=lambda batch: seconds[batch])

    def time(self, rounds: int, on_step: Step) -> None:
        """Let every entrant score all lists once in every round, in an order drawn anew for each; the others sleep meanwhile."""
        draw = np.random.default_rng(_SEED)
        for _ in range(rounds):
            for place in draw.permutation(len(self._runs)):
                run = self._runs[place]
                on_step(run.entrant.system.name)
                self._timed(run)

    def _timed(self, run: _Run) -> None:
        if run.worker is None or run.batch is None:
            return
        with run.kept(), run.worker.awake() as worker:
            run.seconds.append(worker.score(self._lists, run.batch).seconds)
            worker.note_memory()
            run.peak_rss_mb = worker.peak_rss_mb

    def rank(self, lists: Lists, on_step: Step) -> None:
        """Score the lists by one fp32 system, of which the other fp32 systems have the scores, and by every int8 system.

        Without lists there is nothing to score, and rows have no ``ranked``.
        """
        if not lists:
            return
        exact = [run for run in self._live() if run.entrant.system.precision == "fp32"]
        for run in exact[:1] + [run for run in self._live() if run not in exact]:
            self._rank(run, lists, on_step)
        for run in exact[1:]:
            run.ranked, run.ranked_by = exact[0].ranked, exact[0].ranked_by

    def _rank(self, run: _Run, lists: Lists, on_step: Step) -> None:
        assert run.worker is not None
        assert run.batch is not None
        found: list[Values] = []
        with run.kept(), run.worker.awake() as worker:
            for start in range(0, len(lists), _QUERIES_A_STEP):
                on_step(run.entrant.system.name)
                found.append(worker.score(lists[start : start + _QUERIES_A_STEP], run.batch).scores)
            run.ranked, run.ranked_by = np.concatenate(found), label(run.entrant.system)

    def rank_steps(self, lists: Lists) -> int:
        """Return how many steps ``rank`` will take."""
        precisions = [run.entrant.system.precision for run in self._live()]
        return (precisions.count("int8") + bool(precisions.count("fp32"))) * -(-len(lists) // _QUERIES_A_STEP)

    def rows(self) -> list[Row]:
        """Return what was found, the fastest first, what could not be measured last."""
        peers = {
            label(run.entrant.system): run
            for run in self._runs
            if run.entrant.system.peer is not None and _whole(run)
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

    def _live(self) -> list[_Run]:
        return [run for run in self._runs if run.worker is not None]


def label(system: System) -> str:
    """Return a system's name with its precision, which is unique."""
    return f"{system.name} {system.precision}"


def difference(system: System, scores: Values, reference: Values) -> float:
    """Return the largest difference from torch's logits. Raises WorkerError where a system computes something else."""
    expected = reference if system.scale == "logit" else 1 / (1 + np.exp(-reference))
    largest = float(np.abs(scores - expected).max())
    if system.precision == "fp32" and not largest <= TOLERANCE:
        raise WorkerError(
            f"wrong scores: they differ from torch's by up to {largest:.2g}, more than {TOLERANCE:g}"
        )
    if (
        system.precision == "int8"
        and system.exit_layer is None
        and not (correlation := _correlation(scores, expected)) >= LEAST_CORRELATION
    ):
        raise WorkerError(
            f"wrong scores: their correlation with torch's is {correlation:.2f}, less than {LEAST_CORRELATION}"
        )
    return largest


def _correlation(scores: Values, expected: Values) -> float:
    """Return Pearson's correlation, 0 where one side is constant."""
    if np.ptp(scores) == 0 or np.ptp(expected) == 0:
        return 0.0
    return float(np.corrcoef(scores, expected)[0, 1])


def _whole(run: _Run) -> bool:
    return run.reason is None and bool(run.seconds)


def _median(run: _Run) -> float:
    return float(np.median(run.seconds))


def _row(run: _Run, pairs: int, best_fp32: _Run | None, best_any: _Run | None) -> Row:
    system, version = run.entrant.system, run.entrant.version
    if not _whole(run):
        return Row(system, version, reason=run.reason, batch=run.batch, largest_difference=run.difference)
    seconds = np.asarray(run.seconds)
    speeds = pairs / seconds
    return Row(
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


def _ratio(run: _Run, best: _Run | None) -> Added | None:
    return None if best is None else ratio(np.asarray(run.seconds), np.asarray(best.seconds))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
