"""Counts the multiply-adds of a model's graph for one sequence: a cost that is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import onnx

_WEIGHT_PRODUCTS = {
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
}
"""Operators that multiply rows by a constant matrix."""

_ATTENTION = {"MultiHeadAttention", "Attention", "BandedAttention"}


class Operations(NamedTuple):
    """The multiply-adds of one sequence of n tokens: ``each`` * n + ``once`` + ``pairs`` * n * n.

    ``each``: of the matrices by which every token's vector is multiplied. ``once``: of those that multiply
    the first token's vector only (the graph pass ``first_row``). ``pairs``: of attention, twice the width of
    a vector for every pair of tokens; a layer that asks for the first token only counts in ``each``.
    Embeddings, norms and activations do not count.
    """

    each: float
    once: float
    pairs: float

    def of(self, tokens: Sequence[int]) -> list[float]:
        """Return the multiply-adds of sequences of so many tokens."""
        return [self.each * n + self.once + self.pairs * n * n for n in tokens]


def operations_of(path: Path) -> Operations:
    """Return what the graph in a file multiplies and adds. Its weights are not loaded.

    Attention counts where it is one operator, as in the graphs that an export writes.
    """
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    of_tokens, narrow, widths = set[str](), set[str](), dict[str, int]()
    each = once = pairs = 0.0
    for node in graph.node:
        inputs = [name for name in node.input if name]
        first = inputs[0] if inputs else ""
        asked = inputs[:1] if node.op_type in _ATTENTION else inputs
        selects = node.op_type in ("Gather", "Slice") and first in of_tokens
        if selects or any(name in narrow for name in asked):
            narrow.update(node.output)
        elif node.op_type.endswith("LayerNormalization") or any(name in of_tokens for name in inputs):
            of_tokens.update(node.output)
        matrix = next((shapes[name] for name in inputs[1:] if len(shapes.get(name, ())) == 2), None)
        if node.op_type in _WEIGHT_PRODUCTS and matrix is not None:
            if first in narrow:
                once += prod(matrix)
            else:
                each += prod(matrix)
            widths.update(dict.fromkeys(node.output, matrix[-1]))
        if node.op_type in _ATTENTION:
            width = next((widths[name] for name in inputs if name in widths), 0)
            if first in narrow:
                each += 2 * width
            else:
                pairs += 2 * width
    return Operations(each, once, pairs)
