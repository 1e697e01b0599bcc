"""Functions that all graph passes use.

They read a graph, remove nodes that nothing reads any more, and keep a rewritten graph only when it gives the
same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from ..engine.session import output_that_is_read, typed_feeds
from .probing import Sequences

DOMAIN = "com.microsoft"
"""The operator domain of ONNX Runtime's own operators."""

MASK = "attention_mask"
"""Name of the input that tells tokens from padding."""

AGREEMENT = 1e-5
"""Largest allowed difference between the outputs of a rewritten graph and of the graph before.

It is absolute for outputs up to 1, and relative above. A rewritten graph adds numbers in another order, so
its outputs can differ by rounding.
"""

LENGTHS = (3, 4, 17, 64)
"""Lengths, in tokens, of the sequences that two graphs are compared on."""

_SCALED = ("Mul", "Div")

Values = dict[str, onnx.TensorProto]


def constants(graph: onnx.GraphProto) -> Values:
    """Return the constant tensors of a graph, by name."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    return values | {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }


def unscaled(made: Mapping[str, onnx.NodeProto], name: str) -> str:
    """Return the tensor that ``name`` is a multiple of. ``made`` is the node that makes each tensor.

    The factor is not checked here: a wrong one shows when the graphs are compared.
    """
    node = made.get(name)
    while node is not None and node.op_type in _SCALED:
        name = node.input[0]
        node = made.get(name)
    return name


def array(values: Values, name: str) -> npt.NDArray[np.generic] | None:
    """Return the numbers of a constant; None when the tensor is not a constant or its data lies in another
    file.
    """
    value = values.get(name)
    return (
        None
        if value is None or value.data_location == onnx.TensorProto.EXTERNAL
        else numpy_helper.to_array(value)
    )


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute of a node, or ``default``."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def order_of(node: onnx.NodeProto) -> tuple[int, ...] | None:
    """Return the order of a Transpose's axes; None when it states none, which means reversed."""
    return next((tuple(item.ints) for item in node.attribute if item.name == "perm"), None)


def trailing(values: Values, made: dict[str, onnx.NodeProto], shape: str, rank: int) -> list[int] | None:
    """Return the dimensions of a shape from the third on, if they are constants. One of them may be -1.

    ``made`` maps the name of a tensor to the node that makes it.
    """
    whole = array(values, shape)
    if whole is not None:
        return [int(size) for size in whole[2:]]
    node = made.get(shape)
    if node is None or node.op_type != "Concat" or len(node.input) != rank:
        return None
    parts = [array(values, name) for name in node.input[2:]]
    return (
        [int(part.ravel()[0]) for part in parts if part is not None]
        if all(part is not None for part in parts)
        else None
    )


def read_inside(node: onnx.NodeProto) -> set[str]:
    """Return the names that the branches of an ``If``, or the body of a ``Loop``, may read from the outer
    graph.
    """
    graphs = [item.g for item in node.attribute if item.type == onnx.AttributeProto.GRAPH]
    return {name for graph in graphs for inner in graph.node for name in (*inner.input, *read_inside(inner))}


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that read each tensor, by the tensor's name."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in (*node.input, *read_inside(node)):
            readers.setdefault(name, []).append(node)
    return readers


def state_domain(model: onnx.ModelProto) -> None:
    """Make the model state that it uses operators of ``DOMAIN``."""
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def remove_unread_mask(graph: onnx.GraphProto) -> None:
    """Remove the mask from a graph's inputs, unless a node reads it."""
    read = {name for node in graph.node for name in (*node.input, *read_inside(node))}
    kept = [tensor for tensor in graph.input if tensor.name != MASK or tensor.name in read]
    del graph.input[:]
    graph.input.extend(kept)


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Replace the nodes of a graph by ``nodes``, in this order.

    Nodes and constants whose results nothing reads are left out. Of the stated shapes, only those of
    operators that ONNX does not know are kept; ONNX can infer the others.
    """
    outputs = {output.name for output in graph.output}
    kept, read = [], set(outputs)
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input, read_inside(node))
            kept.append(node)
    initializers = [tensor for tensor in graph.initializer if tensor.name in read]
    stated = [
        shape
        for shape in graph.value_info
        if shape.name in {name for node in kept if node.domain for name in node.output}
    ]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)
    graph.value_info.extend(stated)


def keep_if_it_agrees(
    path: Path, model: onnx.ModelProto, sequences: Sequences, lengths: Sequence[int] = LENGTHS
) -> bool:
    """Replace the graph file ``path`` by the rewritten model, if both give the same for ``sequences``.

    The output that ``Session`` reads is compared. Returns whether the file was replaced.
    """
    other = path.with_name(f"rewritten_{path.name}")
    onnx.save(model, other)
    try:
        if not _agree(path, other, sequences, lengths):
            return False
        other.replace(path)
    finally:
        other.unlink(missing_ok=True)
    return True


def _agree(before: Path, after: Path, sequences: Sequences, lengths: Sequence[int]) -> bool:
    """Return whether two graphs give the same output for whole sequences of several lengths."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (before, after)
    ]
    read = output_that_is_read([node.name for node in sessions[0].get_outputs()])
    for tokens in lengths:
        ids, types = sequences.rows(tokens)
        expected, actual = (
            session.run(
                [read], typed_feeds({node.name: node.type for node in session.get_inputs()}, ids, types)
            )[0]
            for session in sessions
        )
        if (
            expected.shape != actual.shape
            or not (np.abs(expected - actual) <= AGREEMENT * np.maximum(1.0, np.abs(expected))).all()
        ):
            return False
    return True
