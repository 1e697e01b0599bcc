"""Exit heads of a cross-encoder that was trained with them.

``add_exit_head`` adds an exit head to the graph of the whole model. ``shortened`` writes the first layers
with their exit head as a torch model, which is the reference that the graph is compared with.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors import safe_open
from safetensors.numpy import save_file

from ..engine.session import EXIT_LOGITS, HIDDEN
from ..errors import ModelFolderError, SettingsError
from ..models.catalog import EXIT_HEADS, EXIT_LAYERS
from ..models.source.model import exit_layers

_WEIGHTS = "model.safetensors"
_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")
_HEAD = re.compile(r"\.pooler\.|^classifier\.")
_CLASSIFIER_NAMES = {"pooler.weight": "bert.pooler.dense.weight", "pooler.bias": "bert.pooler.dense.bias"}


def add_exit_head(graph: Path, source: Path, layer: int) -> None:
    """Add an exit head to the graph file of a BERT cross-encoder.

    The graph then has two more outputs: the hidden states after layer ``layer``, and the logits of the exit
    head on that layer. ``source`` is the torch folder that holds the exit head. Raises ModelFolderError when
    the graph has no such layer.
    """
    model = onnx.load(graph, load_external_data=False)
    end = f"/encoder/layer.{layer - 1}/output/LayerNorm/"
    hidden = next(
        (
            node.output[0]
            for node in model.graph.node
            if node.op_type == "LayerNormalization" and end in node.name
        ),
        None,
    )
    if hidden is None:
        raise ModelFolderError(
            f"no exit head can be added to the graph of {source}: no node ends its layer {layer}; leave out "
            "--exit-layer"
        )
    with safe_open(source / EXIT_HEADS, framework="numpy") as heads:
        for name in ("pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"):
            model.graph.initializer.append(
                numpy_helper.from_array(heads.get_tensor(f"exit.{layer}.{name}"), f"exit.{name}")
            )
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(0, dtype=np.int64), "exit.first"))
    model.graph.node.extend(
        [
            helper.make_node("Identity", [hidden], [HIDDEN], name="/exit/hidden"),
            helper.make_node("Gather", [hidden, "exit.first"], ["/exit/token"], name="/exit/token", axis=1),
            helper.make_node(
                "Gemm",
                ["/exit/token", "exit.pooler.weight", "exit.pooler.bias"],
                ["/exit/dense"],
                name="/exit/dense",
                transB=1,
            ),
            helper.make_node("Tanh", ["/exit/dense"], ["/exit/pooled"], name="/exit/pooled"),
            helper.make_node(
                "Gemm",
                ["/exit/pooled", "exit.classifier.weight", "exit.classifier.bias"],
                [EXIT_LOGITS],
                name="/exit/logits",
                transB=1,
            ),
        ]
    )
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in (EXIT_LOGITS, HIDDEN)
    )
    onnx.save(model, graph)


def shortened(source: Path, layer: int, out: Path) -> Path:
    """Write the first ``layer`` layers of a BERT cross-encoder and their exit head as a torch folder; return
    ``out``.

    Raises SettingsError when the model has no exit head on that layer.
    """
    layers = exit_layers(source)
    if layer not in layers or not (source / EXIT_HEADS).is_file():
        exits = f"exit heads on the layers {', '.join(map(str, layers))}" if layers else "no exit heads"
        raise SettingsError(
            f"{source} has {exits} and none on layer {layer}; train one with: es-rerank train, or leave out "
            "--exit-layer"
        )
    out.mkdir(parents=True, exist_ok=True)
    with safe_open(source / _WEIGHTS, framework="numpy") as weights:
        kept = {name: weights.get_tensor(name) for name in weights.keys() if _is_kept(name, layer)}  # noqa: SIM118 not a mapping
    with safe_open(source / EXIT_HEADS, framework="numpy") as heads:
        prefix = f"exit.{layer}."
        for name in (name.removeprefix(prefix) for name in heads.keys() if name.startswith(prefix)):  # noqa: SIM118
            kept[_CLASSIFIER_NAMES.get(name, name)] = heads.get_tensor(prefix + name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    del config[EXIT_LAYERS]
    save_file(kept, out / _WEIGHTS, metadata={"format": "pt"})
    (out / "config.json").write_text(
        json.dumps({**config, "num_hidden_layers": layer}, indent=1) + "\n", encoding="utf-8"
    )
    for path in source.iterdir():
        if path.is_file() and path.name not in {_WEIGHTS, EXIT_HEADS, "config.json"}:
            shutil.copyfile(path, out / path.name)
    return out


def _is_kept(name: str, layer: int) -> bool:
    layer_match = _LAYER.search(name)
    return int(layer_match[1]) < layer if layer_match else not _HEAD.search(name)
