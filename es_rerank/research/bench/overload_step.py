"""What a server answered at an offered rate above its capacity, and what it must hold there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .load import Reply, Seconds, finite, percentile

LEAST_GOODPUT = 0.9
"""Smallest goodput in overload, as a share of capacity."""

MOST_REFUSAL_MS = 50.0
"""Longest median time until a refusal."""

MOST_RECOVERY_S = 5.0
"""Longest time after an overload until the server answers as before it."""

MOST_GENERATOR_CPU = 0.5
MOST_BEHIND_MS = 20.0
"""A run in which the bench uses more of its core, or sends one request in a hundred later than this, is not
valid: it measures the bench.
"""

_IN_A_ROW = 10
_ANSWERED_IN_A_ROW = 9
_SLOWER = 2.0
"""A server answers as before when of every ten requests in a row it answers at least nine in time, and their
median latency is at most this many times the largest of such medians before.
"""


class Busy(NamedTuple):
    """CPU time during a load, in shares of one core: of the bench, and of the server with its children."""

    generator: float
    server: float


@dataclass(frozen=True, slots=True)
class OverloadStep:
    """The measurements at one offered rate; rates in requests per second.

    ``share`` is ``offered`` divided by capacity. ``answered`` counts the requests that were answered within
    their deadline, ``goodput`` those of them per second that were answered before the load ended. ``late``
    counts requests without an answer at their deadline, and those that the server gave up (504).
    ``failures`` counts all other answers, by status or name of the error, and also those in the seconds after
    the load. ``admitted_ms`` has the p50 and p99 of the milliseconds until an answer, over all requests that
    were not refused; a late or failed one counts as infinite. ``refused_ms`` has those of the refusals. Both
    are None without such requests. ``behind_ms`` is the p99 of the delay of the bench itself. ``recovery_s``
    are the seconds from the end of the load until the server answers as before it; infinite when it was not
    seen to, None when it was not measured.
    """

    share: float
    offered: float
    requests: int
    answered: int
    refused: int
    late: int
    failures: dict[str, int]
    goodput: float
    admitted_ms: tuple[float, float] | None
    refused_ms: tuple[float, float] | None
    behind_ms: float
    busy: Busy
    recovery_s: float | None = None

    @property
    def goodput_share(self) -> float:
        """The goodput as a share of capacity."""
        return self.goodput / self.offered * self.share

    @property
    def is_valid(self) -> bool:
        """Whether the bench could keep up with the requests it had to send."""
        return self.busy.generator <= MOST_GENERATOR_CPU and self.behind_ms <= MOST_BEHIND_MS

    def as_json(self) -> dict[str, Any]:
        """Return the step; an infinite value, and one that was not measured, is null."""
        admitted, refused = self.admitted_ms or (None, None), self.refused_ms or (None, None)
        return {
            "share": self.share,
            "offered": round(self.offered, 3),
            "goodput": round(self.goodput, 3),
            "goodput_share": round(self.goodput_share, 4),
            "requests": self.requests,
            "answered": self.answered,
            "refused": self.refused,
            "late": self.late,
            "failures": self.failures,
            "p50_ms": finite(admitted[0]),
            "p99_ms": finite(admitted[1]),
            "refused_p50_ms": finite(refused[0]),
            "refused_p99_ms": finite(refused[1]),
            "recovery_s": finite(self.recovery_s),
            "behind_p99_ms": round(self.behind_ms, 2),
            "generator_cpu": round(self.busy.generator, 3),
            "server_cpu": round(self.busy.server, 3),
        }


class Criterion(NamedTuple):
    """What a server must hold at every overload, and whether it did. ``shown`` is its worst value."""

    name: str
    met: bool
    shown: str


def step_result(
    share: float,
    due: Seconds,
    replies: Sequence[Reply],
    seconds: float,
    failures: Counter[str],
    busy: Busy,
) -> OverloadStep:
    """Return the measurements at the offered rate of ``len(due)`` requests in ``seconds``."""
    outcomes = Counter(reply.outcome for reply in replies)
    answered = [
        at + reply.seconds
        for at, reply in zip(due.tolist(), replies, strict=True)
        if reply.outcome == "answered"
    ]
    admitted = [_seconds(reply) for reply in replies if reply.outcome != "rejected"]
    return OverloadStep(
        share=share,
        offered=len(due) / seconds,
        requests=len(due),
        answered=outcomes["answered"],
        refused=outcomes["rejected"],
        late=outcomes["late"],
        failures=dict(failures),
        goodput=sum(at <= seconds for at in answered) / seconds,
        admitted_ms=_median_and_p99(admitted),
        refused_ms=_median_and_p99([reply.seconds for reply in replies if reply.outcome == "rejected"]),
        behind_ms=(percentile([reply.behind for reply in replies], 0.99) or 0.0) * 1000,
        busy=busy,
    )


def recovery_s(due: Seconds, replies: Sequence[Reply], usual: Sequence[Reply]) -> float:
    """Return when the server answers as before: the moment, in seconds, when the first request was due from
    which on all are served so; infinite when there is none, or when the server was as slow before.

    ``due`` counts from the end of the overload. ``usual`` are the replies at the same rate before it.
    """
    longest, after = _SLOWER * max(_medians(usual)), _medians(replies)
    if math.isinf(longest):
        return math.inf
    slow = [place for place, median in enumerate(after) if median > longest]
    row = slow[-1] + 1 if slow else 0
    if row == len(after):
        return math.inf
    first = next(place for place in range(row, len(replies)) if _seconds(replies[place]) <= longest)
    return float(due[first]) if first else 0.0


def criteria(steps: Sequence[OverloadStep], deadline_s: float) -> list[Criterion]:
    """Return what a server must hold at each of ``steps``, and whether it did."""
    goodput = min(step.goodput_share for step in steps)
    slowest = max(step.admitted_ms[1] if step.admitted_ms else math.inf for step in steps)
    refusals = [step.refused_ms[0] for step in steps if step.refused_ms]
    recovery = max(math.inf if step.recovery_s is None else step.recovery_s for step in steps)
    return [
        Criterion(
            f"goodput at least {LEAST_GOODPUT:.0%} of capacity", goodput >= LEAST_GOODPUT, f"{goodput:.1%}"
        ),
        Criterion(
            "p99 of admitted requests within the deadline",
            slowest <= deadline_s * 1000,
            "late" if math.isinf(slowest) else f"{slowest:.0f} ms",
        ),
        Criterion(
            f"median refusal within {MOST_REFUSAL_MS:g} ms",
            bool(refusals) and max(refusals) <= MOST_REFUSAL_MS,
            f"{max(refusals):.1f} ms" if refusals else "no refusal",
        ),
        Criterion(
            f"full speed within {MOST_RECOVERY_S:g} s after",
            recovery <= MOST_RECOVERY_S,
            "not seen" if math.isinf(recovery) else f"{recovery:.1f} s",
        ),
    ]


def _medians(replies: Sequence[Reply]) -> list[float]:
    """Return the median latency of every ten requests in a row; infinite where too few were answered.

    Fewer than ten replies are one row.
    """
    seconds = [_seconds(reply) for reply in replies]
    length = min(_IN_A_ROW, len(seconds))
    missing = length * (_IN_A_ROW - _ANSWERED_IN_A_ROW) // _IN_A_ROW
    rows = [seconds[start : start + length] for start in range(len(seconds) - length + 1)]
    return [
        math.inf if sum(map(math.isinf, row)) > missing else percentile(row, 0.5) or math.inf for row in rows
    ]


def _seconds(reply: Reply) -> float:
    """Return the latency of an answer; infinite for anything else."""
    return reply.seconds if reply.outcome == "answered" else math.inf


def _median_and_p99(seconds: Sequence[float]) -> tuple[float, float] | None:
    median, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    return None if median is None or p99 is None else (median * 1000, p99 * 1000)
