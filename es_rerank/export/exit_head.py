"""Exit heads of a cross-encoder that was trained with them: put on its graph, or on its first layers alone, to compare with."""

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
from .source import exit_layers

_WEIGHTS = "model.safetensors"
_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")
_HEAD = re.compile(r"\.pooler\.|^classifier\.")
_OF_HEAD = {"pooler.weight": "bert.pooler.dense.weight", "pooler.bias": "bert.pooler.dense.bias"}


def add_exit_head(graph: Path, source: Path, layer: int) -> None:
    """Let a BERT cross-encoder's graph also give the hidden states after a layer, and the logits of the exit head on it.

    ``source``: the torch folder in which the head lies. Raises ModelFolderError for a graph without such a layer.
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
            f"the graph of {source} has no node that ends its layer {layer}, so that no exit head can be put there; leave out --exit-layer"
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
    """Write a BERT cross-encoder's first ``layer`` layers, with their exit head, as a torch folder; return ``out``.

    Raises SettingsError for a model without an exit head on that layer.
    """
    layers = exit_layers(source)
    if layer not in layers or not (source / EXIT_HEADS).is_file():
        exits = f"exit heads on the layers {', '.join(map(str, layers))}" if layers else "no exit heads"
        raise SettingsError(
            f"{source} has {exits} and none on layer {layer}; train them with: es-rerank train, or leave --exit-layer out"
        )
    out.mkdir(parents=True, exist_ok=True)
    with safe_open(source / _WEIGHTS, framework="numpy") as weights:
        kept = {name: weights.get_tensor(name) for name in weights.keys() if _is_kept(name, layer)}  # noqa: SIM118 no mapping
    with safe_open(source / EXIT_HEADS, framework="numpy") as heads:
        prefix = f"exit.{layer}."
        for name in (name.removeprefix(prefix) for name in heads.keys() if name.startswith(prefix)):  # noqa: SIM118
            kept[_OF_HEAD.get(name, name)] = heads.get_tensor(prefix + name)
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
    found = _LAYER.search(name)
    return int(found[1]) < layer if found else not _HEAD.search(name)
