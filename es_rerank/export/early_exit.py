"""The graph that goes on where a cross-encoder stopped early, cut out of the whole one."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from ..engine.session import HIDDEN
from ..errors import ModelFolderError
from .rewriting import replace_nodes

_LEAST_SHARED = 1024
"""Weights of fewer bytes stand in both graphs."""


def write_rest(graph: Path, rest: Path) -> None:
    """Write what of a graph comes after its hidden states, to the file ``rest`` beside it.

    Its weights are not written a second time: they are read, as external data, out of the graph's own file.
    Raises ModelFolderError where more than the hidden states would be needed.
    """
    model = onnx.load(graph, load_external_data=False)
    identity = next(node for node in model.graph.node if list(node.output) == [HIDDEN])
    before = _made_from(model.graph, identity.input[0])
    kept = [node for node in model.graph.node if not before.intersection(node.output)]
    for node in kept:
        node.input[:] = [HIDDEN if name == identity.input[0] else name for name in node.input]
    del model.graph.output[1:], model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(HIDDEN, onnx.TensorProto.FLOAT, ["batch", "tokens", "dims"]))
    replace_nodes(model.graph, kept)
    there = {HIDDEN, "", *(each.name for each in model.graph.initializer), *(name for node in model.graph.node for name in node.output)}
    if missing := sorted({name for node in model.graph.node for name in node.input} - there):
        raise ModelFolderError(
            f"what follows the exit in {graph.name} also reads {', '.join(missing)}, so that it cannot go on from there; leave out --exit-layer"
        )
    _share(model, graph)
    onnx.save(model, rest)


def _made_from(graph: onnx.GraphProto, name: str) -> set[str]:
    """Return the names of all that a tensor is computed from and that depends on what the graph reads, its own among them."""
    depending = {each.name for each in graph.input}
    for node in graph.node:
        if depending.intersection(node.input):
            depending.update(node.output)
    needed = {name}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input, node.output)
    return needed & depending


def _share(model: onnx.ModelProto, graph: Path) -> None:
    """Let large weights be read out of the graph's file, wherever the same bytes stand there."""
    content = graph.read_bytes()
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.raw_data) < _LEAST_SHARED:
            continue
        place, length = content.find(tensor.raw_data), len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", graph.name), ("offset", str(place)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
