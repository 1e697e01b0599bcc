"""Find the folder of the model that a user names: bundled, installed, given, in a jar, or on the Hub."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from ..errors import ModelFolderError
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .manifest import RERANKERS, Manifest, parse_manifest, read_manifest

MODEL_PACKAGES = "es_rerank.models"
"""The entry point group by which other distributions bring exported models. The name of an entry point is the
model's name; its value is the package that holds the model's folder."""

_BUNDLED = Path(__file__).with_name("bundled")
_BUNDLE = {"es-rerank-zh-en-l6": "zh-en", "multilingual-e5-small-zh-en": "zh-en"}
"""The models of the folder ``bundles`` of the repository, by their names: in which package each is."""

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
"""An owner and a name. A path that begins with a slash or a dot is no id of the Hub."""


def model_folder(name_or_folder: str | Path) -> Path:
    """Return the local folder of a model: bundled, given as a path, from an installed package, or downloaded
    from the Hub. A folder or repository with ready-made ONNX graphs and no manifest is imported into a cache.
    """
    if (found := folder_here(name_or_folder)) is not None:
        return found
    from .ready_made import maven, stored  # noqa: PLC0415 only those who name a folder or a Hub id need it

    if maven.in_a_jar(str(name_or_folder)):
        return stored.of_jar(str(name_or_folder))
    if Path(name_or_folder).exists():
        return stored.of_folder(Path(name_or_folder))
    return stored.of_repository(str(name_or_folder))


def folder_here(name_or_folder: str | Path) -> Path | None:
    """Return the folder of a model as ``model_folder`` does, but neither fetch nor import anything.

    It is None for a model of the Hub, and for one that has to be imported first.
    """
    if name_or_folder in {BUNDLED_RERANKER, BUNDLED_EMBEDDER}:
        return _BUNDLED / name_or_folder
    from .ready_made import maven, stored  # noqa: PLC0415 only those who name a folder or a Hub id need it

    folder = Path(name_or_folder)
    if maven.in_a_jar(str(name_or_folder)) or stored.holds_ready_made(folder):
        return stored.here(name_or_folder)
    if folder.exists():
        return folder
    for entry_point in entry_points(group=MODEL_PACKAGES, name=str(name_or_folder)):
        return Path(str(files(entry_point.module) / entry_point.name))
    _check_known(str(name_or_folder))
    return None if may_be_on_hub(name_or_folder) else folder


def _check_known(name: str) -> None:
    """Raise ModelFolderError for a name that is known, but not by itself, and which no folder here has."""
    from .ready_made import maven  # noqa: PLC0415 as above

    if name in _BUNDLE:
        raise ModelFolderError(
            f"{name} is not installed; in a clone of es-rerank, run: uv pip install ./bundles/{_BUNDLE[name]}"
        )
    if name in maven.MODELS:
        raise ModelFolderError(
            f"there is no folder {name}; write {maven.PREFIX}{name} for the embedder that Maven has"
        )


def may_be_on_hub(name_or_folder: str | Path) -> bool:
    """Return whether the name has the form ``owner/name`` and no folder here has it: it is looked for on the
    Hugging Face Hub.
    """
    return _HUB_ID.fullmatch(str(name_or_folder)) is not None and not Path(name_or_folder).exists()


def reranker_manifest(model: str | Path) -> Manifest:
    """Return the manifest of a bundled name, a folder or a Hub id, after checking that its files are there
    with the right sizes.

    Raises ModelFolderError when the model is not found or is not a reranker.
    """
    folder = model_folder(model)
    return read_manifest(folder, kind=manifest_of(folder).kind)


def manifest_of(folder: Path) -> Manifest:
    """Return a reranker's manifest without checking its files."""
    manifest = parse_manifest(folder)
    if manifest.kind not in RERANKERS:
        raise ModelFolderError(
            f"{folder} holds a {manifest.kind}, which is not a reranker; give the folder of one of: "
            f"{', '.join(sorted(RERANKERS))}"
        )
    return manifest
