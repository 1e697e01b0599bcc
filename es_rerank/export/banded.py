"""Operators that compute attention over a sliding window in blocks.

A token of a local layer attends to the tokens at most ``window`` places away. A block of ``window`` queries
therefore needs ``3 * window`` keys, wherever it lies. So a long sequence is cut into such blocks, and each is
a row of a batch for the operator of attention; a bias hides the keys that lie too far away or outside of the
sequence. A sequence of at most ``3 * window`` tokens is one block of its own length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .rewriting import DOMAIN

_HIDDEN = -1e9
"""What is added to the score of a key that a query must not read. Its weight is then below 1e-38."""


class Nodes:
    """Nodes and constants that a pass adds to a graph. Their names begin with ``prefix``."""

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self._graph, self._prefix = graph, prefix
        self.made: list[onnx.NodeProto] = []
        self._count = 0

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        out: str | None = None,
        rank: int = 0,
        **attributes: Any,  # noqa: ANN401 as onnx takes them
    ) -> str:
        """Add a node of one output and return the output's name.

        ``rank`` is given for ONNX Runtime's own operators, whose outputs are float32: the other passes ask
        for ranks, and the quantizer for the type.
        """
        out = out or self._name(kind)
        domain = DOMAIN if rank else ""
        self.made.append(
            helper.make_node(kind, list(inputs), [out], name=f"{out}/node", domain=domain, **attributes)
        )
        if rank:
            self._graph.value_info.append(
                helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, [None] * rank)
            )
        return out

    def constant(self, value: object, kind: type[np.generic] = np.int64) -> str:
        """Add a constant and return its name."""
        name = self._name("constant")
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def taken(self) -> list[onnx.NodeProto]:
        """Return the nodes that were added since the last call."""
        taken, self.made = self.made, []
        return taken

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}/{kind}_{self._count}"


class Band:
    """What all layers with one window share: which rows the blocks read, and the bias."""

    def __init__(self, nodes: Nodes, ids: str, window: int, width: int) -> None:
        """Add the shared nodes. ``ids`` are (batch, tokens); ``width`` is the size of a hidden state."""
        self._nodes = nodes
        add, constant = nodes.add, nodes.constant
        zero, one, first = constant(0), constant(1), constant([0])
        shape = add("Shape", [ids])
        tokens = add("Gather", [shape, one])
        whole = add("LessOrEqual", [tokens, constant(3 * window)])
        block = add("Where", [whole, tokens, constant(window)])
        span = add("Where", [whole, tokens, constant(3 * window)])
        low = add("Where", [whole, zero, constant(-window)])
        last = add("Sub", [tokens, one])
        blocks = add("Div", [add("Add", [last, block]), block])
        starts = add("Mul", [add("Range", [zero, blocks, one]), block])
        starts = add("Unsqueeze", [starts, one_axis := constant([1])])
        query = add("Range", [zero, block, one])
        key = add("Add", [add("Range", [zero, span, one]), low])
        keys = add("Add", [starts, key])
        self._query_rows = add("Min", [add("Add", [starts, query]), last])
        self._key_rows = add("Max", [add("Min", [keys, last]), zero])
        away = add("Abs", [add("Sub", [add("Unsqueeze", [query, one_axis]), key])])
        near = add("LessOrEqual", [away, constant(window)])  # (block, span)
        inside = add("Unsqueeze", [add("Equal", [keys, self._key_rows]), one_axis])  # (blocks, 1, span)
        bias = add(
            "Where",
            [
                add("And", [near, inside]),
                constant(0, np.float32),
                constant(_HIDDEN, np.float32),
            ],
        )
        rows = add("Slice", [shape, first, one_axis])
        ones = constant([1, 1, 1])
        repeated = add("Expand", [bias, add("Concat", [rows, ones], axis=0)])  # (batch, blocks, block, span)
        sizes = [add("Unsqueeze", [size, first]) for size in (block, span, tokens)]
        any_number, wide = constant([-1]), constant([width])
        self._bias = add("Reshape", [repeated, add("Concat", [any_number, one_axis, *sizes[:2]], axis=0)])
        self._query_shape = add("Concat", [any_number, sizes[0], wide], axis=0)
        self._key_shape = add("Concat", [any_number, sizes[1], wide], axis=0)
        self._whole_shape = add("Concat", [rows, any_number, wide], axis=0)
        self._cut = [first, sizes[2], one_axis]

    def attention(self, queries: str, keys: str, values: str, heads: int, out: str) -> None:
        """Add one attention. The tensors are (batch, tokens, width)."""
        add = self._nodes.add
        taken = [
            add("Reshape", [add("Gather", [tensor, rows], axis=1), shape])
            for tensor, rows, shape in (
                (queries, self._query_rows, self._query_shape),
                (keys, self._key_rows, self._key_shape),
                (values, self._key_rows, self._key_shape),
            )
        ]
        blocks = add("MultiHeadAttention", [*taken, "", "", self._bias], rank=3, num_heads=heads)
        add("Slice", [add("Reshape", [blocks, self._whole_shape]), *self._cut], out=out)
