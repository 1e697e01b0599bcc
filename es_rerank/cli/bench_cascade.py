"""``es-rerank bench cascade``: what a cascade of two models costs and what it is worth, on collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.table import Table

from ..collection import read_corpus
from ..defaults import WINDOW
from ..errors import SettingsError
from ..extras import missing_extra
from ..research.evaluation.packaged import by_hash
from ..research.evaluation.topics import CollectionArgument, Topics, read_topics, the_split
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .bench_options import Threads, steps
from .extras import check_evaluate
from .output import Json, print_json, stdout

if TYPE_CHECKING:
    from ..models.manifest import Manifest
    from ..models.stand_in import StandIn
    from ..research.bench.cascade import CascadeWindow, Fit, Way
    from ..types import Blend, Calibration

QUERIES, DOCUMENTS, QUANTILE = 50, 5_000, 0.8

_COLLECTION = "DIR[:SPLIT[:held-out]]"


class _Collection(NamedTuple):
    """A collection's queries, and its windows."""

    topics: Topics
    windows: list[CascadeWindow]


def cascade(
    first: Annotated[
        str, typer.Argument(help="The cheap model: a folder or bundled name.", show_default=False)
    ],
    model: Annotated[
        str, typer.Argument(help="The better model: a folder or bundled name.")
    ] = BUNDLED_RERANKER,
    fit: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_COLLECTION,
            help="Collection in BEIR layout that FIRST is fitted on to say what to expect of MODEL; may be "
            "given several times. Take splits that nothing is judged by.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_COLLECTION,
            help="Collection to measure on; may be given several times.",
            show_default="those of --fit",
        ),
    ] = None,
    first_stage: Annotated[
        Literal["bm25", "knn"], typer.Option(help="What makes the windows, in memory.")
    ] = "bm25",
    embedder: Annotated[str, typer.Option(help="Embedder of --first-stage knn.")] = BUNDLED_EMBEDDER,
    window: Annotated[int, typer.Option(min=10, max=1_000, help="Documents of a window.")] = WINDOW,
    queries: Annotated[
        int, typer.Option(min=1, help="Most queries of each collection, drawn by a hash of their id.")
    ] = QUERIES,
    documents: Annotated[
        int,
        typer.Option(min=1, help="Documents that are searched: those judged for the queries, and others."),
    ] = DOCUMENTS,
    quantile: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="Share of passages that keep to the margin, for --write."),
    ] = QUANTILE,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write the fit into FIRST's manifest; cascade:topN+FIRST+MODEL needs it."
        ),
    ] = False,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Compare ways to read less of a window: multiply-adds and nDCG@10 of a smaller window, a cascade of two
    models and a window that ends by itself.
    """
    check_evaluate("the bench")
    from ..models.load import load_embedder, model_folder
    from ..models.local.cross_encoder import CrossEncoder
    from ..models.manifest import read_manifest, write_manifest
    from ..research.bench.cascade import by_itself, ways
    from ..research.bench.cascade import fit as fitted
    from ..research.bench.cascade_windows import ReadBy, cascade_windows

    if not fit:
        raise SettingsError("nothing to fit on; name a collection with --fit DIR:SPLIT")
    folders = model_folder(first), model_folder(model)
    manifests = tuple(read_manifest(folder, kind="cross-encoder") for folder in folders)
    named = list(dict.fromkeys([*fit, *(data or fit)]))
    read = {name: _topics(name, queries) for name in named}
    with ExitStack() as opened:
        models = [
            ReadBy(opened.enter_context(CrossEncoder(folder, threads=threads)), _operations(folder, manifest))
            for folder, manifest in zip(folders, manifests, strict=True)
        ]
        vectors = None
        if first_stage == "knn":
            vectors = opened.enter_context(load_embedder(embedder, threads=threads))
        with steps("scoring", sum(len(topics.queries) for _, topics in read.values())) as step:
            collections = {
                name: _Collection(
                    topics,
                    cascade_windows(
                        topics.queries,
                        _corpus(folder, topics, documents),
                        *models,
                        size=window,
                        embedder=vectors,
                        step=step,
                    ),
                )
                for name, (folder, topics) in read.items()
            }
        calibration = models[1].model.calibration
    kind: Literal["bm25", "dense"] = "bm25" if first_stage == "bm25" else "dense"
    known_by = None if vectors is None else vectors.name
    blend = None if calibration is None else calibration.blend(kind, known_by)
    found = fitted([one for name in fit for one in collections[name].windows])
    compared = ways(found, blend, manifests[0].coefficients(), calibration)
    shown = {name: collections[name] for name in data or fit}
    table = [
        {"way": way.name, **{name: _measured(way, each, calibration, blend) for name, each in shown.items()}}
        for way in compared
    ]
    chosen = by_itself(quantile, found.with_margin(quantile)[0], blend)
    on_fit = [_measured(chosen, collections[name], calibration, blend)["read"] for name in fit]
    stand_in = _stand_in(found, manifests[1], quantile, fmean(on_fit))
    if write:
        write_manifest(folders[0], manifests[0].model_copy(update={"stand_in": stand_in}))
    report = {
        "first": manifests[0].name,
        "model": manifests[1].name,
        "first_stage": first_stage,
        "window": window,
        "documents": documents,
        "stand_in": stand_in.model_dump(),
        "written": write,
        "collections": {name: len(collections[name].windows) for name in data or fit},
        "ways": table,
    }
    print_json(report) if as_json else _show(report)


def _measured(
    way: Way, collection: _Collection, calibration: Calibration | None, blend: Blend | None
) -> dict[str, float]:
    """Return what a way costs and is worth on a collection."""
    from ..research.bench.cascade import measured
    from ..research.evaluation.measures import mean, measures_by_query, run_of

    qrels = {window.query: collection.topics.qrels[window.query] for window in collection.windows}

    def judge(orders: Mapping[str, Sequence[str]]) -> float:
        run = {name: run_of(order) for name, order in orders.items()}
        return mean(measures_by_query(qrels, run).values()).ndcg_at_10

    found = measured(way, collection.windows, calibration, blend, judge)
    return {"cost": round(found.cost, 4), "read": round(found.read, 4), "ndcg@10": round(found.ndcg, 4)}


def _stand_in(found: Fit, better: Manifest, quantile: float, share: float) -> StandIn:
    """Return what the cheap model's manifest says of the better one."""
    from ..models.stand_in import PredictionRecord, StandIn

    joined, alone = (PredictionRecord(**each._asdict()) for each in found.with_margin(quantile))
    return StandIn(
        model=better.name,
        sha256=better.files[better.variant(None)].sha256,
        joined=joined,
        alone=alone,
        quantile=quantile,
        share=round(share, 4),
    )


def _show(report: dict[str, Any]) -> None:
    """Print a row for each way: its mean cost, and what it changes of the whole window's nDCG@10."""
    names = list(report["collections"])
    shown = Table("reads", box=None, pad_edge=False)
    for name in ("cost", "mean", *(Path(name).name for name in names)):
        shown.add_column(name, justify="right", no_wrap=True)
    whole = report["ways"][0]
    for number, row in enumerate(report["ways"]):
        values = [row[name]["ndcg@10"] - (whole[name]["ndcg@10"] if number else 0) for name in names]
        style = "{:+.4f}" if number else "{:.4f}"
        cost = fmean(row[name]["cost"] for name in names)
        shown.add_row(row["way"], f"{cost:.3f}", *(style.format(value) for value in (fmean(values), *values)))
    stdout.print(shown)
    fitted = report["stand_in"]
    stdout.print(
        f"{report['first']} before {report['model']}, {report['first_stage']}, windows of {report['window']} "
        f"of {report['documents']} documents. cost: multiply-adds as a share of the whole window's. nDCG@10 "
        "of the whole window in the first row, the difference from it below. The margin of "
        f"{fitted['joined']['margin']:.2f} is the one of {fitted['quantile']:g}, with which "
        f"{fitted['share']:.0%} of a window was read on the collections of the fit; "
        f"{'written to' if report['written'] else 'not written (--write) to'} {report['first']}.",
        highlight=False,
        soft_wrap=True,
    )


def _topics(name: str, queries: int) -> tuple[Path, Topics]:
    named = CollectionArgument.named(name)
    split = the_split(named.folder, named.split)
    return named.folder, read_topics(named.folder, split, limit=queries, only_held_out=named.held_out)


def _corpus(folder: Path, topics: Topics, documents: int) -> dict[str, str]:
    """Return the texts of the documents that are judged for the queries, and of others by a hash of their id,
    ``documents`` in all, or more if more are judged. The title of a document stands before its text.
    """
    judged = {name for grades in topics.qrels.values() for name in grades}
    corpus = {
        document.id: f"{document.title}\n{document.text}" if document.title else document.text
        for document in read_corpus(folder)
    }
    wanted = [name for name in corpus if name in judged]
    others = by_hash(name for name in corpus if name not in judged)
    return {name: corpus[name] for name in (*wanted, *others[: max(0, documents - len(wanted))])}


def _operations(folder: Path, manifest: Manifest) -> Any:  # noqa: ANN401 its module needs the extra
    try:
        from ..research.bench.operations import operations_of
    except ImportError as error:
        raise missing_extra(f"counting needs {error.name}, which is not installed", "export") from error
    return operations_of(folder / manifest.variant(None))
