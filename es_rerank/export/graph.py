"""From torch to ONNX, and from fp32 to int8."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import main_export
from optimum.exporters.tasks import TasksManager
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSeq2SeqLM

from ..engine.processor import adds_bytes_exactly
from ..errors import ModelFolderError
from ..models.manifest import Kind, Quantisation, QuantisationScheme
from . import Int8Range
from .source import Source
from .static_int8 import FULL, REDUCED, Feeds, quantise_static

_TASKS: dict[Kind, str] = {"cross-encoder": "text-classification", "bi-encoder": "feature-extraction"}
_OPSET = 18
"""optimum's (exporters/onnx/base.py, ``DEFAULT_ONNX_OPSET``)."""

_DYNAMIC: QuantisationScheme = "QInt8 weights, dynamic activations"
_STATIC: QuantisationScheme = "QInt8 weights, static activations"
_OPERATORS = ("MatMul", "Gather")
"""Gather puts the word vectors into int8 too, half of a small model's bytes: mean cosine of all-MiniLM-L6-v2 against fp32
0.9905 with them in fp32, 0.9898 with them in int8."""


def export_graph(source: Source, out: Path, *, answers: tuple[int, int] | None = None) -> None:
    """Write the fp32 graph of a torch folder to the file ``out`` (and its data beside it, when it is over 2 GB).

    ``answers``: the numbers of a monoT5's tokens for false and true. Raises ModelFolderError for what cannot be exported.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        try:
            _export(source, Path(scratch), answers)
        except (ValueError, KeyError, RuntimeError, OSError, torch.onnx.OnnxExporterError) as error:
            raise ModelFolderError(f"{source.folder} cannot be exported to ONNX: {error}") from error
        for path in Path(scratch).glob("model.onnx*"):
            shutil.move(path, out.parent / path.name.replace("model.onnx", out.name))


def _export(source: Source, folder: Path, answers: tuple[int, int] | None) -> None:
    """Write ``model.onnx`` into a folder."""
    if answers is not None:
        _trace(OneDecoderStep(source.folder, answers), ["input_ids", "attention_mask"], folder)
    elif source.modular:
        _trace_modules(source.folder, folder)
    else:
        # "transformers" also for a bi-encoder: pooling is ours, and sentence-transformers' graph would pool itself.
        main_export(
            str(source.folder),
            str(folder),
            task=_TASKS[source.kind],
            library_name="transformers",
            device="cpu",
            dtype="fp32",
            do_validation=False,
        )


class OneDecoderStep(torch.nn.Module):
    """A T5's encoder and one decoder step, with two rows of its head: the logits of false and of true, (batch, 2).

    The model's own forward pass does the rest, also what T5 1.0 puts on the decoder's output where embedding and head
    are one matrix. The other 32126 rows, a fifth of what one step of T5-base multiplies, and the cache are never read.
    """

    def __init__(self, folder: Path, answers: tuple[int, int]) -> None:
        super().__init__()
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
        head = torch.nn.Linear(model.config.d_model, 2, bias=False)
        with torch.no_grad():
            head.weight.copy_(model.lm_head.weight[list(answers)])
        model.lm_head = head
        self._model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the logits of prompts, float32, (batch, 2)."""
        start = torch.full_like(input_ids[:, :1], self._model.config.decoder_start_token_id)
        return self._model(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=start, use_cache=False
        ).logits[:, 0]


class Modules(torch.nn.Module):
    """A modular cross-encoder as a function of tensors alone."""

    def __init__(self, model: CrossEncoder, inputs: list[str]) -> None:
        super().__init__()
        self._model, self._inputs = model, inputs

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return the scores of pairs, float32, (batch, labels)."""
        return self._model(dict(zip(self._inputs, tensors, strict=True)))["scores"]


def _trace_modules(source: Path, folder: Path) -> None:
    """Write the graph of all modules, the encoder's masks patched as optimum does it to make them traceable."""
    model = CrossEncoder(
        str(source), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    ).eval()
    encoder = model.transformers_model
    config = TasksManager.get_exporter_config_constructor(
        "onnx", encoder, task="feature-extraction", library_name="transformers"
    )(encoder.config)
    inputs = list(config.ordered_inputs(encoder))
    with config.patch_model_for_export(encoder):
        _trace(Modules(model, inputs), inputs, folder)


def _trace(module: torch.nn.Module, inputs: list[str], folder: Path) -> None:
    """Write the graph of a module that reads token ids and what goes with them, each (batch, tokens), and gives ``logits``."""
    raw = folder / "traced" / "model.onnx"
    raw.parent.mkdir()
    torch.onnx.export(
        module.eval(),
        tuple(
            torch.ones((2, 8), dtype=torch.long) for _ in inputs
        ),  # two rows, so that no row is taken for the only one
        str(raw),
        input_names=inputs,
        output_names=["logits"],
        dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in inputs}, "logits": {0: "batch"}},
        opset_version=_OPSET,
        dynamo=False,  # as optimum calls it (exporters/onnx/convert.py)
    )
    if len(list(raw.parent.iterdir())) == 1:
        shutil.move(raw, folder / raw.name)
    else:  # over 2 GB, torch writes every weight to a file of its own
        onnx.save(onnx.load(raw), folder / raw.name, save_as_external_data=True, location=f"{raw.name}_data")


def quantisation(kind: Kind, *, plain: bool, int8_range: Int8Range, fitted: bool = False) -> Quantisation:
    """Return how a kind is quantised; ``fitted``: there are texts like those that will be read.

    A monoT5's activations are dynamic: one token reads all weights of its decoder, so sharing runs gains little. Its two
    rows of a head stay fp32, which costs nothing: ten random T5s of two layers then leave 97.3 % of passage pairs in order
    instead of 96.9 %. The decoder in fp32 but for its cross-attention's keys and values would leave 98.4 %, and take 101 ms
    instead of 69 for a pair of 100 tokens at T5-base's size, 497 MB instead of 201.
    """
    full = adds_bytes_exactly() if int8_range == "auto" else int8_range == "full"
    static = not plain and kind != "monot5"
    return Quantisation(
        scheme=_STATIC if static else _DYNAMIC,
        operators=_OPERATORS,
        per_channel=True,
        reduce_range=not full,
        fitted=fitted and static,
        made_for="x86-64 with VNNI, or ARM" if full else "any x86-64 or ARM, with or without VNNI",
        kept_fp32=("head",) if kind == "monot5" else (),
    )


def quantise(fp32: Path, int8: Path, scheme: Quantisation, feeds: Iterable[Feeds]) -> None:
    """Write the int8 variant of a graph; made from unfused operators, since fused ones would be passed over.

    ``feeds``: what the graph reads, to find static scales on; asked for where there are such.
    """
    if scheme.scheme == _STATIC:
        quantise_static(
            fp32, int8, feeds, largest=REDUCED if scheme.reduce_range else FULL, fit=scheme.fitted
        )
        return
    nodes = onnx.load(fp32, load_external_data=False).graph.node
    quantize_dynamic(
        fp32,
        int8,
        op_types_to_quantize=list(scheme.operators),
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in nodes if scheme.kept_fp32 and "/lm_head/" in node.name],
        extra_options={"MatMulConstBOnly": True},
    )
