"""Reads what an ONNX file is made of: operators, types of weights, and the files beside it that it needs.

It reads the few fields of the format (onnx/onnx.proto) that answer this, so that onnx need not be installed.
A file is mapped into memory and not read as a whole.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ...engine.session import output_that_is_read
from ...errors import ModelFolderError

_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _VALUE_NAME, _FUNCTION_NODE = 1, 5, 12, 1, 7
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 6
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL = 1, 2, 8, 9, 13
"""Numbers of fields in onnx.proto."""

_UINT8, _INT8, _FLOAT16, _BFLOAT16, _UINT4, _INT4 = 2, 3, 10, 16, 21, 22
"""Types of tensors in onnx.proto."""

_PRODUCTS = frozenset(
    {
        "DynamicQuantizeMatMul",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearMatMul",
    }
)
_INTEGER = frozenset({"ConvInteger", "DynamicQuantizeLSTM", "QLinearConv", *_PRODUCTS} - {"Gemm", "MatMul"})
_FEW_BITS = frozenset({"MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"})
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"})
_SEVEN_BITS = 64
"""Largest weight that a processor without VNNI adds up exactly."""
_DEEPEST = 16
"""Most graphs inside each other; real ones have two."""
_MOST_DIMS = 64
"""Most dimensions of a tensor; real ones have four."""
_PASSED_ON = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that pass on the numbers of their first input."""
_LEAST = 256
"""A weight with fewer numbers is a constant of the calculation, whose type says nothing."""


@dataclass(slots=True)
class _Found:
    """What is gathered while a file is read. ``weights``: type and largest absolute value by name, None where
    the numbers are in another file.
    """

    operators: set[str] = field(default_factory=set)
    external: set[str] = field(default_factory=set)
    large: set[int] = field(default_factory=set)
    weights: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    scales: bool = False
    multiplied: set[str] = field(default_factory=set)
    dequantised: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    made_by: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What a graph file is made of.

    ``kind`` is the precision of its large weights: ``other`` stands for four bits. ``external`` names the
    files with weights, as the graph itself names them. ``signed``, ``largest``, ``per_channel`` and
    ``dynamic`` describe int8: whether some weights of products are signed, the largest absolute value of the
    signed ones (None where it is not known), whether each column has a scale of its own, and whether
    activations get their scale in each run. ``last`` is the operator that computes the output that
    ``Session.run`` returns.
    """

    kind: Literal["fp32", "int8", "fp16", "other"]
    operators: frozenset[str]
    external: tuple[str, ...]
    signed: bool = False
    largest: int | None = None
    per_channel: bool = False
    dynamic: bool = False
    last: str = ""

    @property
    def seven_bits(self) -> bool:
        """Whether the weights are so small that every processor adds their products without overflow."""
        return self.largest is not None and self.largest <= _SEVEN_BITS


def read_graph(path: Path) -> GraphFacts:
    """Return what the graph file is made of. Raises ModelFolderError when it is not an ONNX file."""
    found = _Found()
    try:
        with path.open("rb") as file:
            # It is closed when nothing refers to a part of it any more.
            _model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), found)
    except (OSError, ValueError) as error:
        again = (
            f"delete {path.resolve()} and fetch it again" if path.is_symlink() else "fetch it again, whole"
        )
        raise ModelFolderError(f"{path} is not an ONNX graph that can be read ({error}); {again}") from error
    if not found.operators:
        raise ModelFolderError(f"{path} is not an ONNX graph: it has no operators; fetch it again, whole")
    return _facts(found)


def _facts(found: _Found) -> GraphFacts:
    products = found.multiplied | {
        found.dequantised[name] for name in found.multiplied & found.dequantised.keys()
    }
    weights = [weight for name, weight in found.weights.items() if name in products]
    eight = bool(found.operators & _INTEGER) or bool(weights)
    signed = [largest for kind, largest in weights if kind == _INT8]
    known = [largest for largest in signed if largest is not None]
    if found.operators & _FEW_BITS or found.large & {_INT4, _UINT4}:
        kind: Literal["fp32", "int8", "fp16", "other"] = "other"
    elif eight:
        kind = "int8"
    elif found.large & {_FLOAT16, _BFLOAT16}:
        kind = "fp16"
    else:
        kind = "fp32"
    return GraphFacts(
        kind,
        frozenset(found.operators),
        tuple(sorted(found.external)),
        signed=bool(signed) or not weights,
        largest=max(known) if known and len(known) == len(signed) else None,
        per_channel=found.scales,
        dynamic=bool(found.operators & _DYNAMIC),
        last=_last(found),
    )


def _last(found: _Found) -> str:
    """Return the operator that computes the output that is read; empty where an input is passed on."""
    if not found.outputs:
        return ""
    operator, value = "", output_that_is_read(found.outputs)
    for _ in range(len(found.made_by)):
        operator, value = found.made_by.get(value, ("", ""))
        if operator not in _PASSED_ON:
            break
    return operator


def _model(data: memoryview, found: _Found) -> None:
    for graph in _parts(data, _MODEL_GRAPH):
        _graph(graph, found, 0)
    for function in _parts(data, _MODEL_FUNCTIONS):
        for node in _parts(function, _FUNCTION_NODE):
            _node(node, found, 1)


def _graph(data: memoryview, found: _Found, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} graphs inside each other")
    for node in _parts(data, _GRAPH_NODE):
        _node(node, found, depth)
    if depth == 0:
        for output in _parts(data, _GRAPH_OUTPUT):
            found.outputs += map(_text, _parts(output, _VALUE_NAME))
    for tensor in _parts(data, _GRAPH_INITIALIZER):
        _tensor(tensor, found)


def _node(data: memoryview, found: _Found, depth: int) -> None:
    operator = "".join(map(_text, _parts(data, _NODE_OPERATOR)))
    inputs = [_text(name) for name in _parts(data, _NODE_INPUT)]
    outputs = [_text(name) for name in _parts(data, _NODE_OUTPUT)]
    for attribute in _parts(data, _NODE_ATTRIBUTE):
        for tensor in _parts(attribute, _ATTRIBUTE_TENSOR):
            _tensor(tensor, found)
        for graph in _parts(attribute, _ATTRIBUTE_GRAPH):
            _graph(graph, found, depth + 1)
    found.operators.add(operator)
    if depth == 0:
        for output in outputs:
            found.made_by[output] = (operator, inputs[0] if inputs else "")
    if operator in _PRODUCTS:
        found.multiplied.update(inputs)
    elif operator == "DequantizeLinear" and inputs and outputs:
        found.dequantised[outputs[0]] = inputs[0]


def _tensor(data: memoryview, found: _Found) -> None:
    """Note the type of a tensor, and of one with signed 8-bit numbers the largest."""
    sizes = list(_numbers(data, _TENSOR_DIMS))
    kind = next(_numbers(data, _TENSOR_TYPE), 0)
    name = "".join(map(_text, _parts(data, _TENSOR_NAME)))
    external = list(_parts(data, _TENSOR_EXTERNAL))
    for entry in external:
        _location(entry, found)
    if len(sizes) > _MOST_DIMS:
        raise ValueError(f"a tensor of more than {_MOST_DIMS} dimensions")
    count = math.prod(sizes)
    if name.endswith("_scale") and count > 1:
        found.scales = True
    if count < _LEAST:
        return
    found.large.add(kind)
    if kind in {_INT8, _UINT8} and len(sizes) > 1:  # a zero point for each column is no weight
        raw = b"" if external or kind == _UINT8 else next(_parts(data, _TENSOR_RAW), b"")
        values = np.frombuffer(raw, dtype=np.int8)
        largest = max(int(values.max()), -int(values.min())) if values.size else None
        found.weights[name] = (kind, largest)


def _location(entry: memoryview, found: _Found) -> None:
    """Note where the data of a tensor lie: an entry is a pair of a key and a value."""
    pair = {number: _text(value) for number, value in _fields(entry) if isinstance(value, memoryview)}
    if pair.get(1) == "location":
        found.external.add(pair.get(2, ""))


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8")


def _parts(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the texts or messages in the fields with a number."""
    for number, value in _fields(data):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _numbers(data: memoryview, wanted: int) -> Iterator[int]:
    """Yield the integers in the fields with a number, also those that are packed into one field."""
    for number, value in _fields(data):
        if number != wanted:
            continue
        if isinstance(value, int):
            yield value
            continue
        place = 0
        while place < len(value):
            one, place = _varint(value, place)
            yield one


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number in it is cut off")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (number, value) of each field of a message of protocol buffers.

    A value is an integer or the bytes of a text, a message or packed numbers. Raises ValueError for bytes
    that are no message.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("it is not written as protocol buffers are")
        if size > len(data) - place:
            raise ValueError("it is cut off")
        yield number, data[place : place + size]
        place += size
