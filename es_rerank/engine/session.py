"""One ONNX graph, run on sequences of one length by one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelFolderError, SettingsError
from ..types import FloatArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU = "CPUExecutionProvider"
"""ONNX Runtime's name of the processor among its execution providers."""

LOGITS, EXIT_LOGITS, HIDDEN = "logits", "exit_logits", "exit_hidden"
"""Outputs of a cross-encoder, of its part up to an exit head, and what its part from there on reads."""

_OUTPUTS = (LOGITS, "last_hidden_state", "token_embeddings")
"""Names of the output that is read, in this order; a graph with none of them is read at its first output."""

_SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime would fuse at load to no good: its SkipLayerNormalization is not vectorised, 111 µs for 48 rows of 384 where
LayerNormalization and Add take 25 (onnxruntime 1.32, AVX-512)."""

_PROBE = [0, 0, 0]
"""Three tokens, so that a hidden state (1, 3, dims) cannot be taken for logits (1, 1) or (1, 2)."""

_TOGETHER = (5, 48)
"""Lengths, in tokens, at which it is tried whether sequences may share a run."""
_PROBED_WORDS = 8
"""The first words of a vocabulary, which even the smallest has."""


class Session:
    """A graph that reads sequences of token ids. ``run`` may be called from many threads at once.

    One thread per run: two runs side by side use two cores better than one run split over both (70 against 57 pairs
    per second, fp32 MiniLM-L6). ``provider``: one of ONNX Runtime's execution providers, which runs what it can, the CPU the
    rest. Raises ModelFolderError for a file that is no graph of ours, SettingsError for a provider that is not installed.
    Importing this module does not load ONNX Runtime.
    """

    def __init__(self, path: Path, provider: str = CPU) -> None:
        self.provider = provider
        self._session = _loaded(path, provider)
        self._path = path
        self._inputs = {node.name for node in self._session.get_inputs()}
        if unknown := self._inputs - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
            raise ModelFolderError(
                f"{path} asks for inputs that are not known here: {', '.join(sorted(unknown))}; export the model with: es-rerank export"
            )
        names = [node.name for node in self._session.get_outputs()]
        self._output = next((name for name in _OUTPUTS if name in names), names[0])

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the output for sequences of one length, float32: logits (n, labels) or hidden states (n, n_tokens, dims)."""
        (output,) = self._session.run([self._output], feeds(self._inputs, ids, type_ids))
        return np.asarray(output, dtype=np.float32)

    def outputs(
        self, names: Sequence[str], ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
    ) -> list[FloatArray]:
        """Return these outputs for sequences of one length, float32."""
        return [
            np.asarray(found, dtype=np.float32)
            for found in self._session.run(list(names), feeds(self._inputs, ids, type_ids))
        ]

    def labels(self) -> int:
        """Return how many logits the head gives, 1 or 2. Raises ModelFolderError for a graph without such a head.

        Found by running it: exported shapes are often symbolic, and a graph that holds only the encoder would load
        and return the passages in the order they came.
        """
        shape = self._probe()
        if shape not in {(1, 1), (1, 2)}:
            raise ModelFolderError(
                f"{self._path} gives {shape} for one pair and not one or two logits: it was exported without its head; export it again"
            )
        return shape[1]

    def dims(self) -> int:
        """Return the length of the hidden states. Raises ModelFolderError for a graph that does not give one per token."""
        shape = self._probe()
        if len(shape) != 3 or shape[:2] != (1, len(_PROBE)):
            raise ModelFolderError(
                f"{self._path} gives {shape} for {len(_PROBE)} tokens and not one hidden state per token; export it again as a bi-encoder"
            )
        return shape[2]

    def shares_runs(self, most: int) -> bool:
        """Whether up to ``most`` sequences in one run give the bits that each gives alone.

        Found by running them: a product of one row may be another kernel than one of several, which adds in another order.
        """
        draw = np.random.default_rng(0)
        probes = [draw.integers(0, _PROBED_WORDS, (most, tokens)) for tokens in _TOGETHER]
        return all(
            _same_bits(lambda rows: self.run(rows.tolist(), np.zeros_like(rows).tolist()), probe)
            for probe in probes
        )

    def _probe(self) -> tuple[int, ...]:
        try:
            return self.run([_PROBE], [[0] * len(_PROBE)]).shape
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise ModelFolderError(
                f"{self._path} loads but does not run ({error}); export the model again"
            ) from error


class Continued:
    """The part of a graph that begins with hidden states. ``run`` may be called from many threads at once.

    Raises what ``Session`` raises.
    """

    def __init__(self, path: Path, provider: str = CPU) -> None:
        self._session = _loaded(path, provider)
        if [node.name for node in self._session.get_inputs()] != [HIDDEN]:
            raise ModelFolderError(
                f"{path} does not begin with hidden states; export the model again with --exit-layer"
            )

    def run(self, hidden: FloatArray) -> FloatArray:
        """Return logits, float32, (n, labels), for hidden states, (n, n_tokens, dims)."""
        (logits,) = self._session.run([LOGITS], {HIDDEN: hidden})
        return np.asarray(logits, dtype=np.float32)

    def shares_runs(self, most: int, dims: int) -> bool:
        """Whether up to ``most`` sequences in one run give the bits that each gives alone, as ``Session.shares_runs`` finds it."""
        draw = np.random.default_rng(0)
        return all(
            _same_bits(self.run, draw.normal(size=(most, tokens, dims)).astype(np.float32))
            for tokens in _TOGETHER
        )


def _same_bits(run: Callable[[npt.NDArray[Any]], FloatArray], rows: npt.NDArray[Any]) -> bool:
    """Whether runs of any size up to that of all ``rows`` give the same bits."""
    most = len(rows)
    found = {
        b"".join(run(rows[start : start + size]).tobytes() for start in range(0, most, size))
        for size in range(1, most + 1)
    }
    return len(found) == 1


def _loaded(path: Path, provider: str) -> InferenceSession:
    """Return a session of one thread. Raises what ``Session`` raises."""
    import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

    if provider not in (installed := onnxruntime.get_available_providers()):
        raise SettingsError(
            f"this ONNX Runtime has no {provider}, only {', '.join(installed)}; install the build that has it, such as onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Without the arena every large matrix is mapped anew from the system, page by page: 400 tokens of int8 MiniLM-L6
    # took a fifth longer. With it the process peaks lower, too: 128 MB against 149 after 410 texts of up to 512 tokens.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=list(dict.fromkeys([provider, CPU])), disabled_optimizers=_SLOWER
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ModelFolderError(
            f"{path} is not a graph that ONNX Runtime can load ({error}); export the model again"
        ) from error


def feeds(
    names: Iterable[str], ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
) -> dict[str, npt.NDArray[np.int64]]:
    """Return what the inputs ``names`` read for sequences of one length: nothing is masked, positions count from 0."""
    rows = np.asarray(ids, dtype=np.int64)
    known = {
        "input_ids": rows,
        "attention_mask": np.ones_like(rows),
        "token_type_ids": np.asarray(type_ids, dtype=np.int64),
        "position_ids": np.broadcast_to(np.arange(rows.shape[1], dtype=np.int64), rows.shape),
    }
    return {name: known[name] for name in names}
