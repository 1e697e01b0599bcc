"""From a name to a model: bundled, a local folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ModelFolderError
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .bi_encoder import BiEncoder
from .cross_encoder import CrossEncoder
from .manifest import MANIFEST, parse_manifest

_BUNDLED = Path(__file__).with_name("bundled")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_reranker(name_or_folder: str | Path = BUNDLED_RERANKER, *, threads: int = 0) -> CrossEncoder:
    """Return the cross-encoder of a bundled name, an exported folder, or a Hub id of an exported repository.

    Raises ModelFolderError when it is not found or not a cross-encoder.
    """
    return CrossEncoder(model_folder(name_or_folder), threads=threads)


def load_embedder(name_or_folder: str | Path = BUNDLED_EMBEDDER, *, threads: int = 0) -> BiEncoder:
    """Return the bi-encoder of a bundled name, an exported folder, or a Hub id of an exported repository.

    Raises ModelFolderError when it is not found or not a bi-encoder.
    """
    return BiEncoder(model_folder(name_or_folder), threads=threads)


def model_folder(name_or_folder: str | Path) -> Path:
    """Return the local folder of a model, fetched from the Hub where the name is no folder but a Hub id."""
    if name_or_folder in {BUNDLED_RERANKER, BUNDLED_EMBEDDER}:
        return _BUNDLED / name_or_folder
    folder = Path(name_or_folder)
    if folder.exists() or not _HUB_ID.fullmatch(str(name_or_folder)):
        return folder
    return _from_hub(str(name_or_folder))


def _from_hub(repository: str) -> Path:
    """Return the snapshot of an exported repository: first its manifest, then only the files that the manifest lists."""
    from huggingface_hub import hf_hub_download, snapshot_download  # noqa: PLC0415 only those who name a Hub id need it
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(hf_hub_download(repository, MANIFEST)).parent
        return Path(snapshot_download(repository, revision=folder.name, allow_patterns=[MANIFEST, *parse_manifest(folder).files]))
    except (EntryNotFoundError, OSError, ValueError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise ModelFolderError(
                f"{repository} is on the Hub, but not as an exported model (it has no {MANIFEST}); run: es-rerank export {repository} OUT, and give OUT instead"
            ) from error
        raise ModelFolderError(
            f"{repository} is neither a folder here nor could it be fetched from the Hugging Face Hub ({error}). Check the name and the network, "
            f"or export the model on a machine that reaches the Hub with: es-rerank export {repository} OUT, and give OUT; "
            f"the bundled {BUNDLED_RERANKER} and {BUNDLED_EMBEDDER} need no network"
        ) from error
