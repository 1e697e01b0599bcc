"""The graphs of a cross-encoder up to its exit and from there on, cut out of the whole one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import helper

from ..engine.session import EXIT_LOGITS, HIDDEN, LOGITS
from ..errors import ModelFolderError
from .rewriting import replace_nodes

_LEAST_SHARED = 1024
"""Weights of fewer bytes stand in every graph that needs them."""


def split(graph: Path, first: Path, rest: Path) -> None:
    """Cut a graph that also gives exit logits and hidden states: ``first`` gives these two alone, ``rest`` goes on from there.

    The graph itself is left with its logits alone. Its weights are not written a second time: both parts, which lie beside
    it, read them as external data out of the graph's own file. Raises ModelFolderError where more than the hidden states
    would be needed to go on.
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
    """Leave what these outputs need."""
    kept = [output for output in model.graph.output if output.name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    replace_nodes(model.graph, list(model.graph.node))


def _begin_at_hidden(model: onnx.ModelProto, name: str) -> None:
    """Leave what the logits need beside the hidden states, which become what the graph ``name`` reads."""
    identity = next(node for node in model.graph.node if list(node.output) == [HIDDEN])
    before = _made_from(model.graph, identity.input[0])
    kept = [node for node in model.graph.node if not before.intersection(node.output)]
    for node in kept:
        node.input[:] = [HIDDEN if each == identity.input[0] else each for each in node.input]
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
        *(each.name for each in model.graph.initializer),
        *(each for node in model.graph.node for each in node.output),
    }
    if missing := sorted({each for node in model.graph.node for each in node.input} - there):
        raise ModelFolderError(
            f"what follows the exit in {name} also reads {', '.join(missing)}, so that it cannot go on from there; leave out --exit-layer"
        )


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


def _share(model: onnx.ModelProto, graph: str, content: bytes) -> None:
    """Let large weights be read out of the file ``graph``, wherever the same bytes stand in its ``content``."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.raw_data) < _LEAST_SHARED:
            continue
        place, length = content.find(tensor.raw_data), len(tensor.raw_data)
        if place < 0:  # the exit head, which the graph has not
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", graph), ("offset", str(place)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
