"""Cuts the graph of a cross-encoder into two: up to the exit, and from the exit on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import helper

from ..engine.session import EXIT_LOGITS, HIDDEN, LOGITS
from ..errors import ModelFolderError
from .rewriting import replace_nodes

_LEAST_SHARED = 1024
"""Weights of fewer bytes are copied into every graph that needs them."""


def split(graph: Path, first: Path, rest: Path) -> None:
    """Cut a graph that has exit logits and hidden states as outputs into two parts.

    ``first`` computes these two outputs. ``rest`` reads the hidden states and computes the logits. The file
    ``graph`` keeps only its logits as output. The weights are not written a second time: both parts must lie
    in the same folder, and read their weights as external data from the file ``graph``. Raises
    ModelFolderError when the second part needs more than the hidden states.
    """
    model = onnx.load(graph, load_external_data=False)
    whole, beginning, end = (_copy(model) for _ in range(3))
    _reduce(whole, [LOGITS])
    _reduce(beginning, [EXIT_LOGITS, HIDDEN])
    _begin_at_hidden(end, graph.name)
    onnx.save(whole, graph)
    content = graph.read_bytes()
    for part, path in ((beginning, first), (end, rest)):
        _share(part, graph.name, content)
        onnx.save(part, path)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _reduce(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """Remove everything that these outputs do not need."""
    kept = [output for output in model.graph.output if output.name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    replace_nodes(model.graph, list(model.graph.node))


def _begin_at_hidden(model: onnx.ModelProto, name: str) -> None:
    """Keep the nodes that compute the logits from the hidden states, and make the hidden states the input.

    ``name`` is the graph's name in messages.
    """
    identity = next(node for node in model.graph.node if list(node.output) == [HIDDEN])
    before = _made_from(model.graph, identity.input[0])
    kept = [node for node in model.graph.node if not before.intersection(node.output)]
    for node in kept:
        node.input[:] = [HIDDEN if operand == identity.input[0] else operand for operand in node.input]
    logits = [output for output in model.graph.output if output.name == LOGITS]
    del model.graph.output[:], model.graph.input[:]
    model.graph.output.extend(logits)
    model.graph.input.append(
        helper.make_tensor_value_info(HIDDEN, onnx.TensorProto.FLOAT, ["batch", "tokens", "dims"])
    )
    replace_nodes(model.graph, kept)
    there = {
        HIDDEN,
        "",
        *(tensor.name for tensor in model.graph.initializer),
        *(result for node in model.graph.node for result in node.output),
    }
    if missing := sorted({operand for node in model.graph.node for operand in node.input} - there):
        raise ModelFolderError(
            f"what follows the exit in {name} also reads {', '.join(missing)}, so that it cannot go on from "
            "there; leave out --exit-layer"
        )


def _made_from(graph: onnx.GraphProto, name: str) -> set[str]:
    """Return the names of the tensors that ``name`` is computed from, ``name`` included.

    Tensors that do not depend on the graph's input are left out.
    """
    depending = {tensor.name for tensor in graph.input}
    for node in graph.node:
        if depending.intersection(node.input):
            depending.update(node.output)
    needed = {name}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input, node.output)
    return needed & depending


def _share(model: onnx.ModelProto, graph: str, content: bytes) -> None:
    """Make large weights external data of the file ``graph``, when its ``content`` holds the same bytes."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.raw_data) < _LEAST_SHARED:
            continue
        place, length = content.find(tensor.raw_data), len(tensor.raw_data)
        if place < 0:  # the exit head, which is not in the whole graph
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", graph), ("offset", str(place)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
