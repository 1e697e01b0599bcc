"""``es-rerank bench load``: measure latency under load of the sidecar and of infinity's server."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..collection import read_queries
from ..engine.processor import cores
from ..errors import ModelError, SettingsError
from ..export import ExportOptions, export_model
from ..models.local.cross_encoder import CrossEncoder
from ..models.manifest import MANIFEST, Precision, read_manifest
from ..research.bench.engine import label
from ..research.bench.load import RateResult
from ..research.bench.machine import machine
from ..research.bench.peers import System
from ..research.bench.peers.environment import default_environments, installed
from ..research.bench.servers import INFINITY, Server, in_precision, start_infinity, start_sidecar
from ..research.bench.under_load import (
    CAPACITY_SHARES,
    LATE_AFTER_S,
    REQUESTS,
    SERVER_BATCH_SIZES,
    Contender,
    ServerRow,
    UnderLoad,
    reference,
)
from ..research.bench.workers import Lists, ScoreArray
from ..research.evaluation.packaged import by_hash, packaged
from ..research.plots.curves import COLOURS, Curve, Panel, curves
from .bench_options import Plot, Threads, check_plot, steps
from .extras import check_evaluate
from .output import Json, print_json, stderr, stdout

REQUEST_WINDOW = 20

_MOST_QUERIES = 2_000
"""Most queries of a collection that are read, drawn by a hash of their id."""

_CAPTION = (
    "Poisson arrivals, the same for every server. Latency in milliseconds, from the moment when a request "
    "was "
    "due, so that waiting counts. Percentiles over all requests except rejected ones; a late request had no "
    "answer within {timeout:g} s. Above its capacity, the latencies of a server grow as long as the load "
    "lasts. The bench sends from the same machine."
)


def load(
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
    threads: Threads = 0,
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
    requests at the same times.
    """
    check_evaluate("the bench")
    check_plot(plot)
    if wrong := [rate for rate in rates or () if not 0 < rate < math.inf]:
        raise SettingsError(f"--rates {wrong[0]:g} is not a rate; give requests per second above 0")
    asked = _requests(data or packaged(), window, requests)
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch:
        setting = _Setting(Path(scratch), threads or cores(), model, timeout, alone=alone)
        contest = UnderLoad(
            setting.contenders(cache or default_environments()),
            asked,
            setting.expected(asked),
            timeout_s=timeout,
        )
        with contest:
            with steps("trying", contest.preparations()) as step:
                contest.prepare(step)
            with steps("timing", len(rates or CAPACITY_SHARES) * len(contest.rows)) as step:
                contest.time(step, rates=rates)
    report = _Report(
        contest.rows, {"requests": requests, "window": window, "timeout_s": timeout}, setting.threads
    )
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else report.show()
    if failed := [
        f"{_label(row)} {row.reason}"
        for row in contest.rows
        if row.contender.system.peer is None and row.reason is not None
    ]:
        raise ModelError(f"the sidecar itself could not be measured: {'; '.join(failed)}")


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


class _Setting:
    """Model folders of the same weights, and the servers over them."""

    def __init__(
        self, scratch: Path, threads: int, model: str | None, timeout_s: float, *, alone: bool
    ) -> None:
        from ..models.load import model_folder
        from ..research.bench.weights import bundled_weights, source_folder
        from ..settings import BUNDLED_RERANKER

        self.threads = threads
        self._scratch, self._timeout_s = scratch, timeout_s
        self._torch: Path | None = None
        if model is not None and (Path(model) / MANIFEST).is_file():
            self._exported = Path(model)
        elif model is None and alone:
            self._exported = model_folder(BUNDLED_RERANKER)
        else:
            torch = bundled_weights(scratch / "torch") if model is None else source_folder(model)
            self._exported, self._torch = scratch / "ours", None if alone else torch
            with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
                export_model(
                    str(torch),
                    self._exported,
                    ExportOptions(kind="cross-encoder"),
                    say=partial(stderr.print, highlight=False),
                )
        self._precisions: list[Precision] = sorted(read_manifest(self._exported).variants, reverse=True)

    def contenders(self, cache: Path) -> list[Contender]:
        """Return the sidecar in every precision of the folder, and infinity's server when there is a torch
        folder.
        """
        mine = version("es-rerank")
        contenders = [
            Contender(
                System("es-rerank sidecar", precision, None, "sidecar", "ours", batches=False),
                mine,
                partial(self._sidecar, precision),
            )
            for precision in self._precisions
        ]
        if self._torch is not None:
            system = System("infinity server, torch", "fp32", INFINITY.name, "infinity", "torch")
            contenders.append(
                Contender(
                    system, INFINITY.version, partial(self._infinity, self._torch, cache), SERVER_BATCH_SIZES
                )
            )
        return contenders

    def expected(self, requests: Lists) -> list[ScoreArray] | None:
        """Return this engine's fp32 logits of the first requests; None when there is no fp32 graph.

        The export has compared these logits with torch's.
        """
        if "fp32" not in self._precisions:
            return None
        with CrossEncoder(self._exported, threads=self.threads, variant="fp32") as model:
            return reference(lambda query, texts: model.score(query, texts).values, requests)

    def _sidecar(self, precision: Precision, _: int | None) -> Server:
        folder = self._scratch / f"served-{precision}"
        return start_sidecar(
            in_precision(self._exported, precision, folder),
            self._scratch,
            threads=self.threads,
            timeout_s=self._timeout_s,
        )

    def _infinity(self, torch: Path, cache: Path, batch: int | None) -> Server:
        assert batch is not None
        with _doing(f"installing {INFINITY.pinned}"):
            python = installed(INFINITY, cache)
        return start_infinity(python, torch.resolve(), self._scratch, threads=self.threads, batch=batch)


@contextmanager
def _doing(what: str) -> Iterator[None]:
    with stderr.status(f"{what} ..."):
        yield


class _Report:
    """The rows, and the machine they were measured on. ``about`` holds the options of the run."""

    def __init__(self, rows: Sequence[ServerRow], about: dict[str, int | float], threads: int) -> None:
        self._rows, self._about = rows, about
        self._machine = {
            **{name: value for name, value in machine("").items() if name != "elasticsearch"},
            "threads": threads,
        }

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
                    f"{_label(row)}{batch}: capacity {row.capacity:.1f} requests/s",
                    highlight=False,
                    soft_wrap=True,
                )
                stdout.print(_table(row))
        stdout.print(_CAPTION.format(timeout=self._about["timeout_s"]), highlight=False, soft_wrap=True)
        for row in self._rows:
            if row.reason is not None:
                stdout.print(
                    f"not measured: {_label(row)} {row.contender.version}: {row.reason}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

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


def _label(row: ServerRow) -> str:
    return label(row.contender.system)


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
            drawn.append(Curve(f"{_label(row)} {name}", points, colour, dashed))
    return drawn


def _latency(step: RateResult, name: str) -> float | None:
    return step.p50_ms if name == "p50" else step.p95_ms
