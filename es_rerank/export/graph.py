"""Conversion of a torch model to an ONNX graph, and of an fp32 graph to int8."""

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
from ..models.manifest import ModelKind, Quantisation, QuantisationScheme
from ..models.source.model import SourceModel
from . import Int8Range
from .decoder import write_decoder
from .static_int8 import FULL, REDUCED, Feeds, quantise_static

TASKS: dict[ModelKind, str] = {"cross-encoder": "text-classification", "bi-encoder": "feature-extraction"}
"""The task of optimum with which the graph of a kind has its head; a monoT5 and a decoder are exported
without optimum."""
_OPSET = 18
"""The default opset of optimum (exporters/onnx/base.py, ``DEFAULT_ONNX_OPSET``)."""

_DYNAMIC: QuantisationScheme = "QInt8 weights, dynamic activations"
_EACH_TOKEN: QuantisationScheme = "QInt8 weights, dynamic activations by token"  # noqa: S105 no password
_STATIC: QuantisationScheme = "QInt8 weights, static activations"
_OPERATORS = ("MatMul", "Gather")
"""Operators that are quantized. Gather puts the word vectors into int8 too; they are half of a small model's
bytes.

Mean cosine of all-MiniLM-L6-v2 against fp32: 0.9905 with word vectors in fp32, 0.9898 with word vectors in
int8.
"""


def export_graph(source: SourceModel, out: Path, *, answers: tuple[int, int] | None = None) -> None:
    """Write the fp32 graph of a torch folder to the file ``out``. Over 2 GB, its data go to a second file
    beside it.

    ``answers`` are the token ids of the answers false and true of a monoT5 or a decoder. Raises
    ModelFolderError for a model that cannot be exported.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        try:
            _export(source, Path(scratch), answers)
        except (ValueError, KeyError, RuntimeError, OSError, torch.onnx.OnnxExporterError) as error:
            raise ModelFolderError(f"{source.folder} cannot be exported to ONNX: {error}") from error
        for path in Path(scratch).glob("model.onnx*"):
            shutil.move(path, out.parent / path.name.replace("model.onnx", out.name))


def _export(source: SourceModel, folder: Path, answers: tuple[int, int] | None) -> None:
    """Write the graph as ``model.onnx`` into ``folder``."""
    if source.kind == "decoder":
        assert answers is not None  # noqa: S101 the caller looks them up
        write_decoder(source, answers, folder / "model.onnx")
    elif answers is not None:
        _trace(OneDecoderStep(source.folder, answers), ["input_ids", "attention_mask"], folder)
    elif source.modular:
        _trace_modules(source.folder, folder)
    else:
        # "transformers" also for a bi-encoder: the engine does the pooling, and the graph that optimum makes
        # for sentence-transformers would do it too.
        main_export(
            str(source.folder),
            str(folder),
            task=TASKS[source.kind],
            library_name="transformers",
            device="cpu",
            dtype="fp32",
            do_validation=False,
        )


class OneDecoderStep(torch.nn.Module):
    """T5's encoder and one decoder step, with two rows of T5's head: the logits of false and true, (batch,
    2).

    The model's own forward pass does the rest. That includes the scale that T5 1.0 puts on the decoder's
    output when embedding and head are one matrix. Nothing reads the other 32126 rows of the head, which are a
    fifth of the multiplications in one step of T5-base. Nothing reads the decoder's cache either.
    """

    def __init__(self, folder: Path, answers: tuple[int, int]) -> None:
        super().__init__()
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()  # nosec B615 # a folder on this machine
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
    """A modular cross-encoder as a function from tensors to a tensor, which torch can trace."""

    def __init__(self, model: CrossEncoder, inputs: list[str]) -> None:
        super().__init__()
        self._model, self._inputs = model, inputs

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return the scores of pairs, float32, (batch, labels)."""
        return self._model(dict(zip(self._inputs, tensors, strict=True)))["scores"]


def _trace_modules(source: Path, folder: Path) -> None:
    """Write the graph of all modules.

    The encoder's masks are patched as optimum patches them; without that they cannot be traced.
    """
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
    """Write the graph of a module that reads ``inputs``, each (batch, tokens), and returns ``logits``."""
    raw = folder / "traced" / "model.onnx"
    raw.parent.mkdir()
    torch.onnx.export(
        module.eval(),
        # Two rows, so that the tracer does not take the batch size 1 for a constant.
        tuple(torch.ones((2, 8), dtype=torch.long) for _ in inputs),
        str(raw),
        input_names=inputs,
        output_names=["logits"],
        dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in inputs}, "logits": {0: "batch"}},
        opset_version=_OPSET,
        dynamo=False,  # optimum does the same (exporters/onnx/convert.py)
    )
    if len(list(raw.parent.iterdir())) == 1:
        shutil.move(raw, folder / raw.name)
    else:  # over 2 GB, torch writes one file for each weight
        onnx.save(onnx.load(raw), folder / raw.name, save_as_external_data=True, location=f"{raw.name}_data")


def quantisation(
    kind: ModelKind, *, plain: bool, int8_range: Int8Range, fitted: bool = False
) -> Quantisation:
    """Return how a model of this kind is quantized.

    ``fitted`` says that int8 is fitted to texts like those of production. The activations of a monoT5 have
    dynamic scales: a decoder step of one token reads all weights, so sharing a run gains little. The two rows
    of its head stay fp32, which costs nothing: ten random T5s of two layers then keep 97.3 % of passage pairs
    in order instead of 96.9 %. With the whole decoder in fp32, except the keys and values of its
    cross-attention, they would keep 98.4 %. But a pair of 100 tokens would take 101 ms instead of 69 ms at
    T5-base's size, and the model 497 MB instead of 201 MB.

    A decoder has a scale for each token, because the first token of a prompt has activations that are a
    thousand times as large as those of others (https://arxiv.org/abs/2402.17762). At Qwen3-0.6B's width it
    takes 7 % longer than one scale for a run, and the logits differ from fp32 by less than half as much.
    """
    full = adds_bytes_exactly() if int8_range == "auto" else int8_range == "full"
    static = not plain and kind not in {"monot5", "decoder"}
    return Quantisation(
        scheme=_EACH_TOKEN if kind == "decoder" else _STATIC if static else _DYNAMIC,
        operators=_OPERATORS,
        per_channel=True,
        reduce_range=not full,
        fitted=fitted and static,
        made_for="x86-64 with VNNI, or ARM" if full else "any x86-64 or ARM, with or without VNNI",
        kept_fp32=("head",) if kind in {"monot5", "decoder"} else (),
    )


def quantise(fp32: Path, int8: Path, scheme: Quantisation, feeds: Iterable[Feeds]) -> None:
    """Write the int8 variant of a graph.

    ``fp32`` must not have fused operators, because the quantizer leaves them as they are. ``feeds`` are the
    inputs for calibration; they are read only when the scheme has static scales.
    """
    if scheme.scheme == _STATIC:
        quantise_static(
            fp32, int8, feeds, largest=REDUCED if scheme.reduce_range else FULL, gptq=scheme.fitted
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
