"""Models whose ONNX graphs are ready-made: from the Hub, a folder or a jar. Needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..manifest import GraphPass, ModelKind, Precision
from ..source import SourceOptions

Rewrite = Callable[[Path, ModelKind, int], tuple[GraphPass, ...]]
"""Makes an fp32 graph file compute less; arguments: the file, the kind, the longest input in tokens."""

Say = Callable[[str], None]
"""Receives one line of text for each step."""


@dataclass(frozen=True, slots=True)
class ImportOptions(SourceOptions):
    """What the user states about an import. ``None`` means that the files of the source decide.

    ``graph`` names the graph file to take, as a path within the source. ``only`` leaves out the graph of the
    other precision. ``scripts`` are those that the model was trained on. ``force`` replaces a folder that
    exists.
    """

    name: str | None = None
    source: str | None = None
    revision: str | None = None
    licence: str | None = None
    attribution: str | None = None
    graph: str | None = None
    only: Precision | None = None
    scripts: tuple[str, ...] | None = None
    force: bool = False
