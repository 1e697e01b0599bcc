"""A graph pass for encoders with rotary positions and local layers, such as ModernBERT and Ettin.

Each attention becomes ONNX Runtime's ``RotaryEmbedding`` of queries and keys and its ``MultiHeadAttention``,
without a mask: nothing is padded in this engine. A global layer reads the whole sequence; a local layer reads
its window in blocks (see ``banded``). A product whose result is only cut apart, into queries, keys and values
or into the two halves of a gated layer, becomes one product for each part. So nothing is copied, and the pass
``first_token`` can leave out the queries of the last layer.

The pass does not depend on how the exporter writes the cutting apart and the masks. It runs the graph and
looks which columns of which product a tensor holds, and which tokens a mask hides.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from .banded import Band, Nodes
from .probing import Probe, Sequences
from .rewriting import (
    LENGTHS,
    array,
    constants,
    keep_if_it_agrees,
    order_of,
    readers_of,
    remove_unread_mask,
    replace_nodes,
    state_domain,
    unscaled,
)

_LAYOUT = frozenset({"Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that move numbers and change none."""
_PROBED = 11
"""Length in tokens of the run that shows which columns a tensor holds; no other axis should have it."""
_MOST = 1024
"""Longest sequence on which a mask is looked at. No model has a longer window that is not global."""
_COMPARED = 2048
"""Longest sequence on which the graphs are compared. Beyond it, only the number of blocks grows."""

Arrays = dict[str, npt.NDArray[Any]]


class _Turned(NamedTuple):
    """Queries or keys before their rotation, (batch, heads, tokens, size), and what rotates them."""

    before: str
    cos: str
    sin: str


class _Attention(NamedTuple):
    """Names of the tensors of one attention. ``mask`` is None where nothing is hidden."""

    queries: _Turned
    keys: _Turned
    values: str
    mask: str | None
    out: str


class _Columns(NamedTuple):
    """Columns ``start`` to ``end`` of a tensor (batch, tokens, columns)."""

    tensor: str
    start: int
    end: int


def fuse_rotary_attention(path: Path, max_length: int, sequences: Sequences) -> bool:
    """Rewrite the graph file ``path`` of an encoder; return whether the file changed.

    The file stays as it is when an attention in it has no rotary positions, or a mask that is neither global
    nor a window. It also stays when the rewritten graph gives other outputs, for ``sequences`` of up to
    ``max_length`` tokens, just below and above the window among them.
    """
    model = onnx.load(path, load_external_data=False)
    windows = _Pass(model, path, max_length, sequences).run()
    if windows is None:
        return False
    longest = min(max_length, _COMPARED)
    edges = (
        edge + more for window in windows for edge in (window, 2 * window, 3 * window) for more in (0, 1)
    )
    lengths = {length for length in (*LENGTHS, *edges) if length < longest} | {longest}
    return keep_if_it_agrees(path, model, sequences, sorted(lengths))


class _Pass:
    """One pass over a graph."""

    def __init__(self, model: onnx.ModelProto, path: Path, max_length: int, sequences: Sequences) -> None:
        self._model, self._graph, self._path, self._max_length = model, model.graph, path, max_length
        self._sequences = sequences
        self._constants = constants(model.graph)
        self._made = {name: node for node in self._graph.node for name in node.output}
        self._readers = readers_of(self._graph)
        self._nodes = Nodes(self._graph, "/rotary")
        self._parts: dict[_Columns, str] = {}
        self._caches: dict[str, str] = {}

    def run(self) -> list[int] | None:
        """Fuse every attention; return the windows in use, or None where one attention is of another kind."""
        found = [self._attention(node) for node in self._graph.node if node.op_type == "Softmax"]
        attentions = [attention for attention in found if attention is not None]
        if not attentions or len(attentions) < len(found):
            return None
        windows = self._windows({each.mask for each in attentions if each.mask is not None})
        held = self._probe(attentions) if windows is not None else None
        if windows is None or held is None:
            return None
        ids = next((tensor.name for tensor in self._graph.input if tensor.name == "input_ids"), None)
        width, heads = held[attentions[0].out].shape[2], held[attentions[0].values].shape[1]
        if ids is None or any(not self._fits(held, each, width) for each in attentions):
            return None
        used = sorted({window for window in windows.values() if window is not None})
        bands = {window: Band(self._nodes, ids, window, width) for window in used}
        written: dict[str, list[onnx.NodeProto]] = {"": self._nodes.taken()}
        for attention in attentions:
            window = None if attention.mask is None else windows[attention.mask]
            if not self._write(attention, held, bands.get(window or 0), heads):
                return None
            written[attention.out] = self._nodes.taken()
        written |= self._halves()
        whole = [*written[""]]
        for node in self._graph.node:
            whole.extend(written.get(node.output[0], [node]))
        replace_nodes(self._graph, whole)
        remove_unread_mask(self._graph)
        state_domain(self._model)
        return used

    def _attention(self, softmax: onnx.NodeProto) -> _Attention | None:
        """Return the attention that has this Softmax in its middle; None when its positions do not rotate."""
        weighted = self._only_reader(softmax.output[0], "MatMul")
        product, mask = self._scores(softmax.input[0])
        if weighted is None or product is None or weighted.input[0] != softmax.output[0]:
            return None
        merged = self._only_reader(weighted.output[0], "Transpose")
        out = None if merged is None else self._only_reader(merged.output[0], "Reshape")
        queries, keys = self._turned(product.input[0]), self._turned(product.input[1])
        if (
            merged is None
            or order_of(merged) != (0, 2, 1, 3)
            or out is None
            or queries is None
            or keys is None
        ):
            return None
        return _Attention(queries, keys, weighted.input[1], mask, out.output[0])

    def _scores(self, name: str) -> tuple[onnx.NodeProto | None, str | None]:
        """Return the product of queries and keys that a Softmax reads, and the mask that is added to it."""
        whole = self._made.get(unscaled(self._made, name))
        sides: dict[str, str | None] = {name: None}
        if whole is not None and whole.op_type == "Add":
            sides = {whole.input[0]: whole.input[1], whole.input[1]: whole.input[0]}
        for side, mask in sides.items():
            node = self._made.get(unscaled(self._made, side))
            if node is not None and node.op_type == "MatMul":
                return node, mask
        return None, None

    def _turned(self, name: str) -> _Turned | None:
        """Return what was rotated to ``name``: x * cos + half_turned(x) * sin, scaled, maybe transposed."""
        name = unscaled(self._made, name)
        node = self._made.get(name)
        if node is not None and node.op_type == "Transpose" and order_of(node) == (0, 1, 3, 2):
            node = self._made.get(unscaled(self._made, node.input[0]))
        if node is None or node.op_type != "Add":
            return None
        for one, other in (node.input, reversed(node.input)):
            plain, half = self._made.get(one), self._made.get(other)
            if plain is None or half is None or {plain.op_type, half.op_type} != {"Mul"}:
                continue
            for place, operand in enumerate(half.input):
                before = self._half_turned(operand)
                if before is not None and before in plain.input:
                    cos = next((side for side in plain.input if side != before), before)
                    return _Turned(before, cos, half.input[1 - place])
        return None

    def _half_turned(self, name: str) -> str | None:
        """Return x for a tensor that is Concat(-x[second half], x[first half])."""
        node = self._made.get(name)
        if node is None or node.op_type != "Concat" or len(node.input) != 2:
            return None
        negated, second = (self._made.get(side) for side in node.input)
        first = None if negated is None or negated.op_type != "Neg" else self._made.get(negated.input[0])
        if first is None or second is None or {first.op_type, second.op_type} - {"Slice", "Split"}:
            return None
        return first.input[0] if first.input[0] == second.input[0] else None

    def _windows(self, masks: set[str]) -> dict[str, int | None] | None:
        """Return how far each mask lets a token see, None for the whole sequence.

        None instead of the mapping when a mask is of another kind.
        """
        windows: dict[str, int | None] = dict.fromkeys(masks)
        longest = min(self._max_length, _MOST)
        probe = Probe(self._path, masks, self._sequences) if masks else None
        for tokens in (*(length for length in (16, 64, 256) if length < longest), longest):
            held = {} if probe is None else probe.values(tokens)
            away = np.abs(np.arange(tokens)[:, None] - np.arange(tokens))
            for name, mask in held.items():
                if mask.ndim != 4 or mask.dtype.kind != "f":
                    return None
                hidden = mask < np.finfo(mask.dtype).min / 4
                if (mask[~hidden] != 0).any():
                    return None
                if windows[name] is None and hidden.any():
                    windows[name] = int(away[~hidden.any(axis=(0, 1))].max(initial=0))
                window = windows[name]
                if (hidden != (away > (tokens if window is None else window))).any() or window == 0:
                    return None
        return windows

    def _probe(self, attentions: Iterable[_Attention]) -> Arrays | None:
        """Return what the tensors of all attentions hold for a short sequence."""
        names: set[str] = set()
        for each in attentions:
            names.update((*each.queries, *each.keys, each.values, each.out))
            names.update(self._source(name) for name in (each.queries.before, each.keys.before, each.values))
        if names & set(self._constants):
            return None
        return Probe(self._path, names, self._sequences).values(_PROBED)

    def _source(self, name: str) -> str:
        """Return the tensor that ``name`` was cut from, and given another layout."""
        node = self._made.get(name)
        while node is not None and node.op_type in _LAYOUT and node.input[0] not in self._constants:
            name = node.input[0]
            node = self._made.get(name)
        return name

    def _fits(self, held: Arrays, attention: _Attention, width: int) -> bool:
        """Return whether an attention has heads of one size and one rotation for its queries and keys."""
        queries, keys, values, out = (
            held[name]
            for name in (attention.queries.before, attention.keys.before, attention.values, attention.out)
        )
        cos, sin = held[attention.queries.cos], held[attention.queries.sin]
        return (
            queries.ndim == 4
            and queries.shape == keys.shape == values.shape
            and out.shape == (len(queries), _PROBED, width)
            and queries.shape[1] * queries.shape[3] == width
            and queries.shape[3] % 2 == 0
            and attention.queries[1:] == attention.keys[1:]
            and all(
                turn.shape[-2:] == (_PROBED, queries.shape[3])
                and (turn == np.concatenate([turn[..., : turn.shape[-1] // 2]] * 2, axis=-1)).all()
                for turn in (cos, sin)
            )
        )

    def _write(self, attention: _Attention, held: Arrays, band: Band | None, heads: int) -> bool:
        """Add the nodes of an attention; return False when its inputs are not columns of a product."""
        parts = [
            self._columns(name, held)
            for name in (attention.queries.before, attention.keys.before, attention.values)
        ]
        if any(part is None for part in parts) or held[attention.values].shape[1] != heads:
            return False
        queries, keys, values = (self._part(part, held) for part in parts if part is not None)
        size = held[attention.values].shape[3]
        turned = [
            self._nodes.add(
                "RotaryEmbedding",
                [tensor, self._first(), *(self._cache(turn, size) for turn in attention.queries[1:])],
                rank=3,
            )
            for tensor in (queries, keys)
        ]
        if band is None:
            self._nodes.add(
                "MultiHeadAttention", [*turned, values], out=attention.out, rank=3, num_heads=heads
            )
        else:
            band.attention(turned[0], turned[1], values, heads, attention.out)
        return True

    def _first(self) -> str:
        """Return the position of the first token, [0]; the operator counts on from there."""
        return self._caches.setdefault("", self._caches.get("") or self._nodes.constant([0]))

    def _cache(self, turn: str, size: int) -> str:
        """Return the cosines or sines as the operator reads them, (tokens or more, size / 2)."""
        if turn not in self._caches:
            add, constant = self._nodes.add, self._nodes.constant
            rows = add("Reshape", [turn, constant([-1, size])])
            self._caches[turn] = add("Slice", [rows, constant([0]), constant([size // 2]), constant([1])])
        return self._caches[turn]

    def _columns(self, name: str, held: Arrays) -> _Columns | None:
        """Return the columns that hold the numbers of ``name``.

        The tensor is (batch, heads, tokens, size), or (batch, tokens, columns).
        """
        source = self._source(name)
        values, whole = held[name], held[source]
        if values.ndim == 4:
            values = values.transpose(0, 2, 1, 3).reshape(len(values), _PROBED, -1)
        width = values.shape[2]
        if whole.ndim != 3 or whole.shape[:2] != values.shape[:2]:
            return None
        return next(
            (
                _Columns(source, start, start + width)
                for start in range(0, whole.shape[2] - width + 1, width)
                if (whole[..., start : start + width] == values).all()
            ),
            None,
        )

    def _part(self, columns: _Columns, held: Arrays) -> str:
        """Return a tensor of these columns alone."""
        if (columns.start, columns.end) == (0, held[columns.tensor].shape[2]):
            return columns.tensor
        if columns not in self._parts:
            add, constant = self._nodes.add, self._nodes.constant
            self._parts[columns] = self._product_of(columns) or add(
                "Slice",
                [columns.tensor, constant([columns.start]), constant([columns.end]), constant([2])],
            )
        return self._parts[columns]

    def _product_of(self, columns: _Columns, out: str | None = None) -> str | None:
        """Add the product that gives these columns alone; None where the tensor is made otherwise."""
        node, bias = self._made.get(columns.tensor), None
        if node is not None and node.op_type == "Add":
            bias = next(
                (array(self._constants, name) for name in node.input if name in self._constants), None
            )
            node = self._made.get(next((name for name in node.input if name not in self._constants), ""))
            if bias is None or bias.ndim != 1:
                return None
        weights = (
            array(self._constants, node.input[1]) if node is not None and node.op_type == "MatMul" else None
        )
        if node is None or weights is None or weights.ndim != 2 or weights.dtype != np.float32:
            return None
        cut = slice(*columns[1:])
        name = self._nodes.constant(weights[:, cut], np.float32)
        if bias is None:
            return self._nodes.add("MatMul", [node.input[0], name], out=out)
        product = self._nodes.add("MatMul", [node.input[0], name])
        return self._nodes.add("Add", [product, self._nodes.constant(bias[cut], np.float32)], out=out)

    def _halves(self) -> dict[str, list[onnx.NodeProto]]:
        """Return the products that give the two halves of a gated layer, by the first name they make."""
        products = [node for node in self._graph.node if node.op_type == "MatMul"]
        gates = {node.output[0]: cuts for node in products if (cuts := self._two_cuts(node))}
        names = {*gates, *(name for cuts in gates.values() for cut in cuts for name in cut.output)}
        held = Probe(self._path, names, self._sequences).values(_PROBED) if gates else {}
        written: dict[str, list[onnx.NodeProto]] = {}
        for cuts in gates.values():
            columns = {name: self._columns(name, held) for cut in cuts for name in cut.output}
            if any(part is None for part in columns.values()):
                continue
            for cut in cuts:
                made = [
                    self._product_of(part, out=name)
                    for name, part in columns.items()
                    if part is not None and name in cut.output
                ]
                nodes = self._nodes.taken()
                if all(made):
                    written[cut.output[0]] = nodes
        return written

    def _two_cuts(self, product: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the nodes that cut a product into two tensors, if that is all that is done with it."""
        readers = [node for node in self._readers.get(product.output[0], ()) if node.op_type != "Shape"]
        kinds = {node.op_type for node in readers}
        parts = [name for node in readers for name in node.output]
        weights = self._constants.get(product.input[1])
        cut = len(kinds) == 1 and kinds < {"Slice", "Split"} and len(parts) == 2 and weights is not None
        return readers if cut else []

    def _only_reader(self, name: str, kind: str) -> onnx.NodeProto | None:
        """Return the node that reads a tensor's numbers, if there is only one and it is of ``kind``."""
        readers = [node for node in self._readers.get(name, ()) if node.op_type != "Shape"]
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None
