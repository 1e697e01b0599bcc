"""``es-rerank bench load``: measure latency under load of the sidecar and of infinity's server."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..collection import read_queries
from ..engine.processor import cores
from ..errors import ModelError, SettingsError
from ..research.bench.load import RateResult
from ..research.bench.machine import machine
from ..research.bench.overload import DEADLINE_S, SECONDS
from ..research.bench.peers.environment import default_environments
from ..research.bench.under_load import (
    CAPACITY_SHARES,
    LATE_AFTER_S,
    REQUESTS,
    ServerRow,
    UnderLoad,
)
from ..research.bench.workers import Lists
from ..research.evaluation.packaged import by_hash, packaged
from ..research.plots.curves import COLOURS, Curve, Panel, curves
from .bench_options import Plot, check_plot, steps
from .bench_overload import measure_overload
from .bench_servers import Measured, check_measured, label_of, show_unmeasured
from .extras import check_evaluate
from .output import Json, print_json, stdout

REQUEST_WINDOW = 20

_NOT_IN_OVERLOAD = ("requests", "rates", "timeout")
_ONLY_IN_OVERLOAD = ("seconds", "deadline")

_OVERLOAD_WINDOWS = 200
"""Different windows that an overload repeats, each time with another number in the query."""

_MOST_QUERIES = 2_000
"""Most queries of a collection that are read, drawn by a hash of their id."""

_CAPTION = (
    "Poisson arrivals, the same for every server. Latency in milliseconds, from the moment when a request "
    "was due, so that waiting counts. Percentiles over all requests except rejected ones; a late request had "
    "no answer within {timeout:g} s. Above its capacity, the latencies of a server grow as long as the load "
    "lasts. The bench sends from the same machine."
)


def load(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="Local folder or Hub id of a torch cross-encoder with one label; or an exported folder, for "
            "the sidecar alone.",
            show_default="the bundled one's weights",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Collection in BEIR layout whose texts are read.", show_default="the packaged one"),
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, max=1_000, help="Passages in each request, the best by BM25.")
    ] = REQUEST_WINDOW,
    requests: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, help="Requests at each rate; no pair of query and passage occurs twice."
        ),
    ] = REQUESTS,
    rates: Annotated[
        list[float] | None,
        typer.Option(
            help="Offered requests per second; may be given several times.",
            show_default="0.2 to 1.2 of each server's own capacity",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds after which a request is late.")
    ] = LATE_AFTER_S,
    overload: Annotated[
        bool,
        typer.Option(
            "--overload",
            help="Offer each server 1.2, 2 and 3 times its capacity instead, with a deadline for each "
            "request. The server and the sender have cores of their own.",
        ),
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="With --overload: seconds of each overload.")
    ] = SECONDS,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="With --overload: seconds within which an answer is in time.")
    ] = DEADLINE_S,
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="Cores that each server may use; 0 is all, with --overload all except the sender's."
        ),
    ] = 0,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone",
            help="Measure the sidecar alone, without infinity's server. The bundled model then needs only "
            "the extra evaluate.",
        ),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the peer's environment is kept.", show_default="~/.cache/es-rerank/bench"),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare the latency under load of the sidecar and of infinity's server: open loop, same weights, same
    requests at the same times. With --overload: what each answers in time when it is offered too much.
    """
    check_evaluate("the bench")
    check_plot(plot)
    _check_together(context, overload=overload)
    if wrong := [rate for rate in rates or () if not 0 < rate < math.inf]:
        raise SettingsError(f"--rates {wrong[0]:g} is not a rate; give requests per second above 0")
    asked = _requests(data or packaged(), window, _OVERLOAD_WINDOWS if overload else requests)
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch:
        threads = threads or (max(cores() - 1, 1) if overload else cores())
        longest = max(timeout, deadline) if overload else timeout
        setting = Measured(Path(scratch), threads, model, longest, alone=alone)
        contenders, expected = setting.contenders(cache or default_environments()), setting.expected(asked)
        if overload:
            measure_overload(
                contenders,
                asked,
                expected,
                seconds=seconds,
                deadline_s=deadline,
                threads=threads,
                plot=plot,
                as_json=as_json,
            )
            return
        contest = UnderLoad(contenders, asked, expected, timeout_s=timeout)
        with contest:
            with steps("trying", contest.preparations()) as step:
                contest.prepare(step)
            with steps("timing", len(rates or CAPACITY_SHARES) * len(contest.rows)) as step:
                contest.time(step, rates=rates)
    report = _Report(contest.rows, {"requests": requests, "window": window, "timeout_s": timeout}, threads)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else report.show()
    check_measured(contest.rows)


def _check_together(context: typer.Context, *, overload: bool) -> None:
    """Raise SettingsError for an option that would change nothing, with or without --overload."""
    for name in _NOT_IN_OVERLOAD if overload else _ONLY_IN_OVERLOAD:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise SettingsError(
                f"--{name} changes nothing with --overload; leave one of them out"
                if overload
                else f"--{name} changes nothing without --overload; add --overload"
            )


def _requests(folder: Path, window: int, number: int) -> Lists:
    """Return ``number`` full windows. Raises SettingsError when the collection has fewer."""
    from ..research.bench.windows import requests_of, windows

    known = read_queries(folder)
    queries = {name: known[name] for name in by_hash(known)[:_MOST_QUERIES]}
    requests = list(
        islice(
            requests_of(windows(folder, queries, window * (number // max(len(queries), 1) + 1)), window),
            number,
        )
    )
    if len(requests) < number:
        raise SettingsError(
            f"--requests {number} is more than the {len(requests)} windows of {window} passages that "
            f"{folder} gives; choose fewer, a smaller --window, or a larger collection with --data"
        )
    return requests


class _Report:
    """The rows, and the machine they were measured on. ``about`` holds the options of the run."""

    def __init__(self, rows: Sequence[ServerRow], about: dict[str, int | float], threads: int) -> None:
        self._rows, self._about = rows, about
        self._machine = {**machine(), "threads": threads}

    def as_json(self) -> dict[str, Any]:
        return {"machine": self._machine, **self._about, "servers": [row.as_json() for row in self._rows]}

    def show(self) -> None:
        """Print a table for each server, what could not be measured, and the caption that explains the
        columns.
        """
        extent = f"{self._about['requests']} requests of {self._about['window']} passages at each rate"
        stdout.print(
            f"{extent}; {self._machine['cpu']}, {self._machine['threads']} threads, Python "
            f"{self._machine['python']}",
            highlight=False,
            soft_wrap=True,
        )
        for row in self._rows:
            if row.capacity is not None:
                batch = "" if row.batch is None else f", batch {row.batch}"
                stdout.print(
                    f"{label_of(row)}{batch}: capacity {row.capacity:.1f} requests/s",
                    highlight=False,
                    soft_wrap=True,
                )
                stdout.print(_table(row))
        stdout.print(_CAPTION.format(timeout=self._about["timeout_s"]), highlight=False, soft_wrap=True)
        show_unmeasured(self._rows)

    def picture(self) -> str:
        """Return latency against offered rate as SVG. Raises ModelError when no request was answered."""
        drawn = [
            curve
            for number, row in enumerate(self._rows)
            for curve in _curves(row, COLOURS[number % len(COLOURS)])
        ]
        if not drawn:
            raise ModelError(
                "no server answered in time at any rate, so there is nothing to draw; try lower --rates"
            )
        panel = Panel(
            f"requests of {self._about['window']} passages",
            "offered requests per second",
            "milliseconds from when a request was due",
            drawn,
            log=True,
        )
        return curves(
            f"Latency under load, {self._machine['cpu']}, {self._machine['threads']} threads", [panel]
        )


def _table(row: ServerRow) -> Table:
    shown = Table("offered/s", box=None, pad_edge=False)
    for name in ("achieved/s", "p50", "p95", "p99", "rejected", "late"):
        shown.add_column(name, justify="right", no_wrap=True)
    for step in row.steps:
        latencies = [_shown(value) for value in (step.p50_ms, step.p95_ms, step.p99_ms)]
        shown.add_row(
            f"{step.offered:.2f}", f"{step.achieved:.2f}", *latencies, str(step.rejected), str(step.late)
        )
    return shown


def _shown(latency_ms: float | None) -> str:
    if latency_ms is None:
        return ""
    return "late" if math.isinf(latency_ms) else f"{latency_ms:.0f}"


def _curves(row: ServerRow, colour: str) -> list[Curve]:
    """Return the curves of p50 and p95 of a server, without the rates at which that percentile was late."""
    drawn = []
    for name, dashed in (("p50", False), ("p95", True)):
        points = [
            (step.offered, value)
            for step in row.steps
            if (value := _latency(step, name)) is not None and 0 < value < math.inf
        ]
        if points:
            drawn.append(Curve(f"{label_of(row)} {name}", points, colour, dashed))
    return drawn


def _latency(step: RateResult, name: str) -> float | None:
    return step.p50_ms if name == "p50" else step.p95_ms
