"""Encoders with rotary positions and local layers as PyTorch exports ModernBERT, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEADS, INNER, WINDOW = 16, 2, 12, 4
_SIZE = WIDTH // HEADS


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[onnx.TensorProto] = []
        self._draw = np.random.default_rng(5)

    def add(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, kind: Any = np.int64) -> str:
        name = f"value_{len(self.values)}"
        self.values.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self._draw.normal(size=shape, scale=0.4), np.float32)

    def product(self, hidden: str, columns: int, *, bias: bool) -> Any:
        rows = INNER if hidden.startswith("Mul") else WIDTH
        product = self.add("MatMul", [hidden, self.weights(rows, columns)])
        return self.add("Add", [product, self.weights(columns)]) if bias else product

    def norm(self, hidden: str) -> Any:
        return self.add(
            "LayerNormalization", [hidden, self.constant(np.ones(WIDTH), np.float32)], epsilon=1e-5
        )

    def heads(self, hidden: str, *, packed: bool, bias: bool) -> list[str]:
        """Queries, keys and values, each (batch, heads, tokens, size)."""
        if packed:
            whole = self.product(hidden, 3 * WIDTH, bias=bias)
            cut = self.add("Reshape", [whole, self.constant([0, 0, 3, HEADS, _SIZE])])
            moved = self.add("Transpose", [cut], perm=[0, 3, 2, 1, 4])
            parts = self.add("Split", [moved, self.constant([1, 1, 1])], 3, axis=2)
            return [self.add("Squeeze", [part, self.constant([2])]) for part in parts]
        shape = self.constant([0, 0, HEADS, _SIZE])
        return [
            self.add(
                "Transpose",
                [self.add("Reshape", [self.product(hidden, WIDTH, bias=bias), shape])],
                perm=[0, 2, 1, 3],
            )
            for _ in range(3)
        ]

    def turned(self, heads: str, cos: str, sin: str) -> Any:
        half, end, axis = self.constant([_SIZE // 2]), self.constant([2**62]), self.constant([3])
        first = self.add("Slice", [heads, self.constant([0]), half, axis])
        second = self.add("Slice", [heads, half, end, axis])
        swapped = self.add("Concat", [self.add("Neg", [second]), first], axis=-1)
        return self.add("Add", [self.add("Mul", [heads, cos]), self.add("Mul", [swapped, sin])])


def rotary_encoder(
    path: Path,
    *,
    local: tuple[bool, ...] = (False, True, False),
    packed: bool = True,
    bias: bool = False,
    causal: bool = False,
    rotated: bool = True,
    pooling: str = "cls",
    words: int = 100,
) -> Path:
    """Write a cross-encoder with one layer for each of ``local``.

    ``packed``: queries, keys and values are one product. ``causal``: a token sees none that follows.
    ``pooling``: ``cls`` looks for the first token by the mask, ``mean`` takes the mean of all.
    ``words``: the size of the vocabulary.
    """
    graph = _Graph()
    add, constant = graph.add, graph.constant
    shape = add("Shape", ["input_ids"])
    tokens = add("Gather", [shape, constant(1)])
    row = add("Unsqueeze", [add("Range", [constant(0), tokens, constant(1)]), constant([0])])
    column = add("Transpose", [row], perm=[1, 0])
    speeds = constant(100.0 ** (-np.arange(_SIZE // 2) / _SIZE)[None], np.float32)
    angles = add("Mul", [add("Cast", [column], to=TensorProto.FLOAT), speeds])
    angles = add("Concat", [angles, angles], axis=-1)
    cos, sin = (add("Unsqueeze", [add(kind, [angles]), constant([0, 1])]) for kind in ("Cos", "Sin"))
    least, zero = constant(np.finfo(np.float32).min, np.float32), constant(0, np.float32)
    masked = add("Cast", [add("Unsqueeze", ["attention_mask", constant([1, 2])])], to=TensorProto.BOOL)
    everywhere = add("Where", [masked, zero, least])
    away = add("Sub", [row, column])
    near = add("LessOrEqual", [away if causal else add("Abs", [away]), constant(0 if causal else WINDOW)])
    window = add("Where", [near, everywhere, least])
    scale = constant(_SIZE**-0.5, np.float32)
    hidden = graph.norm(add("Gather", [graph.weights(words, WIDTH), "input_ids"]))
    for is_local in local:
        queries, keys, values = graph.heads(graph.norm(hidden), packed=packed, bias=bias)
        if rotated:
            queries, keys = (graph.turned(heads, cos, sin) for heads in (queries, keys))
        keys = add("Transpose", [keys], perm=[0, 1, 3, 2])
        scores = add("Mul", [add("MatMul", [queries, keys]), scale])
        scores = add("Add", [scores, window if is_local else everywhere])
        read = add("MatMul", [add("Softmax", [scores], axis=-1), values])
        read = add("Reshape", [add("Transpose", [read], perm=[0, 2, 1, 3]), constant([0, 0, WIDTH])])
        hidden = add("Add", [hidden, graph.product(read, WIDTH, bias=bias)])
        gate, inner = add(
            "Split",
            [graph.product(graph.norm(hidden), 2 * INNER, bias=False), constant([INNER] * 2)],
            2,
            axis=2,
        )
        inner = add("Mul", [add("Sigmoid", [gate]), inner])
        hidden = add("Add", [hidden, graph.product(inner, WIDTH, bias=bias)])
    hidden = graph.norm(hidden)
    if pooling == "cls":
        first = add("ArgMax", ["attention_mask"], axis=1, keepdims=1)
        first = add("Unsqueeze", [first, constant([2])])
        wide = add("Expand", [first, constant([1, 1, WIDTH])])
        pooled = add("Squeeze", [add("GatherElements", [hidden, wide], axis=1), constant([1])])
    else:
        weight = add("Cast", [add("Unsqueeze", ["attention_mask", constant([2])])], to=TensorProto.FLOAT)
        pooled = add("ReduceMean", [add("Mul", [hidden, weight]), constant([1])], keepdims=0)
    graph.nodes.append(helper.make_node("MatMul", [pooled, graph.weights(WIDTH, 1)], ["logits"]))
    made = helper.make_graph(
        graph.nodes,
        "rotary",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        graph.values,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
