"""Conversion of an fp32 graph to fp16, for GPUs.

What follows from the word vectors becomes fp16. What is computed from lengths, positions and the mask alone
stays fp32: the angles of rotary positions need its digits. A mask that adds the smallest float32 would be
minus infinity in fp16, and a row of padding that sees nothing but padding would not be a number; so such
numbers are limited to ``LOWEST``. An operator whose numbers are too large for fp16 on sample texts stays
fp32, and so does what squares numbers or sums over them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..engine.session import Session
from ..errors import ModelFolderError, ParityError
from ..models.local.tokenising import padding_token
from ..models.manifest import ModelKind
from ..text.pairs import open_tokenizer
from .rewriting import read_inside
from .static_int8 import Feeds

LOWEST = -1e4
"""What a mask adds at least to a score in fp16: its exponential is 0, and the sum of two masks is finite."""

LARGEST = 8_192.0
"""The largest number of an operator in fp16, on sample texts. fp16 ends at 65,504; other texts may give
more than the samples."""

NO_FP16: dict[ModelKind, str] = {
    "monot5": "a T5 has numbers that are too large for fp16; leave out --fp16: on a GPU it runs in fp32",
    "decoder": "the graph of a decoder has no mask to pad with; leave out --fp16: on a GPU it runs in fp32",
    "bi-encoder": "the vectors of an index must be of one precision on every machine; leave out --fp16, and "
    "export for a GPU with --plain --no-int8: in fp32, with a mask",
}
"""Why a kind of model has no fp16 graph."""

_KEPT = frozenset(
    {
        "Pow",
        "ReduceMean",
        "ReduceSum",
        "ReduceSumSquare",
        "ReduceL2",
        "Sqrt",
        "Reciprocal",
        "Exp",
        "CumSum",
        "Range",
    }
)
"""Operators that stay fp32: they are parts of norms that are written out, or sum many numbers."""

_OVER_2_GB = 2_000_000_000

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


class Halved(NamedTuple):
    """How many operators of a graph compute in fp16, and how many stayed fp32 because of their numbers."""

    half: int
    too_large: int


def write_half(fp32: Path, fp16: Path, samples: Iterable[Feeds]) -> Halved:
    """Write the fp16 graph of an fp32 graph with its mask. Its inputs stay as they are, its outputs float32.

    ``samples`` are inputs on which the size of its numbers is measured. Raises ModelFolderError for a graph
    without word vectors.
    """
    model = _typed(fp32)
    largest = _largest(fp32, _floats(model), samples)
    conversion = _Conversion(model, {name for name, number in largest.items() if not number <= LARGEST})
    done = conversion.run()
    large = sum(tensor.ByteSize() for tensor in model.graph.initializer) > _OVER_2_GB
    onnx.save(model, fp16, save_as_external_data=large, location=f"{fp16.name}_data" if large else None)
    return done


def check_padding(name: str, graph: Path, tokenizer: Path) -> None:
    """Raise ParityError when the mask of a graph does not hide the padding of the tokenizer."""
    if not Session(graph).pads(padding_token(open_tokenizer(tokenizer))):
        raise ParityError(
            f"the mask of the fp16 graph of {name} does not hide padding; export it without --fp16. Nothing "
            "was kept"
        )


class _Conversion:
    """The conversion of one graph in place. ``too_large``: tensors whose numbers do not fit into fp16."""

    def __init__(self, model: onnx.ModelProto, too_large: set[str]) -> None:
        self._graph, self._too_large = model.graph, too_large
        self._floats = _floats(model) | {
            tensor.name for tensor in model.graph.initializer if tensor.data_type == _FLOAT
        }
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._halves: set[str] = set()
        self._hidden: set[str] = set()
        self._made: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._new: list[onnx.TensorProto] = []

    def run(self) -> Halved:
        self._hidden = self._from_words()
        half = large = 0
        for node in self._graph.node:
            touched = [name for name in (*node.input, *node.output) if name in self._floats]
            fits = not any(name in self._too_large for name in touched)
            if self._may_be_half(node) and fits:
                half += 1
                self._to_half(node)
            else:
                large += self._may_be_half(node)
                self._keep(node)
        if not half:
            raise ModelFolderError("the graph has no word vectors that fp16 could begin with")
        self._replace()
        return Halved(half, large)

    def _may_be_half(self, node: onnx.NodeProto) -> bool:
        hidden = any(name in self._hidden for name in node.output)
        return hidden and node.op_type not in _KEPT and not read_inside(node)

    def _keep(self, node: onnx.NodeProto) -> None:
        """Give a node float32 to read; it makes what it made."""
        self._read_as(node, _FLOAT)
        inside = sorted(read_inside(node) & self._floats)
        _rename_inside(node, {name: self._as(name, _FLOAT) for name in inside})
        self._nodes.append(node)

    def _to_half(self, node: onnx.NodeProto) -> None:
        """Let a node read and make fp16; an output of the graph is made float32 again."""
        self._read_as(node, _HALF)
        _cast_to_half(node)
        self._nodes.append(node)
        outputs = {tensor.name for tensor in self._graph.output}
        for place, name in enumerate(node.output):
            if name in self._floats & outputs:
                node.output[place] = self._made[name, _HALF] = f"{name}/half"
                self._nodes.append(_cast(node.output[place], name, _FLOAT))
            elif name in self._floats:
                self._halves.add(name)

    def _read_as(self, node: onnx.NodeProto, kind: int) -> None:
        for place, name in enumerate(node.input):
            if name in self._floats:
                node.input[place] = self._as(name, kind)

    def _from_words(self) -> set[str]:
        """Return the float tensors that depend on rows of a table of weights, looked up by token."""
        found: set[str] = set()
        for node in self._graph.node:
            looked_up = (
                node.op_type == "Gather"
                and node.input[0] in self._weights
                and node.input[0] in self._floats
                and len(self._weights[node.input[0]].dims) == 2
            )
            if looked_up or any(name in found for name in (*node.input, *read_inside(node))):
                found |= {name for name in node.output if name in self._floats}
        return found

    def _as(self, name: str, kind: int) -> str:
        """Return the name under which a float tensor has a type, after the node that gives it that type."""
        if (name in self._halves) == (kind == _HALF) and name not in self._weights:
            return name
        if name in self._weights and kind == _FLOAT:
            return name
        if (name, kind) not in self._made:
            self._made[name, kind] = self._converted(name, kind)
        return self._made[name, kind]

    def _converted(self, name: str, kind: int) -> str:
        made = f"{name}/{'half' if kind == _HALF else 'float'}"
        if name in self._weights:
            numbers = numpy_helper.to_array(self._weights[name])
            self._new.append(numpy_helper.from_array(_finite_half(numbers), made))
        elif kind == _HALF and name not in self._hidden:
            # It may be a mask. Large hidden states are not limited: a score would change silently, and one
            # that is not finite is told.
            self._nodes.append(
                helper.make_node("Clip", [name, *self._limits()], [f"{made}/limited"], name=f"{made}/clip")
            )
            self._nodes.append(_cast(f"{made}/limited", made, kind))
        else:
            self._nodes.append(_cast(name, made, kind))
        return made

    def _limits(self) -> tuple[str, str]:
        names = ("fp16/lowest", "fp16/largest")
        if names[0] not in {tensor.name for tensor in self._new}:
            for name, number in zip(names, (LOWEST, -LOWEST), strict=True):
                self._new.append(numpy_helper.from_array(np.asarray(number, dtype=np.float32), name))
        return names

    def _replace(self) -> None:
        read = {name for node in self._nodes for name in (*node.input, *read_inside(node))}
        read |= {each.name for each in self._graph.output}
        weights = [tensor for tensor in (*self._graph.initializer, *self._new) if tensor.name in read]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(weights)


def _typed(path: Path) -> onnx.ModelProto:
    """Return a graph with the types of all its tensors, and its constants as initializers."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        inferred = Path(scratch) / path.name
        onnx.shape_inference.infer_shapes_path(str(path), str(inferred))
        model = onnx.load(inferred, load_external_data=False)
    onnx.load_external_data_for_model(model, str(path.parent))
    inside = {name for node in model.graph.node for name in read_inside(node)}
    nodes, weights = [], {tensor.name for tensor in model.graph.initializer}
    same: dict[str, str] = {}  # the exporter writes weights that layers share once, behind an Identity
    outputs = {each.name for each in model.graph.output}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            weights.add(tensor.name)
        elif (
            node.op_type == "Identity" and node.input[0] in weights and node.output[0] not in outputs | inside
        ):
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _floats(model: onnx.ModelProto) -> set[str]:
    """Return the names of the float32 tensors that nodes of a graph make."""
    made = {name for node in model.graph.node for name in node.output}
    typed = (*model.graph.value_info, *model.graph.output)
    return {each.name for each in typed if each.type.tensor_type.elem_type == _FLOAT and each.name in made}


def _largest(path: Path, names: set[str], samples: Iterable[Feeds]) -> dict[str, float]:
    """Return the largest absolute number of each tensor, over all samples. The lowest numbers, those of a
    mask, are not counted.
    """
    model = onnx.load(path, load_external_data=False)
    known = {tensor.name for tensor in model.graph.output}
    wanted = sorted(names)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, _FLOAT, None) for name in wanted if name not in known
    )
    largest = dict.fromkeys(wanted, 0.0)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".onnx") as file:
        onnx.save(model, file.name)  # beside the weights, which may lie in a file of their own
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])
        for feeds in samples:
            for name, numbers in zip(wanted, session.run(wanted, feeds), strict=True):
                finite = np.abs(numbers[np.isfinite(numbers) & (numbers > np.finfo(np.float32).min / 4)])
                largest[name] = max(largest[name], float(finite.max(initial=0.0)))
    return largest


def _cast_to_half(node: onnx.NodeProto) -> None:
    """Let a node that makes float32 by its own attributes make fp16."""
    for item in node.attribute:
        if item.name in {"to", "dtype"} and item.i == _FLOAT:
            item.i = _HALF
        elif item.name == "value" and item.t.data_type == _FLOAT:
            item.t.CopyFrom(numpy_helper.from_array(_finite_half(numpy_helper.to_array(item.t)), item.t.name))


def _rename_inside(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Let the branches of a node read other tensors of the graph around them."""
    for graph in (item.g for item in node.attribute if item.type == onnx.AttributeProto.GRAPH):
        for inner in graph.node:
            for place, name in enumerate(inner.input):
                inner.input[place] = names.get(name, name)
            _rename_inside(inner, names)


def _finite_half(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.float16]:
    """Return numbers in fp16. What is below its range, as the constant of a mask, becomes ``LOWEST``."""
    most = float(np.finfo(np.float16).max)
    exact = numbers.astype(np.float32)
    return np.where(exact < -most, LOWEST, np.minimum(exact, most)).astype(np.float16)


def _cast(name: str, made: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [made], name=f"{made}/cast", to=kind)
