"""``es-rerank bench load --overload``: what servers answer in time when they are offered too much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from ..errors import EsRerankError, ModelError
from ..research.bench.machine import Cores, cores_apart, machine
from ..research.bench.overload import USUAL_SHARE, Overload, OverloadRow
from ..research.bench.overload_step import MOST_BEHIND_MS, MOST_GENERATOR_CPU, OverloadStep
from ..research.bench.under_load import Contender
from ..research.bench.workers import Lists, ScoreArray
from ..research.plots.curves import COLOURS, Curve, Panel, curves
from .bench_options import steps
from .bench_servers import check_measured, label_of, show_unmeasured
from .output import print_json, stderr, stdout

_CAPTION: Final = (
    "Poisson arrivals, the same for every server; no pair of query and passage occurs twice. Times in "
    "milliseconds (p50 / p99), from the moment when a request was due. Rates per second. goodput: requests "
    "answered within {deadline:g} s of that moment. share: of the capacity. answer: over all requests that "
    "were not refused; one without an answer in time counts as late. refused: 429 or 503. back: seconds "
    "after the load until {usual:g} times the capacity is served as before."
)
_BESIDE: Final = (
    "  errors: {errors}. The sender used at most {sender:.0%} of its core and sent 99 % of requests within "
    "{behind:.1f} ms of when they were due. The server used at least {server:.2f} cores."
)
_SHARED: Final = (
    "The server and the sender share a core, because this machine has too few for --threads {threads}. The "
    "figures show both."
)
_INVALID: Final = (
    "NOT VALID: the sender could not keep up with {name} (more than {cpu:.0%} of its core, or one request in "
    "a hundred sent more than {behind:g} ms late). The figures measure the bench, not the server."
)


def measure_overload(
    contenders: Sequence[Contender],
    windows: Lists,
    expected: Sequence[ScoreArray] | None,
    *,
    seconds: float,
    deadline_s: float,
    threads: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the contenders in overload; print the result and write the picture.

    Raises ModelError when the sidecar itself could not be measured, EsRerankError when the bench could not
    keep up.
    """
    cores = cores_apart(threads)
    if cores.shared:
        stderr.print(_SHARED.format(threads=threads), style="yellow", highlight=False, soft_wrap=True)
    contest = Overload(
        contenders,
        windows,
        expected,
        seconds=seconds,
        deadline_s=deadline_s,
        server_cores=cores.server,
        own_core=cores.bench,
    )
    with contest:
        with steps("trying", contest.preparations()) as step:
            contest.prepare(step)
        with steps("timing", contest.timings()) as step:
            contest.time(step)
    report = OverloadReport(contest.rows, seconds, deadline_s, len(windows[0][1]), threads, cores)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else report.show()
    check_measured(contest.rows)
    if slow := [label_of(row) for row in contest.rows if not row.is_valid]:
        raise EsRerankError(
            f"the bench could not keep up with {', '.join(slow)}, so these figures are not valid; leave the "
            "sender a core of its own, or send larger requests with --window"
        )


class OverloadReport:
    """The rows, and the machine they were measured on. ``window`` counts the passages of a request."""

    def __init__(
        self,
        rows: Sequence[OverloadRow],
        seconds: float,
        deadline_s: float,
        window: int,
        threads: int,
        cores: Cores,
    ) -> None:
        self._rows, self._seconds, self._deadline_s, self._window = rows, seconds, deadline_s, window
        self._machine = {
            **machine(),
            "threads": threads,
            "server_cores": None if cores.server is None else sorted(cores.server),
            "sender_core": cores.bench,
            "shared_core": cores.shared,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the machine, the options of the run, and the servers."""
        return {
            "machine": self._machine,
            "window": self._window,
            "seconds": self._seconds,
            "deadline_s": self._deadline_s,
            "servers": [row.as_json(self._deadline_s) for row in self._rows],
        }

    def show(self) -> None:
        """Print a table and the criteria for each server, what could not be measured, and the caption."""
        _say(
            f"{self._seconds:g} s at each rate, requests of {self._window} passages, deadline "
            f"{self._deadline_s:g} s; {self._machine['cpu']}, server on {self._machine['threads']} of "
            f"{self._machine['cores']} cores, Python {self._machine['python']}"
        )
        for row in self._rows:
            if row.steps:
                self._show(row)
        _say(_CAPTION.format(deadline=self._deadline_s, usual=USUAL_SHARE))
        show_unmeasured(self._rows)

    def _show(self, row: OverloadRow) -> None:
        batch = "" if row.batch is None else f", batch {row.batch}"
        after = "" if row.capacity_after is None else f", {row.capacity_after:.1f} at the end"
        _say(f"{label_of(row)}{batch}: capacity {row.capacity:.1f} requests/s{after}")
        stdout.print(_table(row))
        _say(_BESIDE.format(errors=_errors(row), **_extremes(row)))
        for criterion in row.criteria(self._deadline_s):
            said = "[green]met[/]" if criterion.met else "[red]not met[/]"
            stdout.print(f"  {said}: {criterion.name} ({criterion.shown})", highlight=False, soft_wrap=True)
        if not row.is_valid:
            said = _INVALID.format(name=label_of(row), cpu=MOST_GENERATOR_CPU, behind=MOST_BEHIND_MS)
            stdout.print(said, style="bold red", highlight=False, markup=False, soft_wrap=True)

    def picture(self) -> str:
        """Return goodput against offered rate as SVG. Raises ModelError when no server was measured."""
        drawn = [(row, COLOURS[number % len(COLOURS)]) for number, row in enumerate(self._rows) if row.steps]
        if not drawn:
            raise ModelError("no server could be measured, so there is nothing to draw")
        rates = [_curve(row, 1.0, colour) for row, colour in drawn]
        shares = [_curve(row, 1 / row.capacity, colour) for row, colour in drawn if row.capacity]
        return curves(
            f"Goodput in overload, {self._machine['cpu']}, server threads: {self._machine['threads']}",
            [
                Panel("requests", "offered per second", "answered in time per second", rates),
                Panel(
                    "shares of each server's own capacity",
                    "offered / capacity",
                    "answered in time / capacity",
                    shares,
                ),
            ],
        )


def _table(row: OverloadRow) -> Table:
    shown = Table("rate", box=None, pad_edge=False)
    for name in ("offered", "goodput", "share", "answer ms", "refused", "refusal ms", "late", "back"):
        shown.add_column(name, justify="right", no_wrap=True)
    for step in _measured(row):
        recovery = step.recovery_s
        shown.add_row(
            f"{step.share:g}x",
            f"{step.offered:.1f}",
            f"{step.goodput:.1f}",
            f"{step.goodput_share:.0%}",
            _shown(step.admitted_ms, 0),
            f"{step.refused / step.requests:.0%}",
            _shown(step.refused_ms, 1),
            f"{step.late / step.requests:.0%}",
            "" if recovery is None else "no" if math.isinf(recovery) else f"{recovery:.1f} s",
        )
    return shown


def _errors(row: OverloadRow) -> str:
    counts = sum((Counter(step.failures) for step in _measured(row)), Counter[str]())
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "none"


def _extremes(row: OverloadRow) -> dict[str, float]:
    return {
        "sender": max(step.busy.generator for step in row.steps),
        "behind": max(step.behind_ms for step in row.steps),
        "server": min(step.busy.server for step in row.steps),
    }


def _shown(latencies_ms: tuple[float, float] | None, digits: int) -> str:
    """Return p50 and p99."""
    if latencies_ms is None:
        return ""
    return " / ".join("late" if math.isinf(value) else f"{value:.{digits}f}" for value in latencies_ms)


def _measured(row: OverloadRow) -> list[OverloadStep]:
    """Return the steps at the usual rate and above the capacity."""
    return [*([] if row.usual is None else [row.usual]), *row.steps]


def _curve(row: OverloadRow, factor: float, colour: str) -> Curve:
    """Return goodput against offered rate, both times ``factor``."""
    return Curve(
        label_of(row), [(step.offered * factor, step.goodput * factor) for step in _measured(row)], colour
    )


def _say(text: str) -> None:
    stdout.print(text, highlight=False, markup=False, soft_wrap=True)
