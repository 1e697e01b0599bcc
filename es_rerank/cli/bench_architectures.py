"""``es-rerank bench architectures``: the speed of published architectures, with random weights."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..collection import read_queries
from ..engine.processor import cores
from ..errors import MissingExtraError, ModelError, SettingsError
from ..export import ExportOptions, export_model
from ..research.bench.architectures import (
    ARCHITECTURE_PEER,
    ARCHITECTURE_ROUNDS,
    ArchitectureReport,
    Cell,
    NotMeasured,
    failures,
    heading,
    pairs_for,
    versions,
)
from ..research.bench.engine import Contest, SystemRow, label
from ..research.bench.peers import PEERS, Peer
from ..research.bench.peers.environment import default_environments, installed
from ..research.bench.random_weights import ARCHITECTURES, Architecture
from ..research.bench.workers import WorkerError
from ..research.evaluation.packaged import packaged
from .bench_options import Plot, Threads, check_plot, steps
from .extras import check_evaluate
from .output import Json, print_json, stderr, stdout

if TYPE_CHECKING:
    from ..research.bench.entrants import Exports, Systems
    from ..research.bench.text_lengths import Timed
    from ..research.bench.windows import Candidates

_QUERIES = 60
"""Queries of the packaged collection whose passages are read; more than any default number of pairs needs."""

_FITTED_TO = 40
"""Short pairs that int8 is fitted to: random weights have no texts of their own."""

_LEAST_CORRELATION = 0.6
"""Smallest correlation of int8 scores with torch's. It is lower than for trained weights, because few long
pairs have nearly the same score under random weights; a system that reads other tokens is near 0.
"""

_CAPTION = (
    "batch: the peer's fastest batch size; pairs/s: median over the rounds; x fp32 peer: speed divided by "
    "that of the fastest fp32 peer in the same round, median and 95 % interval; difference: the largest from "
    "torch, in logits. The weights are random, which changes no speed. Everything ran on the CPU: no GPU was "
    "timed."
)


def architectures(
    architecture: Annotated[
        list[str] | None,
        typer.Option(
            help="Architecture to measure, one of: "
            f"{', '.join(sizes.name for sizes in ARCHITECTURES)}; may be given several times.",
            show_default="all",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000, help="How often every system scores all pairs.")
    ] = ARCHITECTURE_ROUNDS,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=4,
            max=1_000,
            help="Pairs of query and passage that are timed, of each length.",
            show_default="by the size of the model",
        ),
    ] = None,
    threads: Threads = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the peer's environment is kept.", show_default="~/.cache/es-rerank/bench"),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare this engine with sentence-transformers on published architectures with random weights, on short
    and on long passages: rounds interleaved, nothing fetched.
    """
    check_evaluate("the bench")
    check_plot(plot)
    chosen, used = _chosen(architecture), threads or cores()
    kept = cache or default_environments()
    cells: list[Cell] = []
    failed: list[NotMeasured] = []
    candidates = _candidates()
    for sizes in chosen:
        try:
            cells += _measured(sizes, candidates, rounds, pairs, used, kept)
        except MissingExtraError:
            raise
        except ModelError as error:
            failed.append(NotMeasured(sizes, str(error)))
    report = ArchitectureReport(cells, failed, rounds, used, _versions(kept))
    print_json(report.as_json()) if as_json else _show(report)  # first: a picture may fail after minutes
    if plot is not None and cells:
        plot.write_text(report.picture(), encoding="utf-8")
    if missing := failures(report):
        raise ModelError(f"this engine itself could not be measured: {'; '.join(missing)}")


def _chosen(names: list[str] | None) -> list[Architecture]:
    known = {sizes.name: sizes for sizes in ARCHITECTURES}
    if unknown := sorted(set(names or ()) - set(known)):
        raise SettingsError(
            f"--architecture {', '.join(unknown)} is not a known architecture; choose one of: "
            f"{', '.join(known)}"
        )
    return [sizes for sizes in ARCHITECTURES if names is None or sizes.name in names]


def _candidates() -> list[Candidates]:
    from ..research.bench.windows import windows

    queries = dict(islice(read_queries(packaged()).items(), _QUERIES))
    return list(windows(packaged(), queries, 100).values())


def _peer() -> Sequence[Peer]:
    return [peer for peer in PEERS if peer.name == ARCHITECTURE_PEER]


def _measured(
    sizes: Architecture,
    candidates: Sequence[Candidates],
    rounds: int,
    pairs: int | None,
    threads: int,
    cache: Path,
) -> list[Cell]:
    from ..research.bench.entrants import Systems
    from ..research.bench.text_lengths import LENGTHS, timed

    texts = [timed(candidates, length, pairs or pairs_for(sizes, length)) for length in LENGTHS]
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch:
        systems = Systems(
            Path(scratch),
            _exports(sizes, candidates, Path(scratch)),
            _peer(),
            threads=threads,
            cache=cache,
            doing=partial(_doing, sizes.name),
        )
        return [Cell(sizes, timed, _rows(systems, sizes, timed, rounds)) for timed in texts]


def _exports(sizes: Architecture, candidates: Sequence[Candidates], scratch: Path) -> Exports:
    """Write the torch folder and its export, with int8 fitted to short pairs."""
    from ..research.bench.entrants import Exports
    from ..research.bench.random_weights import random_folder
    from ..research.bench.text_lengths import timed

    with _doing(sizes.name, "exporting"), redirect_stdout(sys.stderr):  # torch and optimum print to stdout
        torch, texts = random_folder(sizes, scratch / "torch"), scratch / "texts.jsonl"
        lists = timed(candidates, "short", _FITTED_TO).lists
        texts.write_text(
            "".join(json.dumps({"query": query, "passages": passages}) + "\n" for query, passages in lists),
            encoding="utf-8",
        )
        options = ExportOptions(kind="cross-encoder", int8_texts=texts)
        manifest = export_model(str(torch), scratch / "ours", options)
    return Exports(torch, scratch / "ours", None, manifest)


def _doing(name: str, what: str) -> AbstractContextManager[object]:
    return stderr.status(f"{name}: {what} ...")


def _rows(systems: Systems, sizes: Architecture, timed: Timed, rounds: int) -> Sequence[SystemRow]:
    entrants = [entrant for entrant in systems.entrants() if not entrant.system.remembers]
    name = f"{sizes.name}, {timed.length}:"
    contest = Contest(
        entrants,
        timed.lists,
        systems.reference(timed.lists),
        tries=1,
        restart=False,
        least_correlation=_LEAST_CORRELATION,
    )
    with contest:
        with steps(f"{name} trying", contest.systems) as step:
            contest.prepare(step)
        with steps(f"{name} timing", contest.systems * rounds) as step:
            contest.time(rounds, step)
    return contest.rows()


def _versions(cache: Path) -> dict[str, str]:
    (peer,) = _peer()
    try:
        return versions(peer, installed(peer, cache))
    except WorkerError:  # said in the peer's rows
        return versions(peer, None)


def _show(report: ArchitectureReport) -> None:
    about = report.as_json()["machine"]
    has = ", ".join(name.upper() for name in ("vnni", "amx", "avx512") if about[name]) or "no VNNI, no AMX"
    stdout.print(f"{about['cpu']} ({has}), {report.threads} threads, {report.rounds} rounds", highlight=False)
    for cell in report.cells:
        _show_cell(cell)
    stdout.print(_CAPTION, highlight=False, soft_wrap=True)
    for missing in report.not_measured:
        _say(f"not measured: {missing.sizes.name}: {missing.reason}")
    for cell in report.cells:
        for row in cell.rows:
            if row.reason is not None:
                _say(f"not measured: {heading(cell)}: {label(row.system)} {row.version}: {row.reason}")


def _show_cell(cell: Cell) -> None:
    title = f"{heading(cell)} ({cell.timed.tokens[1]}-{cell.timed.tokens[2]}), {cell.timed.pairs} pairs"
    shown = Table("", title=title, title_justify="left", box=None, pad_edge=False)
    columns: dict[str, Callable[[SystemRow], str]] = {
        "batch": lambda row: str(row.batch) if row.system.batches else "",
        "pairs/s": lambda row: f"{row.pairs_per_second or 0:.1f}",
        "min-max": lambda row: f"{row.low or 0:.1f}-{row.high or 0:.1f}",
        "x fp32 peer": _ratio,
        "difference": lambda row: f"{row.largest_difference or 0:.0e}",
    }
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for row in cell.rows:
        if row.reason is None:
            shown.add_row(label(row.system), *(of(row) for of in columns.values()))
    stdout.print(shown)


def _ratio(row: SystemRow) -> str:
    ratio = row.ratio
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _say(text: str) -> None:
    stdout.print(text, highlight=False, markup=False, soft_wrap=True)
