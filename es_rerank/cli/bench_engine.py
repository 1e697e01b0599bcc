"""``es-rerank bench engine``: compare this engine with others: same weights, same pairs, one machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..defaults import WINDOW
from ..engine.processor import cores
from ..errors import ModelError, SettingsError
from ..export import ExportOptions, export_model
from ..models.catalog import INT8_TEXTS
from ..research.bench.engine import ENGINE_ROUNDS, TIMED_CANDIDATES, TIMED_PAIRS, Contest, label
from ..research.bench.peers import PEERS, Peer
from ..research.bench.peers.environment import default_environments
from ..research.bench.workers import Lists
from ..research.evaluation.measures import mean, measures_by_query, run_of
from ..research.evaluation.packaged import packaged
from ..research.evaluation.topics import lacks, read_topics, the_split
from .bench_options import Plot, Threads, check_plot, steps
from .extras import check_evaluate
from .output import Json, print_json, stderr

if TYPE_CHECKING:
    from ..research.bench.collection_windows import CollectionWindows
    from ..research.bench.entrants import Exports

JUDGED_QUERIES = 100


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
    ] = ENGINE_ROUNDS,
    pairs: Annotated[
        int, typer.Option(min=20, max=100_000, help="Pairs of query and passage that are timed.")
    ] = TIMED_PAIRS,
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
    ] = JUDGED_QUERIES,
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
    from ..research.bench.collection_windows import timed_lists
    from ..research.bench.engine_report import EngineReport
    from ..research.bench.entrants import Systems
    from ..settings import BUNDLED_RERANKER
    from .bench_engine_tables import show_engine_report

    check_evaluate("the bench")
    check_plot(plot)
    chosen = [] if alone else _chosen(peers)
    joined_by = calibration or (BUNDLED_RERANKER if model is None else None)
    joins = None if joined_by is None else calibration_of(joined_by).coefficients().blend("bm25")
    collections = [read_windows(folder, split, window, queries) for folder in data or [packaged()]]
    lists, used = timed_lists(collections[0].every, pairs), threads or cores()
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch:
        systems = Systems(
            Path(scratch),
            _exports(model, Path(scratch)),
            chosen,
            threads=used,
            cache=cache or default_environments(),
            doing=lambda what: stderr.status(f"{what} ..."),
        )
        contest = Contest(systems.entrants(), lists, systems.reference(lists))
        _run(contest, rounds, [item for collection in collections for item in collection.judged])
        rows = contest.rows()
    report = EngineReport(rows, collections, lists, rounds, used, joins, on_our_grid=model is None)
    if plot is not None:
        plot.write_text(report.picture(), encoding="utf-8")
    print_json(report.as_json()) if as_json else show_engine_report(report)
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


def read_windows(folder: Path, split: str | None, window: int, queries: int) -> CollectionWindows:
    """Return a collection's queries with their BM25 windows, and say on stderr what it holds.

    The first ``queries`` queries of the split, by a hash of their ids, are reranked for nDCG@10. Raises
    SettingsError for a split that is not clear, SourceError for a collection that cannot be read.
    """
    from ..research.bench.collection_windows import CollectionWindows
    from ..research.bench.windows import windows

    topics = read_topics(folder, the_split(folder, split), limit=max(queries, 1))
    every = read_topics(folder, topics.split)
    if note := lacks(every):
        stderr.print(note, highlight=False, markup=False)
    stderr.print(
        f"{every.collection}: first stage by BM25 over {every.documents:,} documents", highlight=False
    )

    def judge(orders: Mapping[str, Sequence[str]]) -> float:
        run = {name: run_of(order) for name, order in orders.items()}
        return mean(measures_by_query(topics.qrels, run).values()).ndcg_at_10

    return CollectionWindows(
        topics.collection,
        topics.split,
        windows(folder, every.queries, max(window, TIMED_CANDIDATES)),
        list(topics.queries) if queries else [],
        window=window,
        judge=judge,
    )


def _exports(model: str | None, scratch: Path) -> Exports:
    """Export the model, without one the bundled weights, into folders of ``scratch``.

    Raises SettingsError for a model with two labels.
    """
    from ..research.bench.entrants import Exports
    from ..research.bench.weights import bundled_weights, source_folder

    torch = bundled_weights(scratch / "torch") if model is None else source_folder(model)
    texts = torch / INT8_TEXTS
    ours = ExportOptions(kind="cross-encoder", int8_texts=texts if texts.is_file() else None)
    with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
        manifest = export_model(str(torch), scratch / "ours", ours, say=_say)
        export_model(str(torch), scratch / "plain", ExportOptions(kind="cross-encoder", plain=True), say=_say)
    if manifest.cross_encoder is None or manifest.cross_encoder.labels != 1:
        raise SettingsError(
            f"{model} has two labels, and every peer makes a score from them in another way; give a "
            "model with one label"
        )
    return Exports(torch, scratch / "ours", scratch / "plain", manifest)


def _say(text: str) -> None:
    stderr.print(text, highlight=False)


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
