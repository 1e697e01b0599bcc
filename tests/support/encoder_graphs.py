"""Encoders of one or two layers as PyTorch exports them, small or as wide as a real one,
with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from es_rerank.engine.session import feeds

WIDTH, HEADS = 8, 2


def layer(
    name: str,
    hidden: str,
    values: dict[str, Any],
    draw: np.random.Generator,
    *,
    mixes: bool = False,
    scaled: bool = False,
    width: int = WIDTH,
    heads: int = HEADS,
) -> list[onnx.NodeProto]:
    """One encoder layer as PyTorch exports it: attention over heads, a residual, layer norm,
    two products with an activation.

    ``scaled``: scores are divided by the root of a head's size, as everywhere but in T5. ``mixes``:
    rows depend on rows before.
    """
    spread = 0.4 * (WIDTH / width) ** 0.5

    def weight(key: str, *shape: int) -> str:
        values[f"{name}.{key}"] = draw.normal(size=shape, scale=spread).astype(np.float32)
        return f"{name}.{key}"

    def node(kind: str, inputs: list[str], out: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [f"{name}.{out}"], **attributes)

    def head(letter: str, order: list[int]) -> list[onnx.NodeProto]:
        return [
            node("MatMul", [hidden, weight(f"w{letter}", width, width)], f"{letter}0"),
            node("Reshape", [f"{name}.{letter}0", f"{name}.split"], f"{letter}1"),
            node("Transpose", [f"{name}.{letter}1"], letter, perm=order),
        ]

    values[f"{name}.tail"] = np.asarray([heads, width // heads], dtype=np.int64)
    values[f"{name}.merge"] = np.asarray([0, 0, width], dtype=np.int64)
    nodes = [
        node("Shape", [hidden], "shape"),
        node("Slice", [f"{name}.shape", "zero", "two"], "lead"),
        node("Slice", [f"{name}.lead", "zero", "one"], "batch"),
        node("Slice", [f"{name}.lead", "one", "two"], "tokens"),
        node("Slice", [f"{name}.tail", "zero", "one"], "heads"),
        node("Slice", [f"{name}.tail", "one", "two"], "size"),
    ]
    values[f"{name}.heads0"], values[f"{name}.size0"] = (
        np.asarray([heads], dtype=np.int64),
        np.asarray([width // heads], dtype=np.int64),
    )
    nodes += [
        node(
            "Concat", [f"{name}.batch", f"{name}.tokens", f"{name}.heads0", f"{name}.size0"], "split", axis=0
        )
    ]
    nodes += [*head("q", [0, 2, 1, 3]), *head("k", [0, 2, 3, 1]), *head("v", [0, 2, 1, 3])]
    nodes += [
        node("MatMul", [f"{name}.q", f"{name}.k"], "scores"),
        *([node("Mul", [f"{name}.scores", "scale"], "scores1")] if scaled else []),
        node("Add", [f"{name}.scores1" if scaled else f"{name}.scores", "bias"], "masked"),
        node("Softmax", [f"{name}.masked"], "weights", axis=-1),
        node("MatMul", [f"{name}.weights", f"{name}.v"], "read"),
        node("Transpose", [f"{name}.read"], "read1", perm=[0, 2, 1, 3]),
        node("Reshape", [f"{name}.read1", f"{name}.merge"], "read2"),
        node("MatMul", [f"{name}.read2", weight("wo", width, width)], "out0"),
        node("Add", [f"{name}.out0", hidden], "out1"),
        node("LayerNormalization", [f"{name}.out1", weight("g", width), weight("b", width)], "out2", axis=-1),
    ]
    inner = "out2"
    if mixes:  # rows that depend on rows before them: nothing above may be narrowed
        nodes.append(node("CumSum", [f"{name}.out2", "axis"], "mixed"))
        inner = "mixed"
    nodes += [
        node("MatMul", [f"{name}.{inner}", weight("w1", width, 2 * width)], "ffn0"),
        node("Tanh", [f"{name}.ffn0"], "ffn1"),
        node("MatMul", [f"{name}.ffn1", weight("w2", 2 * width, width)], "ffn2"),
        node("Add", [f"{name}.ffn2", f"{name}.{inner}"], "out"),
    ]
    return nodes


def encoder(
    path: Path,
    *,
    pooling: str = "first",
    mixes: bool = False,
    scaled: bool = False,
    learned: bool = False,
    width: int = WIDTH,
    heads: int = HEADS,
    layers: int = 2,
    words: int = 100,
) -> Path:
    """Write an encoder with a head; ``learned``: scores are biased by a table of distances, as T5's,
    and not by the mask alone. ``words``: the size of its vocabulary.
    """
    draw = np.random.default_rng(5)
    values: dict[str, Any] = {
        "words": draw.normal(size=(words, width)).astype(np.float32),
        "head": draw.normal(size=(width, 1), scale=(WIDTH / width) ** 0.5).astype(np.float32),
        "zero": np.asarray([0], dtype=np.int64),
        "one": np.asarray([1], dtype=np.int64),
        "two": np.asarray([2], dtype=np.int64),
        "axis": np.asarray(1, dtype=np.int64),
        "scale": np.asarray((width // heads) ** -0.5, dtype=np.float32),
        "table": draw.normal(size=(1, heads, 1, 1)).astype(np.float32),
        "index": np.asarray(0, dtype=np.int64),
        "axes": np.asarray([1, 2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axes"], ["hidden" if learned else "bias"]),
        *([helper.make_node("Mul", ["hidden", "table"], ["bias"])] if learned else []),
    ]
    last = "embedded"
    for name in "ab"[:layers]:
        nodes += layer(
            name, last, values, draw, mixes=mixes and name == "b", scaled=scaled, width=width, heads=heads
        )
        last = f"{name}.out"
    nodes += {
        "first": [helper.make_node("Gather", [last, "index"], ["pooled"], axis=1)],
        "mean": [helper.make_node("ReduceMean", [last, "one"], ["pooled"], keepdims=0)],
    }[pooling]
    nodes += [helper.make_node("MatMul", ["pooled", "head"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def run(path: Path, ids: Any, *names: str) -> list[Any]:
    """Return the graph's outputs, and those of the tensors that are named."""
    model = onnx.load(path)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(
        None, feeds([node.name for node in session.get_inputs()], ids, np.zeros_like(ids))
    )
    return outputs
