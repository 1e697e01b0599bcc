"""``es-rerank bench engine``: compare this engine with others: same weights, same pairs, one machine."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ..engine.pool import cores
from ..errors import ModelError, SettingsError
from ..export import ExportOptions, export_model
from ..export.source import exit_layers
from ..models.catalog import INT8_TEXTS
from ..research.bench import peers as table
from ..research.bench.engine import CANDIDATES, PAIRS, ROUNDS, Contest, Entrant, Row, label
from ..research.bench.machine import machine
from ..research.bench.paired import Added
from ..research.bench.peers import PEERS, SYSTEMS, Peer, System, Weights
from ..research.bench.peers.environment import default_cache, installed, variables
from ..research.bench.workers import Lists, Values, Worker, WorkerError
from ..research.evaluation.measures import mean, measured, run_of
from ..research.evaluation.packaged import packaged
from ..research.evaluation.topics import Topics, lacks, read_topics, the_split
from ..research.plots.bars import BEFORE, OURS, Bar, chart
from ..retrievers.ranking.rerank import calibrated
from ..scores import ranked
from ..types import Calibration
from .bench_options import Plot, Threads, check_plot, end_on_sigterm, steps
from .extras import check_evaluate
from .output import Json, print_json, stderr, stdout

if TYPE_CHECKING:
    from ..research.bench.windows import Candidates

WINDOW = 50
QUERIES = 100

_WORKER = Path(table.__file__).with_name("worker.py")
_SETUP_TIMEOUT_S = 900.0
_CAPTION = (
    "x fp32 peer: speed divided by that of the fastest fp32 peer in the same round, median and 95 % "
    "interval; x any peer: the same with peers of any precision. MB: peak memory. difference: the largest "
    "from torch, in logits (FlashRank: in probabilities). nDCG@10: order by the model alone; joined: with "
    "the first stage's score, by --calibration. All fp32 systems have the same nDCG@10, because their scores "
    "agree."
)
_ON_OUR_GRID = (
    "The weights are those of the bundled int8 graph, converted to fp32. So es-rerank's own int8 rounds only "
    "activations here, not weights. Give MODEL to measure what int8 costs in quality."
)


def engine(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Local folder or Hub id of a torch cross-encoder with one label.",
            show_default="the bundled one's weights",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Collection in BEIR layout; may be given several times: speed is measured on the first one, "
            "nDCG@10 on all.",
            show_default="the packaged one",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split whose qrels are used.", show_default="the only one")
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Peer to measure, one of: {', '.join(peer.name for peer in PEERS)}.", show_default="all"
        ),
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Measure only this engine, without peers.")] = False,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000, help="How often every system scores all pairs.")
    ] = ROUNDS,
    pairs: Annotated[
        int, typer.Option(min=20, max=100_000, help="Pairs of query and passage that are timed.")
    ] = PAIRS,
    threads: Threads = 0,
    window: Annotated[
        int, typer.Option(min=1, max=1_000, help="First-stage hits that are reranked for nDCG@10.")
    ] = WINDOW,
    queries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Queries of each collection for nDCG@10, drawn by a hash of their id; 0 skips nDCG@10.",
        ),
    ] = QUERIES,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Exported model whose calibration combines the first-stage score with the model's, to give "
            "the order of a search.",
            show_default="the bundled model's; none with MODEL",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the peers' environments are kept.", show_default="~/.cache/es-rerank/bench"),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare this engine's speed with other engines: same weights and pairs, each system in its own
    environment and process, rounds interleaved.
    """
    from ..models.load import calibration_of
    from ..settings import BUNDLED_RERANKER

    check_evaluate("the bench")
    end_on_sigterm()
    check_plot(plot)
    chosen = [] if alone else _chosen(peers)
    joined_by = calibration or (BUNDLED_RERANKER if model is None else None)
    joins = None if joined_by is None else calibration_of(joined_by).coefficients()
    collections = [_Collection(folder, split, window, queries) for folder in data or [packaged()]]
    lists = _timed_lists(collections[0].every, pairs)
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch:
        setting = _Setting(Path(scratch), threads or cores(), model, chosen, cache or default_cache())
        contest = Contest(setting.entrants(), lists, setting.reference(lists))
        _run(contest, rounds, [item for collection in collections for item in collection.judged])
        rows = contest.rows()
    report = _Report(rows, collections, lists, rounds, setting.threads, joins, on_our_grid=model is None)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else report.show()
    if failed := [
        f"{label(row.system)} {row.reason}"
        for row in rows
        if row.system.peer is None and row.reason is not None
    ]:
        raise ModelError(f"this engine itself could not be measured: {'; '.join(failed)}")


def _chosen(names: list[str] | None) -> list[Peer]:
    known = {peer.name: peer for peer in PEERS}
    if unknown := sorted(set(names or ()) - set(known)):
        raise SettingsError(
            f"--peers {', '.join(unknown)} is not a known peer; choose one of: {', '.join(known)}"
        )
    return [peer for peer in PEERS if names is None or peer.name in names]


# --- texts --------------------------------------------------------------------------------------------------


class _Collection:
    """A collection's queries with their BM25 windows.

    ``every`` holds all queries, for speed; ``judged`` holds those that are reranked for nDCG@10.
    """

    def __init__(self, folder: Path, split: str | None, window: int, queries: int) -> None:
        from ..research.bench.windows import windows

        self.window = window
        self.topics: Topics = read_topics(folder, the_split(folder, split), limit=max(queries, 1))
        every = read_topics(folder, self.topics.split)
        if note := lacks(every):
            stderr.print(note, highlight=False, markup=False)
        stderr.print(
            f"{every.collection}: first stage by BM25 over {every.documents:,} documents", highlight=False
        )
        self._windows = windows(folder, every.queries, max(window, CANDIDATES))
        self._wanted = bool(queries)

    @property
    def every(self) -> list[Candidates]:
        """All queries with at least one candidate, ordered by a hash of their id."""
        return list(self._windows.values())

    @property
    def judged(self) -> list[tuple[str, list[str]]]:
        """The queries and passages that are reranked for nDCG@10; empty when nDCG@10 is not measured."""
        return [(asked.query, asked.texts[: self.window]) for asked in self._asked().values()]

    def ndcg(self, scores: Values | None = None, calibration: Calibration | None = None) -> float | None:
        """Return mean nDCG@10 of the windows ordered by ``scores``, one for each text of ``judged``; without
        scores, of the first stage.

        With ``calibration`` they are ordered as a search orders them, by the model's scores together with the
        first stage's.
        """
        if not self._wanted:
            return None
        run = {name: run_of([]) for name in self.topics.queries}
        start = 0
        for name, candidates in self._asked().items():
            documents = candidates.documents[: self.window]
            order: Sequence[int] = range(len(documents))
            if scores is not None:
                logits = scores[start : start + len(documents)].astype(np.float32)
                order = ranked(calibrated(logits, candidates.scores[: self.window], calibration))
            reranked = [documents[position] for position in order]
            run[name] = run_of(reranked + candidates.documents[self.window :])
            start += len(documents)
        return round(mean(measured(self.topics.qrels, run).values()).ndcg_at_10, 4)

    def texts(self) -> int:
        """Return the number of texts in ``judged``."""
        return sum(len(texts) for _, texts in self.judged)

    def _asked(self) -> dict[str, Candidates]:
        return (
            {name: self._windows[name] for name in self.topics.queries if name in self._windows}
            if self._wanted
            else {}
        )


def _timed_lists(candidates: Sequence[Candidates], pairs: int) -> Lists:
    """Return exactly ``pairs`` pairs: query by query, each with its best passages.

    Raises SettingsError when there are fewer.
    """
    lists: list[tuple[str, list[str]]] = []
    left = pairs
    for asked in candidates:
        texts = asked.texts[: min(CANDIDATES, left)]
        lists.append((asked.query, texts))
        left -= len(texts)
        if not left:
            return lists
    raise SettingsError(
        f"--pairs {pairs} is more than the {pairs - left} pairs that the collection gives; choose fewer, or "
        "a larger collection with --data"
    )


# --- systems ------------------------------------------------------------------------------------------------


class _Setting:
    """What all systems need before they start: folders of the same weights, and Python environments."""

    def __init__(
        self, scratch: Path, threads: int, model: str | None, peers: Sequence[Peer], cache: Path
    ) -> None:
        from ..research.bench.weights import bundled_weights, flat_folder, source_folder

        self.threads = threads
        self._scratch, self._peers = scratch, peers
        torch = bundled_weights(scratch / "torch") if model is None else source_folder(model)
        with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
            texts = torch / INT8_TEXTS
            ours = ExportOptions(kind="cross-encoder", int8_texts=texts if texts.is_file() else None)
            manifest = export_model(str(torch), scratch / "ours", ours, say=_say)
            export_model(
                str(torch), scratch / "plain", ExportOptions(kind="cross-encoder", plain=True), say=_say
            )
            self._exits = {layer: scratch / f"exit-{layer}" for layer in exit_layers(torch)}
            for layer, folder in self._exits.items():
                export_model(str(torch), folder, replace(ours, exit_layer=layer), say=_say)
        if manifest.cross_encoder is None or manifest.cross_encoder.labels != 1:
            raise SettingsError(
                f"{model} has two labels, and every peer makes a score from them in another way; give a "
                "model with one label"
            )
        self._max_length = manifest.max_length
        self._folders: dict[Weights, Path] = {
            "torch": torch,
            "ours": scratch / "ours",
            "optimum": scratch / "optimum",
        }
        self._folders |= {
            "flat": flat_folder(torch, scratch / "plain" / manifest.variant("fp32"), scratch / "flat")
        }
        self._folders |= {
            "flat int8": flat_folder(
                torch, scratch / "plain" / manifest.variant("int8"), scratch / "flat-int8"
            )
        }
        self._pythons = {
            peer.name: _tried(partial(installed, peer, cache), f"installing {peer.pinned}") for peer in peers
        }
        self._exported = (
            _tried(self._export, "exporting with sentence-transformers")
            if "sentence-transformers" in self._pythons
            else None
        )

    def reference(self, lists: Lists) -> Values:
        """Return torch's logits. Raises ModelError when torch gives none."""
        try:
            with _doing("torch's own scores"), self._start(table.REFERENCE) as worker:
                return worker.score(lists, 1).scores
        except WorkerError as error:
            raise ModelError(
                f"torch could not compute the scores that all other systems are compared with: {error}"
            ) from error

    def entrants(self) -> list[Entrant]:
        """Return this project's systems and those of the chosen peers."""
        versions = {peer.name: peer.version for peer in self._peers}
        mine = version("es-rerank")
        return [
            Entrant(
                system, mine if system.peer is None else versions[system.peer], partial(self._start, system)
            )
            for system in (
                *SYSTEMS,
                *(table.early_exit_system(layer, share) for layer in self._exits for share in table.SHARES),
            )
            if system.peer is None or system.peer in versions
        ]

    def _export(self) -> Path:
        self._start(
            table.EXPORT,
            "sentence-transformers",
            timeout_s=_SETUP_TIMEOUT_S,
            out=str(self._folders["optimum"]),
        ).close()
        return self._folders["optimum"]

    def _start(
        self, system: System, environment: str | None = None, *, timeout_s: float = 300.0, out: str = ""
    ) -> Worker:
        peer = environment or system.peer
        python = Path(sys.executable) if peer is None else _or_raise(self._pythons[peer])
        if system.weights == "optimum":
            _or_raise(self._exported)
        folder = str(self._folders[system.weights].resolve())
        if system.exit_layer is not None:
            from ..models.load import EARLY_EXIT

            folder = f"{EARLY_EXIT}{system.share}+{self._exits[system.exit_layer].resolve()}"
        task = {
            "system": system.worker,
            "folder": folder,
            "threads": self.threads,
            "max_length": self._max_length,
            "out": out,
        }
        # -P: do not import from the worker's own folder.
        command = [str(python), "-P", str(_WORKER), json.dumps(task)]
        return Worker(
            command,
            self._scratch / f"{system.worker}.log",
            env=variables(self._scratch, own=peer is None),
            load_timeout_s=timeout_s,
        )


def _tried(make: Callable[[], Path], what: str) -> Path | WorkerError:
    """Return the path that ``make`` made, or its error: the error becomes a row, and the other systems are
    measured.
    """
    try:
        with _doing(what):
            return make()
    except WorkerError as error:
        return error


def _or_raise(made: Path | WorkerError | None) -> Path:
    if isinstance(made, WorkerError):
        raise made
    assert made is not None  # only systems of a chosen peer ask for it
    return made


def _say(text: str) -> None:
    stderr.print(text, highlight=False)


@contextmanager
def _doing(what: str) -> Iterator[None]:
    with stderr.status(f"{what} ..."):
        yield


# --- the run ------------------------------------------------------------------------------------------------


def _run(contest: Contest, rounds: int, judged: Lists) -> None:
    """Run the parts of the contest, each with a progress bar on stderr; no thread draws it while something is
    timed.
    """
    with contest:
        with steps("trying", contest.systems) as step:
            contest.prepare(step)
        with steps("timing", contest.systems * rounds) as step:
            contest.time(rounds, step)
        with steps("ranking", contest.rank_steps(judged)) as step:
            contest.rank(judged, step)


# --- output -------------------------------------------------------------------------------------------------


class _Report:
    """The rows, their nDCG@10 on every collection, and what they were measured on."""

    def __init__(
        self,
        rows: Sequence[Row],
        collections: Sequence[_Collection],
        lists: Lists,
        rounds: int,
        threads: int,
        joins: Calibration | None,
        *,
        on_our_grid: bool,
    ) -> None:
        self._rows, self._collections, self._rounds, self._threads, self._on_our_grid = (
            rows,
            collections,
            rounds,
            threads,
            on_our_grid,
        )
        self._pairs = sum(len(texts) for _, texts in lists)
        self._machine = {name: value for name, value in machine("").items() if name != "elasticsearch"}
        self._ndcg = {label(row.system): self._by_collection(row) for row in rows}
        self._joined = {
            label(row.system): self._by_collection(row, joins)
            if joins and row.system.scale == "logit"
            else {}
            for row in rows
        }

    def _by_collection(self, row: Row, calibration: Calibration | None = None) -> dict[str, float]:
        by_collection: dict[str, float] = {}
        start = 0
        for collection in self._collections:
            end = start + collection.texts()
            if (
                row.ranked is not None
                and (value := collection.ndcg(row.ranked[start:end], calibration)) is not None
            ):
                by_collection[collection.topics.collection] = value
            start = end
        return by_collection

    def as_json(self) -> dict[str, Any]:
        """Return the report with the documented keys of ``--json``."""
        systems = []
        for row in self._rows:
            ndcg = self._ndcg[label(row.system)]
            joined = self._joined[label(row.system)]
            quality = {"ndcg@10": _mean(ndcg), "ndcg@10_by_collection": ndcg, "ndcg@10_by": row.ranked_by}
            quality |= {"ndcg@10_joined": _mean(joined), "ndcg@10_joined_by_collection": joined}
            systems.append({**row.as_json(), **quality})
        return {
            "machine": {**self._machine, "threads": self._threads},
            "pairs": self._pairs,
            "rounds": self._rounds,
            "weights_on_int8_grid": self._on_our_grid,
            "collections": [self._collection(collection) for collection in self._collections],
            "systems": systems,
        }

    def _collection(self, collection: _Collection) -> dict[str, Any]:
        topics, judged = collection.topics, len(collection.judged)
        return {
            "name": topics.collection,
            "split": topics.split,
            "queries": len(topics.queries) if judged else 0,
            "window": collection.window,
            "first_stage": {"ndcg@10": collection.ndcg()},
        }

    def show(self) -> None:
        """Print the tables, what could not be measured, and the captions that explain the columns."""
        done = [row for row in self._rows if row.reason is None]
        title = (
            f"{self._pairs} pairs, {self._rounds} rounds; {self._machine['cpu']}, {self._threads} threads, "
            f"Python {self._machine['python']}"
        )
        _print_table(
            title,
            ("batch", "pairs/s", "min-max", "x fp32 peer"),
            [(label(row.system), _speed(row)) for row in done],
        )
        _print_table(
            "",
            ("x any peer", "nDCG@10", "MB", "difference"),
            [(label(row.system), self._quality(row)) for row in done],
        )
        if joined := [
            (name, [f"{value:.4f}"])
            for name, by_collection in self._joined.items()
            if (value := _mean(by_collection)) is not None
        ]:
            _print_table("", ("nDCG@10, joined",), joined)
        stdout.print(_CAPTION, highlight=False, soft_wrap=True)
        for collection in self._collections:
            if collection.judged:
                topics = collection.topics
                stdout.print(
                    f"nDCG@10 of {topics.collection}: first stage (BM25) {collection.ndcg():.4f}, "
                    f"{len(topics.queries)} queries, window {collection.window}",
                    highlight=False,
                    soft_wrap=True,
                )
        for row in self._rows:
            if row.reason is not None:
                stdout.print(
                    f"not measured: {label(row.system)} {row.version}: {row.reason}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
        if self._on_our_grid:
            stdout.print(_ON_OUR_GRID, highlight=False, soft_wrap=True)

    def _quality(self, row: Row) -> list[str]:
        ndcg = _mean(self._ndcg[label(row.system)])
        return [
            _interval(row.ratio_any),
            "" if ndcg is None else f"{ndcg:.4f}",
            f"{row.peak_rss_mb or 0:.0f}",
            f"{row.largest_difference or 0:.1e}",
        ]

    def picture(self) -> str:
        """Return the speeds as SVG. Raises ModelError when nothing was measured."""
        bars = [
            Bar(
                label(row.system),
                row.pairs_per_second,
                row.low or 0.0,
                row.high or 0.0,
                OURS if row.system.peer is None else BEFORE,
            )
            for row in self._rows
            if row.pairs_per_second is not None and not row.system.remembers
        ]
        if not bars:
            raise ModelError("no system could be measured, so there is nothing to draw")
        return chart(f"pairs per second, {self._machine['cpu']}, {self._threads} threads", bars)


def _print_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> None:
    shown = Table("", title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for name, cells in rows:
        shown.add_row(name, *cells)
    stdout.print(shown)


def _speed(row: Row) -> list[str]:
    return [
        str(row.batch),
        f"{row.pairs_per_second or 0:.1f}",
        f"{row.low or 0:.0f}-{row.high or 0:.0f}",
        _interval(row.ratio),
    ]


def _interval(ratio: Added | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _mean(values: Mapping[str, float]) -> float | None:
    return round(fmean(values.values()), 4) if values else None
