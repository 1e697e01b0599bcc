"""What ``es-rerank tune --train`` does besides: train the model, export it, and score the windows with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..extras import missing_extra
from .output import progress, say

if TYPE_CHECKING:
    from ..models.manifest import Manifest
    from ..research.training.recipe import Recipe
    from ..research.training.training_list import TrainingList
    from ..research.tuning.trained import Trained
    from ..research.tuning.verdict import Ratings
    from ..research.tuning.windows import Window
    from ..retrievers.grammar.tree import FirstStage
    from ..settings import Settings
    from ..types import Blend, Calibration

_LIBRARIES = ("onnx", "optimum", "sentence_transformers", "torch")


def check_train(manifest: Manifest) -> None:
    """Check that a model can be trained here, before anything is searched.

    Raises SettingsError for a model that cannot be trained, and MissingExtraError when a library is missing.
    """
    from ..research.tuning.training_lists import check_trainable

    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise missing_extra(f"--train needs libraries that are not installed: {', '.join(missing)}", "train")
    check_trainable(manifest)


class JudgedWindows(NamedTuple):
    """The judged windows of an index, scored by the shipped model; ``embedder`` is that of the index."""

    windows: Mapping[FirstStage, Sequence[Window]]
    ratings: Ratings
    embedder: str | None
    seed: int


def trained_model(
    folder: Path, manifest: Manifest, judged: JudgedWindows, scratch: Path, settings: Settings
) -> tuple[Path, Trained]:
    """Train the model of ``folder`` on judged windows; return the folder of its export and the verdict.

    Everything is written below ``scratch``. Raises SourceError when the judgements are too few.
    """
    from ..models.load import reranker_of
    from ..models.wrappers.cached import ScoreCache
    from ..research.tuning.judgements import is_fitted_on, is_trained_on
    from ..research.tuning.texts_read import rescored
    from ..research.tuning.trained import VERSIONS, Trained, chosen_by, left_to_fit
    from ..research.tuning.training_lists import check_halves, check_lists, training_lists, tuning_recipe
    from ..research.tuning.tuning import tuned

    windows, ratings, seed = judged.windows, judged.ratings, judged.seed
    check_halves(windows, ratings, seed)
    shipped = manifest.coefficients()
    blends = _blends(windows, shipped, judged.embedder)
    lists = training_lists(windows, ratings, blends, seed)
    check_lists(lists)
    watched = training_lists(windows, ratings, blends, seed, is_fitted_on)
    recipe = tuning_recipe(lists, manifest.max_length, seed)
    passages = sum(len(item.passages) for item in lists)
    say(
        f"training on {len(lists):,} lists of {passages:,} passages: {recipe.steps:,} steps of "
        f"{recipe.lists_per_step} lists, at most {recipe.steps * recipe.lists_per_step * recipe.list_size:,} "
        "pairs, then it ends"
    )
    made, seconds = _trained(folder, manifest, lists, watched or lists[:1], recipe, scratch)
    start = left_to_fit(windows, seed)
    queries = len(next(iter(start.values())))
    with (
        reranker_of(settings, str(made), cache=ScoreCache()) as reranker,
        progress(queries, "scoring with the trained model") as bar,
    ):
        found = rescored(
            start, reranker, on_progress=lambda done: bar.update(bar.task_ids[0], completed=done)
        )
    verdict = tuned(
        found,
        ratings,
        shipped,
        embedder=judged.embedder,
        seed=seed,
        anyway=True,
        before=start,
        versions=VERSIONS,
    )
    asked = [window.query for window in next(iter(windows.values()))]
    return made, Trained(
        lists=len(lists),
        passages=passages,
        steps=recipe.steps,
        seconds=seconds,
        trained_on=sum(is_trained_on(query, seed) for query in asked),
        fitted_on=sum(is_fitted_on(query, seed) for query in asked),
        chosen_by={
            "shipped": chosen_by(start, ratings, blends, seed),
            "trained": chosen_by(found, ratings, blends, seed),
        },
        verdict=verdict,
    )


def _blends(
    windows: Mapping[FirstStage, Sequence[Window]], shipped: Calibration | None, embedder: str | None
) -> dict[FirstStage, Blend | None]:
    from ..retrievers.planning.first_stage import KIND_OF

    kinds = {name: KIND_OF[name] for name in windows}
    if shipped is None:
        return dict.fromkeys(kinds)
    return {name: shipped.blend(kind, None if kind == "bm25" else embedder) for name, kind in kinds.items()}


def _trained(
    folder: Path,
    manifest: Manifest,
    lists: Sequence[TrainingList],
    watched: Sequence[TrainingList],
    recipe: Recipe,
    scratch: Path,
) -> tuple[Path, int]:
    """Train and export; return the folder of the export, and the seconds of the training."""
    from ..export import ExportOptions, export_model
    from ..models.catalog import INT8_TEXTS
    from ..models.manifest import read_manifest, write_manifest
    from ..research.training.continuing import continue_training

    with progress(recipe.steps, "training") as bar:

        def report(state: dict[str, Any]) -> None:
            said = f"training, loss {state['loss']:.3f}, {state['pairs_per_second']} pairs/s"
            bar.update(bar.task_ids[0], completed=state["step"], description=said)

        made, seconds = continue_training(folder, lists, watched, recipe, scratch, report)
    int8, known = "int8" in manifest.variants, manifest.quantisation
    out = scratch / manifest.name
    options = ExportOptions(
        name=manifest.name,
        source=f"{manifest.source}; es-rerank tune --train",
        revision=manifest.revision,
        licence=manifest.licence,
        attribution=manifest.attribution,
        max_length=manifest.max_length,
        fp32="fp32" in manifest.variants,
        int8=int8,
        int8_range="reduced" if known is None or known.reduce_range else "auto",
        int8_texts=made / INT8_TEXTS if int8 else None,
        plain=not manifest.passes,
        fp16="fp16" in manifest.variants,
    )
    with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
        export_model(str(made), out, options, say=say)
    # The export does not know which scripts the start was trained on.
    write_manifest(out, read_manifest(out).model_copy(update={"scripts": manifest.scripts}))
    return out, seconds
