"""``es-rerank calibrate``: learn how logit and first-stage score together become a probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table

from ..errors import SettingsError
from ..settings import BUNDLED_EMBEDDER, read_settings
from ..types import FirstStageKind
from .extras import check_evaluate
from .output import Json, print_json, stderr, stdout

if TYPE_CHECKING:
    from ..research.training.calibration import Learned, Row
    from ..research.training.recipe import LabelledCollection

_LEFT_OUT = frozenset({"policyqa"})
"""Collections whose questions make no sense without their document: no user would search with them."""

_KINDS: tuple[FirstStageKind, ...] = get_args(FirstStageKind)


def calibrate(
    model: Annotated[
        Path, typer.Argument(help="Exported cross-encoder; its manifest gets the coefficients.")
    ],
    data: Annotated[Path, typer.Argument(help="Folder of collections in BEIR layout, one folder each.")],
    trained: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a training run; the queries that it learned from are left out.",
            show_default="nothing is left out",
        ),
    ] = None,
    spared: Annotated[
        bool,
        typer.Option(
            "--spared",
            help="Use only the tenth of the queries that a recipe with spare_tenth does not train on.",
        ),
    ] = False,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            help="Collection of the recipe to learn from; may be given several times.",
            show_default="all but policyqa",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="JSON file with a recipe, or the name of a built-in one. It names the queries to use."
        ),
    ] = "first",
    embedder: Annotated[
        list[str] | None,
        typer.Option(
            help="Embedding model of a first stage; may be given several times. The first one also chooses "
            "the passage that is read of a hit of BM25.",
            show_default=BUNDLED_EMBEDDER,
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_KINDS),
            help="Kind of first stage; may be given several times.",
            show_default="all",
        ),
    ] = None,
    first_stage_weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Weight of the standardised first-stage score, relative to the standard deviation of the "
            "logits, for every first stage. With it, this weight is not learned.",
            show_default="learned",
        ),
    ] = None,
    queries: Annotated[
        int, typer.Option(min=1, help="Use at most this many queries of each collection.")
    ] = 120,
    documents: Annotated[
        int,
        typer.Option(
            min=1,
            help="Search at most this many documents of each collection: those judged for its queries, and "
            "others that are drawn.",
        ),
    ] = 4_000,
    windows: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which windows and logits are kept, so that the same is fitted again in seconds.",
            show_default="nothing is kept",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn the calibrations of a cross-encoder, of a pair alone and blended with each first stage, from
    training splits. They take the place of those in its manifest.
    """
    check_evaluate("learning a calibration")
    from ..collection import held_out
    from ..models.load import load_embedder
    from ..models.local.cross_encoder import CrossEncoder
    from ..models.manifest import read_manifest, write_manifest
    from ..research.training.calibration import Plan, judged_windows, learn
    from ..research.training.calibration_kept import KeptWindows
    from ..research.training.recipes import read_recipe

    kinds, chosen = _kinds(first_stage), read_recipe(recipe)
    learned_from = {query for run in trained or () for query in _queries(run)}
    threads = read_settings().threads
    embedders = [
        load_embedder(name, threads=threads) for name in dict.fromkeys(embedder or [BUNDLED_EMBEDDER])
    ]
    _check_names([loaded.name for loaded in embedders])
    plan = Plan(_collections(collection, chosen.sources), kinds, queries, documents)
    with CrossEncoder(model, threads=threads) as reranker:
        found = judged_windows(
            chosen,
            data,
            lambda text: text not in learned_from and (not spared or held_out(text)),
            reranker,
            reranker.identity,
            embedders,
            plan,
            KeptWindows(windows),
            lambda text: stderr.print(text, style="dim", highlight=False),
        )
    for loaded in embedders:
        loaded.close()
    learned = learn(found, first_stage_weight)
    write_manifest(model, read_manifest(model).model_copy(update={"calibration": learned.record}))
    if as_json:
        print_json({"calibration": learned.record.model_dump(), "left_out": learned.rows})
        return
    _show(learned)


def _kinds(named: Sequence[str] | None) -> list[FirstStageKind]:
    if unknown := sorted(set(named or ()) - set(_KINDS)):
        raise SettingsError(
            f"--first-stage {', '.join(unknown)} is not a kind of first stage; choose of: {', '.join(_KINDS)}"
        )
    return [kind for kind in _KINDS if kind in (named or _KINDS)]


def _collections(named: Sequence[str] | None, sources: Sequence[LabelledCollection]) -> list[str]:
    known = [source.collection for source in sources]
    if unknown := sorted(set(named or ()) - set(known)):
        raise SettingsError(
            f"--collection {', '.join(unknown)} is not in the recipe; choose of: {', '.join(known)}, or name "
            "another --recipe"
        )
    return [name for name in known if (name in named if named else name not in _LEFT_OUT)]


def _check_names(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(
            f"--embedder: two models have the name {', '.join(twice)}, which is the key of their blend; give "
            "one of them"
        )


def _show(learned: Learned) -> None:
    from ..research.training.calibration_fit import MOST_HARM

    for stage in dict.fromkeys(row["first_stage"] for row in learned.rows):
        stdout.print(_table(stage, [row for row in learned.rows if row["first_stage"] == stage], MOST_HARM))
    for key, order in learned.orders.items():
        rule = "" if order.least_agreement is None else f", least agreement {order.least_agreement:g}"
        stdout.print(f"{key}: weight of the first stage {order.weight:g}{rule}", highlight=False)
    stdout.print(learned.record)


def _table(stage: str, rows: Sequence[Row], most_harm: float) -> Table:
    from ..research.training.calibration_windows import CALIBRATION_WINDOW

    shown = Table(
        "collection",
        "queries",
        "first stage",
        "cross-encoder",
        "blended",
        "gain",
        "ECE blended",
        "ECE pair",
        "left alone",
        "",
        title=f"{stage}: nDCG@10 within windows of {CALIBRATION_WINDOW}, blended by {rows[0]['by']}",
        caption="each collection by what the others teach",
    )
    for row in rows:
        harmed = row["blended_ndcg"] < row["first_stage_ndcg"] - most_harm
        shown.add_row(
            row["collection"],
            f"{row['queries']:,}",
            *(f"{number:.4f}" for number in _numbers(row)),
            f"{row['left_alone']:.0%}",
            "harmed" if harmed else "",
        )
    shown.add_section()
    means = (fmean(column) for column in zip(*map(_numbers, rows), strict=True))
    shown.add_row("mean", "", *(f"{number:.4f}" for number in means), "", "")
    return shown


def _numbers(row: Row) -> tuple[float, ...]:
    """Return nDCG@10 of first stage, model and blend, what is gained, and the two calibration errors."""
    first, alone, blended = row["first_stage_ndcg"], row["cross_encoder_ndcg"], row["blended_ndcg"]
    return first, alone, blended, blended - first, row["blend_error"], row["pair_error"]


def _queries(run: Path) -> set[str]:
    """Return the texts of the queries that a training run learned from.

    Queries of its development lists, and queries that it did not reach, are not among them.
    """
    from ..research.training.recipe import RECIPE_FILE
    from ..research.training.recipes import read_recipe
    from ..research.training.training_list import LISTS, WORK, is_of, learned_from, read_lists

    recipe, path = read_recipe(str(run / RECIPE_FILE)), run / WORK / LISTS
    made_by, lists = read_lists(path)
    if not is_of(made_by, recipe):
        raise SettingsError(
            f"{path} was made by another recipe than {run / RECIPE_FILE}; give a folder that es-rerank "
            "train wrote"
        )
    return {item.query_of_collection for item in learned_from(lists, recipe)}
