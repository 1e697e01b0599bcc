"""A pass over a finished graph: from fp32 to int8, with activation scales that are fixed at export.

Dynamic quantization computes the scale of an activation in each run. That costs a pass over the activation,
and it makes a score depend on the other pairs in the run. Here every activation has the range that it showed
on calibration sequences. So pairs may share a run, and each keeps the same score to the last bit. MiniLM-L6
at 48 tokens, four pairs in a run, takes 3.2 ms a pair; with dynamic scales one pair alone takes 5.1 ms (Xeon
with VNNI, one thread).

A few columns of an activation are tens of times larger than the others. A range that covers them leaves the
other columns only a few steps. So each column is divided by a factor, and the matching row of the weights is
multiplied by it; in fp32 this changes nothing. Two ways to choose the factors are tried: SmoothQuant,
https://arxiv.org/abs/2211.10438 (equation 4), and reducing only the largest columns. For every activation the
calibration sequences show which way is best, or that none is better than no factors. The mean error that
rounding causes in a product is subtracted through the product's bias (https://arxiv.org/abs/1906.04721,
section 4.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from ..types import FloatArray
from .gptq import gptq_round
from .rewriting import DOMAIN, constants, readers_of, replace_nodes, state_domain

Feeds = Mapping[str, npt.NDArray[np.int64]]

STEPS = 255
FULL, REDUCED = 127, 63
"""Largest weight in 8 bits and in 7 bits.

A processor without VNNI adds products of weights and 8-bit activations in pairs within 16 bits; 7-bit weights
cannot overflow there (ONNX Runtime, docs/performance/model-optimizations/quantization.md).
"""

_LEAST_COLUMNS = 16
"""Products with fewer columns, such as the head's, stay fp32: they cost nothing."""
_LEAST_TABLE = 4096
"""Tables with fewer numbers stay fp32."""
_ROWS = 4096
"""Rows that are kept of every activation.

They are more than the inputs of a product in most encoders, which fitting the rounding needs.
"""
_COMPARED = 1024
"""Number of these rows on which the choices of factors are compared."""
_AT_ONCE = 32
"""Activations that one calibration run returns. Those of a large model, all at once, would take gigabytes."""
_STRENGTHS = (0.5, 0.65, 0.8)
_CAPS = (0.9, 0.95, 0.99)


def quantise_static(
    fp32: Path, int8: Path, feeds: Iterable[Feeds], *, largest: int, gptq: bool = False
) -> None:
    """Write the int8 variant of a graph.

    ``feeds`` are the model inputs for calibration. ``largest`` is the largest weight: FULL or REDUCED.
    ``gptq`` rounds the weights by GPTQ; the texts must be like those of production.
    """
    model = onnx.load(fp32, load_external_data=False)
    graph = _Graph(model, fp32.parent)
    nodes = [*model.graph.node]
    for name, seen in _watched(fp32, list(graph.products), list(feeds)):
        nodes = graph.with_products(nodes, name, seen, largest, gptq=gptq)
    replace_nodes(model.graph, [replacement for node in nodes for replacement in graph.with_table(node)])
    state_domain(model)
    onnx.load_external_data_for_model(model, str(fp32.parent))  # the weights that stay fp32
    onnx.save(model, int8)


class _Product(NamedTuple):
    """A product with constant weights. ``bias`` is the Add of its bias, when that Add is the only node that
    follows.
    """

    node: onnx.NodeProto
    bias: onnx.NodeProto | None


@dataclass(slots=True)
class _Seen:
    """What is known of one activation on the calibration sequences.

    That is the minimum and maximum of each column, and some rows.
    """

    low: FloatArray
    high: FloatArray
    rows: list[FloatArray] = field(default_factory=list)

    def add(self, values: FloatArray, rows: int) -> None:
        """Add values, (n, columns); keep ``rows`` of them, evenly spread."""
        self.low, self.high = (
            np.minimum(self.low, values.min(axis=0)),
            np.maximum(self.high, values.max(axis=0)),
        )
        self.rows.append(values[np.unique(np.linspace(0, len(values) - 1, rows).astype(int))])


class _Range(NamedTuple):
    """How an activation becomes bytes: each column is divided by its factor, then all by one scale, around a
    zero point.
    """

    factors: FloatArray
    scale: np.float32
    zero: np.uint8

    def read(self, rows: FloatArray) -> FloatArray:
        """Return rows after rounding to bytes and back; columns stay divided by their factors."""
        numbers = np.clip(np.rint(rows / self.factors / self.scale) + self.zero, 0, STEPS) - self.zero
        return np.asarray(numbers * self.scale, dtype=np.float32)


def _watched(path: Path, names: Sequence[str], feeds: Sequence[Feeds]) -> Iterator[tuple[str, _Seen]]:
    """Yield the name and the values of each activation in ``names`` while the graph reads ``feeds``."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    kept = -(-_ROWS // len(feeds))
    for start in range(0, len(names), _AT_ONCE):
        batch = names[start : start + _AT_ONCE]
        seen: dict[str, _Seen] = {}
        watched = onnx.load(path, load_external_data=False)
        del watched.graph.output[:]
        watched.graph.output.extend(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in batch
        )
        # In the same folder, so that external weights are found.
        watched_path = path.with_name(f"watched_{path.name}")
        onnx.save(watched, watched_path)
        try:
            session = onnxruntime.InferenceSession(
                str(watched_path), options, providers=["CPUExecutionProvider"]
            )
            for feed in feeds:
                for name, activation in zip(batch, session.run(batch, dict(feed)), strict=True):
                    values = activation.reshape(-1, activation.shape[-1])
                    seen.setdefault(name, _Seen(values[0], values[0])).add(values, min(kept, len(values)))
        finally:
            watched_path.unlink()
        yield from seen.items()


class _Graph:
    """The parts of a graph that are quantized, and how their nodes are rewritten."""

    def __init__(self, model: onnx.ModelProto, home: Path) -> None:
        self._graph, self._home = model.graph, home
        self._made: set[str] = set()
        self._weights = {
            name: value
            for name, value in constants(model.graph).items()
            if value.data_type == onnx.TensorProto.FLOAT
        }
        readers = readers_of(model.graph)
        self.products: dict[str, list[_Product]] = {}
        """Products with constant weights, by the name of the activation that they multiply."""
        for node in model.graph.node:
            if (
                node.op_type == "MatMul"
                and node.input[0] not in self._weights
                and self._columns(node.input[1]) >= _LEAST_COLUMNS
            ):
                following = readers.get(node.output[0], [])
                alone = following[0] if len(following) == 1 and self._adds_bias(following[0], node) else None
                self.products.setdefault(node.input[0], []).append(_Product(node, alone))
        uses = Counter(product.node.input[1] for products in self.products.values() for product in products)
        self._shared = {name for name, count in uses.items() if count > 1}
        """Weights that several layers use, as in ALBERT. They are stored once, so they are the same for every
        activation.
        """

    def with_products(
        self, nodes: Sequence[onnx.NodeProto], name: str, seen: _Seen, largest: int, *, gptq: bool
    ) -> list[onnx.NodeProto]:
        """Return the nodes, with the products of one activation computed in int8."""
        products = self.products[name]
        weights = [self._array(product.node.input[1]) for product in products]
        shared = self._shared.intersection(product.node.input[1] for product in products)
        rows = np.concatenate(seen.rows)
        chosen = _range(seen, np.ones_like(seen.low)) if shared else _best_range(seen, rows, weights, largest)
        first, read, quantised = products[0].node.output[0], name, f"{name}/int8"
        made: dict[str, list[onnx.NodeProto]] = {first: []}
        scale, zero = (
            self._constant(f"{name}/scale", chosen.scale),
            self._constant(f"{name}/zero", chosen.zero),
        )
        if (chosen.factors != 1).any():
            read = f"{name}/smoothed"
            made[first] += [
                helper.make_node(
                    "Mul", [name, self._constant(f"{name}/factors", 1 / chosen.factors)], [read], name=read
                )
            ]
        made[first] += [helper.make_node("QuantizeLinear", [read, scale, zero], [quantised], name=quantised)]
        dropped = {product.bias.output[0] for product in products if product.bias is not None}
        seen_as = chosen.read(rows)
        for product, values, grid, steps in zip(
            products,
            weights,
            *_grids(weights, chosen, seen_as, largest, gptq=gptq and not shared),
            strict=True,
        ):
            own = f"{name}/{product.node.input[1]}"
            base = product.node.input[1] if shared else own
            bias = rows.mean(axis=0) @ values - seen_as.mean(axis=0) @ (grid * steps)
            out = product.node.output[0]
            if product.bias is not None:
                bias += self._array(next(operand for operand in product.bias.input if operand != out))
                out = product.bias.output[0]
            inputs = [
                quantised,
                self._constant(f"{base}/int8", grid),
                scale,
                self._constant(f"{base}/scale", steps),
                zero,
                "",
            ]
            inputs.append(self._constant(f"{own}/bias", bias))
            node = helper.make_node(
                "MatMulIntegerToFloat", inputs, [out], name=f"{product.node.output[0]}/product", domain=DOMAIN
            )
            made.setdefault(product.node.output[0], []).append(node)
        kept = [node for node in nodes if not dropped.intersection(node.output)]
        return [replacement for node in kept for replacement in made.get(node.output[0], [node])]

    def with_table(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield the node. For a look-up in a large table, yield instead nodes that look up bytes and the step
        of each row.
        """
        table = self._weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or np.prod(table.dims) < _LEAST_TABLE:
            yield node
            return
        grid, steps = on_grid(self._array(node.input[0]).T, FULL)
        names = [f"{node.output[0]}/{part}" for part in ("row_int8", "row_numbers", "row_step")]
        yield helper.make_node(
            "Gather",
            [self._constant(f"{node.input[0]}/int8", grid.T.copy()), node.input[1]],
            names[:1],
            name=names[0],
        )
        yield helper.make_node("Cast", names[:1], names[1:2], name=names[1], to=onnx.TensorProto.FLOAT)
        yield helper.make_node(
            "Gather",
            [self._constant(f"{node.input[0]}/scale", steps[:, None]), node.input[1]],
            names[2:],
            name=names[2],
        )
        yield helper.make_node("Mul", names[1:], list(node.output), name=f"{node.output[0]}/row")

    def _adds_bias(self, node: onnx.NodeProto, product: onnx.NodeProto) -> bool:
        other = [self._weights.get(name) for name in node.input if name != product.output[0]]
        return node.op_type == "Add" and [
            None if weights is None else list(weights.dims) for weights in other
        ] == [[self._columns(product.input[1])]]

    def _columns(self, name: str) -> int:
        """Return the number of columns of constant weights, 0 for anything else."""
        weights = self._weights.get(name)
        return weights.dims[1] if weights is not None and len(weights.dims) == 2 else 0

    def _array(self, name: str) -> FloatArray:
        return np.asarray(numpy_helper.to_array(self._weights[name], str(self._home)), dtype=np.float32)

    def _constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        if name not in self._made:
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            self._made.add(name)
        return name


def on_grid(weights: FloatArray, largest: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return weights, (rows, columns), as whole numbers up to ``largest``, and the step of each column."""
    steps = np.abs(weights).max(axis=0) / largest
    # A step below float32's smallest normal number would lose digits. Weights that small do not matter.
    steps[steps < np.finfo(np.float32).tiny] = 1.0
    return np.clip(np.rint(weights / steps), -largest, largest).astype(np.int8), steps.astype(np.float32)


def _grids(
    weights: Sequence[FloatArray], chosen: _Range, read: FloatArray, largest: int, *, gptq: bool
) -> tuple[list[npt.NDArray[np.int8]], list[FloatArray]]:
    """Return the whole numbers and the steps of each product's weights."""
    scaled = np.concatenate(weights, axis=1) * chosen.factors[:, None]
    grid, steps = on_grid(scaled, largest)
    if gptq:
        grid = gptq_round(scaled, steps, read, largest)
    ends = np.cumsum([part.shape[1] for part in weights])[:-1]
    return [np.ascontiguousarray(part) for part in np.split(grid, ends, axis=1)], np.split(steps, ends)


def _best_range(seen: _Seen, rows: FloatArray, weights: Sequence[FloatArray], largest: int) -> _Range:
    """Return the range with which the products are closest to their fp32 values."""
    compared, together = rows[:: max(1, len(rows) // _COMPARED)], np.concatenate(weights, axis=1)
    exact = compared @ together
    tried = [_range(seen, factors) for factors in _factors(seen, together)]
    return min(
        tried,
        key=lambda candidate: float(
            np.square(_product(compared, together, candidate, largest) - exact).sum()
        ),
    )


def _factors(seen: _Seen, weights: FloatArray) -> Iterator[FloatArray]:
    """Yield choices of column factors: all 1, SmoothQuant at several strengths, and caps on the largest
    columns.
    """
    columns = np.maximum(np.maximum(np.abs(seen.low), np.abs(seen.high)), 1e-6)
    rows = np.maximum(np.abs(weights).max(axis=1), 1e-6)
    yield np.ones_like(columns)
    for strength in _STRENGTHS:
        yield (columns**strength / rows ** (1 - strength)).astype(np.float32)
    for cap in _CAPS:
        yield np.maximum(columns / np.quantile(columns, cap), 1).astype(np.float32)


def _range(seen: _Seen, factors: FloatArray) -> _Range:
    low, high = min(float((seen.low / factors).min()), 0.0), max(float((seen.high / factors).max()), 0.0)
    scale = np.float32(max(high - low, 1e-6) / STEPS)
    return _Range(factors, scale, np.uint8(np.clip(round(-low / float(scale)), 0, STEPS)))


def _product(rows: FloatArray, weights: FloatArray, chosen: _Range, largest: int) -> FloatArray:
    """Return the result of a product in int8."""
    grid, steps = on_grid(weights * chosen.factors[:, None], largest)
    return chosen.read(rows) @ (grid * steps)
