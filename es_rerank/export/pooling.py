"""Finds where the head of a cross-encoder takes the first token, however the exporter writes it.

A head of sentence-transformers looks for the first token that the mask shows, because the padding may stand
before it. In this engine nothing is padded, and that is always the first row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .probing import Probe, Sequences
from .rewriting import attribute, readers_of, replace_nodes

_LAYOUT = frozenset({"Concat", "Flatten", "Gather", "Identity", "If", "Reshape", "Slice", "Squeeze"})
"""Operators that may stand between the rows that are gathered and the one row as a tensor (batch, dims)."""
_LENGTHS = (5, 11)


def take_first_rows(model: onnx.ModelProto, path: Path, sequences: Sequences) -> bool:
    """Write ``hidden[:, 0]`` for every GatherElements of the model whose result is that row.

    ``path`` is the file of the model, which is run on ``sequences``. Returns whether there was one.
    """
    graph = model.graph
    places = {
        node.output[0]: (node.input[0], list(_following(graph, node)))
        for node in graph.node
        if node.op_type == "GatherElements" and attribute(node, "axis", 0) == 1
    }
    if not places:
        return False
    probe = Probe(path, {name for hidden, names in places.values() for name in (hidden, *names)}, sequences)
    runs = [probe.values(tokens) for tokens in _LENGTHS]
    first = "pooled_row_index"
    rows = {}
    for hidden, names in places.values():
        for name in reversed(names):
            if all(run[hidden].ndim == 3 and np.array_equal(run[name], run[hidden][:, 0]) for run in runs):
                rows[name] = helper.make_node("Gather", [hidden, first], [name], name=f"{name}/first", axis=1)
                break
    if not rows:
        return False
    graph.initializer.append(numpy_helper.from_array(np.asarray(0, dtype=np.int64), first))
    replace_nodes(graph, [rows.get(node.output[0], node) for node in graph.node])
    return True


def _following(graph: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that hold the numbers of a node's output, one after the other."""
    readers = readers_of(graph)
    seen = {node.output[0]}
    yield node.output[0]
    for follower in graph.node:
        if follower.op_type in _LAYOUT and len(follower.output) == 1:
            read = seen.intersection(name for name in seen if follower in readers.get(name, ()))
            if read:
                seen.add(follower.output[0])
                yield follower.output[0]
