"""A graph pass that computes only the first token where the head reads only the first token.

The head of a cross-encoder reads the first row of the last layer, ``hidden[:, 0]``. Between the keys and
values of the last attention and that row, every operator works row by row: the queries of the attention, the
products with constant matrices, layer norm, activations. So the pass moves the ``Gather`` of the first row up
through the last layer, to the point where all rows are needed. In that layer only keys and values are still
computed for every token; the rest is computed once. The result is exact: the same numbers are computed, only
fewer of them. (BERT's own ``pooler`` reads this row; for inference the method is known as "last layer for
[CLS] only".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .pooling import take_first_rows
from .probing import ONE_SEGMENT, Sequences
from .rewriting import (
    array,
    attribute,
    constants,
    keep_if_it_agrees,
    order_of,
    read_inside,
    remove_unread_mask,
    replace_nodes,
    trailing,
)

_ROWWISE = frozenset(
    {
        "Abs",
        "Cast",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "Identity",
        "IsNaN",
        "LeakyRelu",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Sin",
    }
    | {"Softplus", "Sqrt", "Tanh"}
)
_BROADCAST = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mul",
        "Or",
        "Pow",
        "Sub",
        "Where",
    }
)
_PRODUCTS = frozenset({"MatMul", "MatMulInteger"})


class _Use(NamedTuple):
    """A place where a tensor is read: number of the node, and position of the input. Node -1 is an output of
    the graph.
    """

    node: int
    input: int


def first_token_only(path: Path, sequences: Sequences = ONE_SEGMENT) -> bool:
    """Rewrite the graph file ``path`` of a cross-encoder; return whether the file changed.

    The file stays as it is when no head takes a first row, or when the narrowed graph gives other
    logits for ``sequences``.
    """
    model = onnx.load(path, load_external_data=False)
    looked_up = take_first_rows(model, path, sequences)
    if not _Pass(model).run():
        return False
    if looked_up:
        remove_unread_mask(model.graph)
    return keep_if_it_agrees(path, model, sequences)


class _Pass:
    """One pass over a graph, from its end to its beginning."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._nodes = list(model.graph.node)
        self._values = constants(model.graph)
        self._made = {name: node for node in self._nodes for name in node.output}
        self._ranks = _ranks(model)
        self._uses: dict[str, list[_Use]] = {}
        for number, node in enumerate(self._nodes):
            for position, name in enumerate(node.input):
                self._uses.setdefault(name, []).append(_Use(number, position))
            for name in read_inside(node):
                self._uses.setdefault(name, []).append(_Use(-1, 0))
        for output in model.graph.output:
            self._uses.setdefault(output.name, []).append(_Use(-1, 0))
        self._wanted: dict[_Use, int] = {}
        """The uses that need only the first row, each with the axis that the rows lie on."""

    def run(self) -> bool:
        """Narrow the operators that can be narrowed; return whether there was one."""
        for number, node in enumerate(self._nodes):
            if self._takes_first_row(node):
                self._wanted[_Use(number, 0)] = 1
        if not self._wanted:
            return False
        narrowed, behind = 0, {}
        for number in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[number]
            axes = [self._wanted_axis(name) for name in node.output]
            if axes[0] is not None and self._narrow_inputs(number, node, axes):
                narrowed += 1
            else:
                behind[number] = [gather for name in node.output for gather in self._gathers(name)]
        before = [
            gather
            for name in (*self._values, *(tensor.name for tensor in self._graph.input))
            for gather in self._gathers(name, constants=False)
        ]
        ordered = [
            *before,
            *(
                node_or_gather
                for number, node in enumerate(self._nodes)
                for node_or_gather in (node, *behind.get(number, ()))
            ),
        ]
        replace_nodes(self._graph, ordered)
        return narrowed > 0

    def _takes_first_row(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is ``hidden[:, 0]`` of a hidden state (batch, tokens, dims)."""
        if node.op_type != "Gather" or attribute(node, "axis", 0) != 1 or self._ranks.get(node.input[0]) != 3:
            return False
        index = self._constant(node.input[1])
        return index is not None and index.ndim == 0 and int(index) == 0

    def _wanted_axis(self, name: str) -> int | None:
        """Return the axis on which every use of a tensor wants only the first row; None when a use wants all
        rows.
        """
        uses = self._uses.get(name, ())
        axes = {self._wanted[use] for use in uses if use in self._wanted}
        if len(axes) != 1:
            return None
        axis = axes.pop()
        return (
            axis
            if all(
                use in self._wanted or self._reads_other_axes_of_shape(use, axis, self._ranks.get(name))
                for use in uses
            )
            else None
        )

    def _reads_other_axes_of_shape(self, use: _Use, axis: int, rank: int | None) -> bool:
        """Return whether a use reads only the tensor's shape, and from the shape only axes other than
        ``axis``.
        """
        node = self._nodes[use.node]
        if use.node < 0 or rank is None or node.op_type != "Shape" or node.attribute:
            return False
        return all(
            axis not in self._shape_axes_read(reader, rank) for reader in self._uses.get(node.output[0], ())
        )

    def _shape_axes_read(self, use: _Use, rank: int) -> set[int]:
        """Return the axes that a use of a shape may depend on."""
        node = self._nodes[use.node]
        operands = [self._constant(name) for name in node.input[1:]]
        if use.node < 0 or use.input or any(operand is None for operand in operands):
            return set(range(rank))
        bounds = [np.asarray(operand).ravel() for operand in operands if operand is not None]
        if node.op_type == "Gather":
            return {int(index) % rank for index in bounds[0]}
        if node.op_type == "Slice" and len(bounds) < 4:
            return set(range(rank)[int(bounds[0][0]) : int(bounds[1][0])])
        return set(range(rank))

    def _narrow_inputs(self, number: int, node: onnx.NodeProto, axes: list[int | None]) -> bool:
        """Mark the inputs of a node as wanted for their first row only, if the node's operation allows it.

        Returns whether the operation allows it.
        """
        axis, rank = axes[0], self._ranks.get(node.output[0])
        if axis is None or rank is None or (len(node.output) > 1 and node.op_type != "DynamicQuantizeLinear"):
            return False
        wants = _RULES.get(node.op_type, _no_rule)(self, node, axis, rank)
        if wants is None:
            return False
        self._wanted |= {_Use(number, position): input_axis for position, input_axis in wants.items()}
        return True

    def _gathers(self, name: str, *, constants: bool = True) -> Iterator[onnx.NodeProto]:
        """Yield the Gather that makes a tensor's first row, and connect the uses that want this row to it."""
        if name in self._values and constants:
            return
        for axis in {self._wanted[use] for use in self._uses.get(name, ()) if use in self._wanted}:
            row = f"{name}/first_row_{axis}"
            for use in self._uses[name]:
                # The Gather of the head itself needs no other Gather before it.
                if self._wanted.get(use) == axis and not self._takes_first_row(self._nodes[use.node]):
                    self._nodes[use.node].input[use.input] = row
            if any(row in self._nodes[use.node].input for use in self._uses[name] if use.node >= 0):
                yield helper.make_node("Gather", [name, self._zero()], [row], name=row, axis=axis)

    def _zero(self) -> str:
        """Return the name of the constant [0]; a Gather with it keeps the axis of the rows, with length 1."""
        if not any(constant.name == _ZERO for constant in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(np.zeros(1, dtype=np.int64), _ZERO))
        return _ZERO

    def _constant(self, name: str) -> npt.NDArray[np.generic] | None:
        return array(self._values, name)

    def _shape(self, name: str) -> list[int] | None:
        """Return the dimensions of a constant; None for a tensor that is not a constant."""
        return list(self._values[name].dims) if name in self._values else None

    def _of_rows(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:  # noqa: ARG002 shared signature
        return {0: axis}

    def _of_broadcast(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        wants = {}
        for position, name in enumerate(node.input):
            own = self._ranks.get(name)
            if own is None:
                return None
            aligned = axis - (rank - own)
            shape = self._shape(name)
            if aligned >= 0 and (shape is None or shape[aligned] != 1):
                wants[position] = aligned
        return wants

    def _of_product(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        own = self._ranks.get(node.input[0])
        return {0: own - 2} if own == rank and axis == rank - 2 else None

    def _of_attention(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        """Narrow the queries, (batch, tokens, dims), only. A single query still reads all keys and values."""
        return {0: 1} if axis == 1 and rank == 3 and len(node.input) == 3 else None

    def _of_rotation(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        """Narrow the tensor, (batch, tokens, dims). The first row keeps its position, the first."""
        begins = self._constant(node.input[1])
        counted = begins is not None and begins.shape == (1,)
        return {0: 1} if axis == 1 and rank == 3 and counted else None

    def _of_softmax(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        return {0: axis} if attribute(node, "axis", -1) % rank != axis else None

    def _of_layer_norm(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        return {0: axis} if attribute(node, "axis", -1) % rank > axis else None

    def _of_mean(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        axes = (
            self._constant(node.input[1])
            if len(node.input) > 1
            else next(
                (
                    np.asarray(axes_attribute.ints)
                    for axes_attribute in node.attribute
                    if axes_attribute.name == "axes"
                ),
                None,
            )
        )
        if axes is None or attribute(node, "keepdims", 1) != 1:
            return None
        return {0: axis} if axis not in {int(index) % rank for index in axes.ravel()} else None

    def _of_slice(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        axes = self._constant(node.input[3]) if len(node.input) > 3 else None
        return (
            {0: axis}
            if axes is not None and axis not in {int(index) % rank for index in axes.ravel()}
            else None
        )

    def _of_transpose(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        order = order_of(node) or tuple(range(rank))[::-1]
        return {0: order[axis]}

    def _of_reshape(self, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:
        """Narrow (batch, tokens, …) to (batch, tokens, …): the first two axes are copied, the others written
        as constants.
        """
        own, behind = self._ranks.get(node.input[0]), trailing(self._values, self._made, node.input[1], rank)
        if axis != 1 or own is None or own < 2 or behind is None or attribute(node, "allowzero", 0):
            return None
        name = f"{node.output[0]}/first_row_shape"
        self._graph.initializer.append(
            numpy_helper.from_array(np.asarray([0, 0, *behind], dtype=np.int64), name)
        )
        node.input[1] = name
        return {0: 1}


_Rule = Callable[[_Pass, onnx.NodeProto, int, int], "dict[int, int] | None"]


def _no_rule(graph: _Pass, node: onnx.NodeProto, axis: int, rank: int) -> dict[int, int] | None:  # noqa: ARG001 shared signature
    return None


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_ROWWISE, _Pass._of_rows),  # noqa: SLF001 the class's own table
    **dict.fromkeys(_BROADCAST, _Pass._of_broadcast),  # noqa: SLF001
    **dict.fromkeys(_PRODUCTS, _Pass._of_product),  # noqa: SLF001
    "DynamicQuantizeLinear": _Pass._of_rows,  # noqa: SLF001
    "LayerNormalization": _Pass._of_layer_norm,  # noqa: SLF001
    "MultiHeadAttention": _Pass._of_attention,  # noqa: SLF001
    "RotaryEmbedding": _Pass._of_rotation,  # noqa: SLF001
    "ReduceMean": _Pass._of_mean,  # noqa: SLF001
    "Reshape": _Pass._of_reshape,  # noqa: SLF001
    "Slice": _Pass._of_slice,  # noqa: SLF001
    "Softmax": _Pass._of_softmax,  # noqa: SLF001
    "Transpose": _Pass._of_transpose,  # noqa: SLF001
}
"""Rule of each operation: which inputs may be narrowed, and on which axis, when only the output's first row
is wanted.
"""

_ZERO = "first_row_index"


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {constant.name: len(constant.dims) for constant in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return ranks
