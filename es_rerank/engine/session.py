"""One ONNX graph, run on one sequence at a time by one thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ModelFolderError
from ..types import FloatArray

_OUTPUTS = ("logits", "last_hidden_state", "token_embeddings")
"""Names of the output that is read, in this order; a graph with none of them is read at its first output."""

_PROBE = [0, 0, 0]
"""Three tokens, so that a hidden state (1, 3, dims) cannot be taken for logits (1, 1) or (1, 2)."""


class Session:
    """A graph that reads one sequence of token ids. ``run`` may be called from many threads at once.

    One thread per run: two runs side by side use two cores better than one run split over both (70 against 57 pairs
    per second, fp32 MiniLM-L6). Importing this module does not load ONNX Runtime.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # The arena keeps the peak of every thread for the session's life, and the memory pattern one plan per length
        # seen; without both, 150 texts took as long (1.6 s, int8 MiniLM-L6).
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise ModelFolderError(f"{path} is not a graph that ONNX Runtime can load ({error}); export the model again") from error
        self._path = path
        self._inputs = {node.name for node in self._session.get_inputs()}
        if unknown := self._inputs - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
            raise ModelFolderError(f"{path} asks for inputs that are not known here: {', '.join(sorted(unknown))}; export the model with: es-rerank export")
        names = [node.name for node in self._session.get_outputs()]
        self._output = next((name for name in _OUTPUTS if name in names), names[0])

    def run(self, ids: Sequence[int], type_ids: Sequence[int]) -> FloatArray:
        """Return the output for one sequence, float32: logits (1, labels) or hidden states (1, n_tokens, dims)."""
        row = np.asarray([ids], dtype=np.int64)
        known = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.asarray([type_ids], dtype=np.int64),
            "position_ids": np.arange(row.shape[1], dtype=np.int64)[None],
        }
        (output,) = self._session.run([self._output], {name: known[name] for name in self._inputs})
        return np.asarray(output, dtype=np.float32)

    def labels(self) -> int:
        """Return how many logits the head gives, 1 or 2. Raises ModelFolderError for a graph without such a head.

        Found by running it: exported shapes are often symbolic, and a graph that holds only the encoder would load
        and return the passages in the order they came.
        """
        shape = self._probe()
        if shape not in {(1, 1), (1, 2)}:
            raise ModelFolderError(f"{self._path} gives {shape} for one pair and not one or two logits: it was exported without its head; export it again")
        return shape[1]

    def dims(self) -> int:
        """Return the length of the hidden states. Raises ModelFolderError for a graph that does not give one per token."""
        shape = self._probe()
        if len(shape) != 3 or shape[:2] != (1, len(_PROBE)):
            raise ModelFolderError(f"{self._path} gives {shape} for {len(_PROBE)} tokens and not one hidden state per token; export it again as a bi-encoder")
        return shape[2]

    def _probe(self) -> tuple[int, ...]:
        try:
            return self.run(_PROBE, [0] * len(_PROBE)).shape
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise ModelFolderError(f"{self._path} loads but does not run ({error}); export the model again") from error
