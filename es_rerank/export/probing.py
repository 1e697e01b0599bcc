"""Values of tensors inside a graph, as the graph computes them for whole sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ..engine.session import CPU, typed_feeds

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ROWS = 2
"""Sequences of one run, so that the batch size is never taken for another axis of length 1."""


@dataclass(frozen=True)
class Sequences:
    """What sequences a graph is tried on.

    Token ids are drawn from all below ``vocabulary``. A quarter of the tokens, at most, are replaced by the
    ids ``special``. With two ``segments``, the first tokens of a sequence have the type 0 and the others 1.
    """

    vocabulary: int = 100
    special: tuple[int, ...] = ()
    segments: int = 1

    @classmethod
    def of(cls, tokenizer: Tokenizer, graph: onnx.GraphProto, *, pairs: bool) -> Sequences:
        """Return sequences like those that a tokenizer gives to a graph; ``pairs``: of two texts each."""
        encoded = tokenizer.encode("a", "a") if pairs else tokenizer.encode("a")
        special = {
            token
            for token, is_special in zip(encoded.ids, encoded.special_tokens_mask, strict=True)
            if is_special
        }
        known = tokenizer.get_vocab(with_added_tokens=True).values()
        vocabulary = min([max(known, default=0) + 1, *_rows_of_table(graph, "input_ids")])
        segments = min([max(encoded.type_ids, default=0) + 1, *_rows_of_table(graph, "token_type_ids")])
        return cls(vocabulary, tuple(sorted(token for token in special if token < vocabulary)), segments)

    def rows(self, tokens: int) -> tuple[list[list[int]], list[list[int]]]:
        """Return the token ids and the types of two sequences of ``tokens`` tokens without padding.

        No id occurs twice before every id has occurred once.
        """
        draw = np.random.default_rng(tokens)
        ids = np.resize(draw.permutation(self.vocabulary), (_ROWS, tokens))
        types = np.zeros_like(ids)
        for row in range(_ROWS):
            count = min(len(self.special), tokens // 4)
            ids[row, draw.permutation(tokens)[:count]] = draw.permutation(self.special)[:count]
            if self.segments > 1:
                types[row, draw.integers(1, max(tokens, 2)) :] = 1
        return ids.tolist(), types.tolist()


ONE_SEGMENT = Sequences()
"""What a graph without a tokenizer is tried on: the first 100 ids, in one segment."""


def _rows_of_table(graph: onnx.GraphProto, name: str) -> Iterable[int]:
    """Yield how many rows each constant table has that is looked up by the input ``name``."""
    tables, names = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}, {name}
    for node in graph.node:
        if node.op_type in {"Cast", "Identity"} and node.input[0] in names:
            names.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in names and node.input[0] in tables:
            yield tables[node.input[0]]


class Probe:
    """A graph file, run to see what a tensor holds."""

    def __init__(self, path: Path, names: Iterable[str], sequences: Sequences) -> None:
        """Load the graph file ``path`` with the tensors ``names`` as its outputs."""
        self._names, self._sequences = sorted(set(names)), sequences
        model = onnx.load(path, load_external_data=False)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # In the same folder, so that external weights are found.
        probed = path.with_name(f"probed_{path.name}")
        onnx.save(model, probed)
        try:
            self._session = onnxruntime.InferenceSession(str(probed), options, providers=[CPU])
        finally:
            probed.unlink()

    def values(self, tokens: int) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors by name, for two drawn sequences of ``tokens`` tokens without padding."""
        inputs = {node.name: node.type for node in self._session.get_inputs()}
        arrays = typed_feeds(inputs, *self._sequences.rows(tokens))
        return dict(zip(self._names, self._session.run(self._names, arrays), strict=True))
