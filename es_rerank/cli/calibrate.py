"""``es-rerank calibrate``: learn how logit and first-stage score together become a probability."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import SettingsError
from ..settings import BUNDLED_EMBEDDER
from .extras import check_evaluate
from .output import Json, print_json, stderr, stdout

if TYPE_CHECKING:
    from ..research.training.calibration import Quality

_LEFT_OUT = frozenset({"policyqa"})
"""Collections whose questions make no sense without their document: no user would search with them."""


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
    first_stage_weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Weight of the standardised first-stage score, relative to the standard deviation of the "
            "logits. With it, this weight is not learned.",
            show_default="learned",
        ),
    ] = None,
    pair_from_blend: Annotated[
        bool,
        typer.Option(
            "--pair-from-blend",
            help="Keep the blend in the manifest. Learn from its probabilities those of a pair alone.",
        ),
    ] = False,
    embedder: Annotated[str, typer.Option(help="The first stage's embedding model.")] = BUNDLED_EMBEDDER,
    as_json: Json = False,
) -> None:
    """Learn the calibration of a cross-encoder from training splits and write it into its manifest."""
    check_evaluate("learning a calibration")
    from ..models.contracts import CalibrationRecord
    from ..models.load import calibration_of, load_embedder
    from ..models.local.cross_encoder import CrossEncoder
    from ..models.manifest import read_manifest, write_manifest
    from ..research.training.calibration import KIND
    from ..research.training.calibration import calibrate as learn
    from ..research.training.recipe import read_recipe
    from ..text.chunking import Chunker

    chosen, first_stage = read_recipe(recipe), load_embedder(embedder)
    with CrossEncoder(model) as reranker:
        coefficients, errors, table = learn(
            chosen,
            data,
            {query for run in trained or () for query in _queries(run)},
            reranker,
            first_stage,
            Chunker(first_stage.tokenizer),
            collections=collection
            or [source.collection for source in chosen.sources if source.collection not in _LEFT_OUT],
            weight=first_stage_weight,
            blend=calibration_of(model).coefficients().blend(KIND) if pair_from_blend else None,
            say=lambda text: stderr.print(text, style="dim"),
        )
    learned = CalibrationRecord.of(coefficients).model_dump()
    learned["pair"]["error"], learned["blends"][KIND]["error"] = errors.pair, errors.blend
    record = CalibrationRecord.model_validate(learned)
    write_manifest(model, read_manifest(model).model_copy(update={"calibration": record}))
    if as_json:
        print_json({"calibration": record.model_dump(), "development": table})
        return
    stdout.print(_table(table), record)


def _table(table: Mapping[str, Quality]) -> Table:
    from ..research.training.calibration import CALIBRATION_WINDOW

    weights = [f"+ {weight}" for weight in next(iter(table.values()))["by_weight"]]
    shown = Table(
        "development collection",
        "queries",
        "first stage",
        "cross-encoder",
        *weights,
        "calibrated",
        title=f"nDCG@10 within windows of {CALIBRATION_WINDOW}",
    )
    rows = {
        name: [row["first_stage"], row["cross_encoder"], *row["by_weight"].values(), row["calibrated"]]
        for name, row in table.items()
    }
    for name, values in rows.items():
        shown.add_row(name, f"{table[name]['queries']:,}", *(f"{value:.4f}" for value in values))
    shown.add_section()
    shown.add_row("mean", "", *(f"{fmean(values):.4f}" for values in zip(*rows.values(), strict=True)))
    shown.caption = "+ W: cross-encoder and W times the spread of its logits x standardised first stage"
    return shown


def _queries(run: Path) -> set[str]:
    """Return the texts of the queries that a training run learned from.

    Queries of its development lists, and queries that it did not reach, are not among them.
    """
    from ..research.training.recipe import RECIPE_FILE, read_recipe
    from ..research.training.training_list import LISTS, WORK, is_of, learned_from, read_lists

    recipe, path = read_recipe(str(run / RECIPE_FILE)), run / WORK / LISTS
    made_by, lists = read_lists(path)
    if not is_of(made_by, recipe):
        raise SettingsError(
            f"{path} was made by another recipe than {run / RECIPE_FILE}; give a folder that es-rerank "
            "train wrote"
        )
    return {item.query for item in learned_from(lists, recipe)}
