"""Open an exported folder: read the manifest, verify the files and load the graph.

A warning is logged when the int8 graph does not suit this processor.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from ...engine.past import PastSession
from ...engine.processor import adds_bytes_exactly
from ...engine.session import Session
from ..manifest import TOKENIZER, Manifest, ModelKind, Precision, read_manifest, verify

_LOG = logging.getLogger(__name__)


class OpenModel(NamedTuple):
    """The manifest of a folder, and the graph of one precision: its file and its ONNX Runtime session."""

    manifest: Manifest
    graph: Path
    session: Session


def open_model(folder: Path, kind: ModelKind, variant: Precision | None, provider: str) -> OpenModel:
    """Return the manifest of a model folder, and its graph loaded on an execution provider.

    ``variant`` is the precision, None for the default one. Raises ModelFolderError for a folder that is
    missing, incomplete, altered or of another kind.
    """
    manifest, graph = checked(folder, kind, variant)
    session = PastSession if manifest.kind == "decoder" else Session
    return OpenModel(manifest, graph, session(graph, provider))


def checked(folder: Path, kind: ModelKind, variant: Precision | None) -> tuple[Manifest, Path]:
    """Return the manifest of a model folder and the path of its graph, verified but not loaded.

    ``variant`` is the precision, None for the default one. Raises what ``open_model`` raises.
    """
    manifest = read_manifest(folder, kind=kind)
    graph = manifest.variant(variant)
    verify(folder, manifest, graph)
    if manifest.precision(variant) == "int8" and int8_overflows(manifest):
        assert manifest.quantisation is not None  # noqa: S101 else it is not known to overflow
        _LOG.warning(
            "model %s was quantised for %s; on this processor its sums may overflow, and then its scores are "
            "wrong; export it on this machine, or with --int8-range reduced",
            manifest.name,
            manifest.quantisation.made_for,
        )
    return manifest, folder / graph


def identity(manifest: Manifest, graph: Path, precision: Precision, stated: set[str]) -> str:
    """Return all that an answer depends on besides its texts, as one text: the digests of the files that are
    read, and the ``stated`` fields of the manifest.
    """
    files = (graph.name, *sorted(manifest.weights(precision)), TOKENIZER)
    read = manifest.model_dump_json(include=stated)
    return " ".join((*(manifest.files[name].sha256 for name in files), read))


def int8_overflows(manifest: Manifest) -> bool:
    """Return whether sums of a model's int8 graph may overflow on this processor, silently."""
    scheme = manifest.quantisation
    return scheme is not None and scheme.may_overflow and not adds_bytes_exactly()
