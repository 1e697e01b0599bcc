"""``es-rerank bench decoder``: what the shared beginning of prompts saves a decoder."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ..engine.past import PastSession
from ..engine.pool import Pool
from ..engine.processor import processor_name
from ..extras import missing_extra
from ..research.bench.decoder import (
    LAYERS,
    ROUNDS,
    SIZES,
    TOKENS,
    WINDOW,
    Cell,
    Measured,
    Sizes,
    random_weights,
    report_of,
)
from .bench_options import Threads, steps
from .output import Json, print_json, stdout

_LONGEST = 4_096


def decoder(
    tokens: Annotated[
        list[int] | None,
        typer.Option(
            min=80,
            max=_LONGEST // 2,
            help="Mean length of a prompt in tokens, the beginning included; may be given several times.",
            show_default=", ".join(map(str, TOKENS)),
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=1_000, help="Prompts that begin alike.")] = WINDOW,
    layers: Annotated[
        int,
        typer.Option(
            "--layers",
            min=2,
            max=28,
            help="Layers of the decoders. More of them take longer; the last one, which does little, is then "
            "a smaller part.",
        ),
    ] = LAYERS,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often each window is scored.")] = ROUNDS,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Compare decoders' speed with and without a shared beginning of the prompts: the sizes of
    Qwen3-Reranker-0.6B and mxbai-rerank-base-v2, random weights, both ways in turn.
    """
    lengths = list(dict.fromkeys(tokens or TOKENS))
    with (
        tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as scratch,
        closing(Pool(threads)) as pool,
        steps("timing", len(SIZES) * len(lengths) * rounds) as step,
    ):
        cells: list[Cell] = []
        for sizes in SIZES:
            graph = _written(sizes, layers, Path(scratch) / "model.onnx")
            measured = Measured(sizes, PastSession(graph), pool)
            cells += [measured.cell(length, window, rounds, step) for length in lengths]
        used = pool.threads
    print_json(report_of(cells, layers, used)) if as_json else _show(cells, layers, used)


def _written(sizes: Sizes, layers: int, path: Path) -> Path:
    """Write the graph of a decoder with random weights."""
    try:
        import onnx

        from ..export.decoder_graph import DecoderShape, decoder_graph
    except ImportError as error:
        raise missing_extra(
            f"the bench of decoders needs {error.name}, which is not installed", "export"
        ) from error
    angles = np.outer(np.arange(_LONGEST), 1e6 ** -np.linspace(0, 1, sizes.head_size // 2, endpoint=False))
    shape = DecoderShape(
        layers=layers,
        heads=sizes.heads,
        key_value_heads=sizes.key_value_heads,
        head_size=sizes.head_size,
        epsilon=1e-6,
        cosines=np.cos(angles).astype(np.float32),
        sines=np.sin(angles).astype(np.float32),
    )
    onnx.save(decoder_graph(shape, random_weights(sizes, layers), (0, 1)), path)
    return path


def _show(cells: list[Cell], layers: int, threads: int) -> None:
    about = f"{threads} threads, {layers} layers, fp32, windows of {cells[0].window} prompts"
    stdout.print(f"{processor_name()}, {about}", highlight=False)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("decoder", no_wrap=True)
    for name in ("tokens", "beginning", "whole/s", "shared/s", "ratio", "difference"):
        shown.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        facts = cell.as_json()
        shown.add_row(
            cell.sizes.name,
            str(cell.tokens),
            str(cell.sizes.beginning),
            f"{facts['whole_pairs_per_second']:.1f}",
            f"{facts['shared_pairs_per_second']:.1f}",
            f"{median(cell.ratios):.2f}",
            f"{cell.difference:.0e}",
        )
    stdout.print(shown)
    stdout.print(
        "beginning: tokens that all prompts of a query begin with; whole/s, shared/s: pairs a second of "
        "prompts that are computed whole, and behind the beginning that is computed once; ratio: median over "
        "the rounds, both ways in turn; difference: the largest one between the two ways, in logits. The "
        "weights are random, which changes no speed.",
        highlight=False,
        soft_wrap=True,
    )
