"""Opening an exported folder: its manifest, its graph verified and loaded, and a warning where this processor
does not suit it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from ...engine.processor import adds_bytes_exactly
from ...engine.session import Session
from ..manifest import Kind, Manifest, Precision, read_manifest, verify

_LOG = logging.getLogger(__name__)


class OpenModel(NamedTuple):
    """A folder's manifest, and the graph of one precision: its file and its session."""

    manifest: Manifest
    graph: Path
    session: Session


def open_model(folder: Path, kind: Kind, variant: Precision | None, provider: str) -> OpenModel:
    """Return a model folder's manifest and the graph of a precision, or of its default, on an execution
    provider.

    Raises ModelFolderError for a folder that is missing, incomplete, altered or of another kind.
    """
    manifest, graph = checked(folder, kind, variant)
    return OpenModel(manifest, graph, Session(graph, provider))


def checked(folder: Path, kind: Kind, variant: Precision | None) -> tuple[Manifest, Path]:
    """Return a model folder's manifest and the file of a precision, or of its default, verified but not
    loaded.

    Raises what ``open_model`` raises.
    """
    manifest = read_manifest(folder, kind=kind)
    graph = manifest.variant(variant)
    verify(folder, manifest, graph)
    scheme = manifest.quantisation
    if (
        manifest.precision(variant) == "int8"
        and scheme is not None
        and not scheme.reduce_range
        and not adds_bytes_exactly()
    ):
        _LOG.warning(
            "model %s was quantised for %s, and on this processor its sums may overflow and its scores be "
            "wrong; export it here, or with --int8-range reduced",
            manifest.name,
            scheme.made_for,
        )
    return manifest, folder / graph
