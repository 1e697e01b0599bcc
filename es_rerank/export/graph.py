"""From torch to ONNX, and from fp32 to int8."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import main_export

from ..errors import ModelFolderError
from ..models.manifest import Kind, Quantisation

_TASKS: dict[Kind, str] = {"cross-encoder": "text-classification", "bi-encoder": "feature-extraction"}

QUANTISATION = Quantisation(operators=("MatMul", "Gather"), per_channel=True, reduce_range=True, made_for="any x86-64 or ARM, with or without VNNI")
"""int8 weights of 7 bits: on AVX2 and AVX-512 without VNNI the 16-bit sums of 8-bit weights overflow silently (ONNX
Runtime, docs/performance/model-optimizations/quantization.md). Gather puts the word vectors into int8 too, half of a
small model's bytes: mean cosine of all-MiniLM-L6-v2 against fp32 0.9905 with them in fp32, 0.9898 with them in int8;
a scale per word instead of one for all gave 0.9904 and is not worth its graph surgery."""


def export_graph(source: Path, kind: Kind, out: Path) -> None:
    """Write the fp32 graph of a torch folder to the file ``out`` (and its data beside it, when it is over 2 GB).

    Raises ModelFolderError where optimum cannot export the model.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        try:
            # "transformers" also for a bi-encoder: pooling is ours, and sentence-transformers' graph would pool itself.
            main_export(str(source), scratch, task=_TASKS[kind], library_name="transformers", device="cpu", dtype="fp32", do_validation=False)
        except (ValueError, KeyError, RuntimeError, OSError, torch.onnx.OnnxExporterError) as error:
            raise ModelFolderError(f"{source} cannot be exported to ONNX: {error}") from error
        for path in Path(scratch).glob("model.onnx*"):
            shutil.move(path, out.parent / path.name.replace("model.onnx", out.name))


def quantise(fp32: Path, int8: Path) -> None:
    """Write the int8 variant of a graph; made from the plain graph, since fused operators would be passed over."""
    quantize_dynamic(
        fp32,
        int8,
        op_types_to_quantize=list(QUANTISATION.operators),
        per_channel=QUANTISATION.per_channel,
        reduce_range=QUANTISATION.reduce_range,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
