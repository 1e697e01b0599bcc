"""Runs one ONNX graph on sequences of equal length, or padded to one length. Each run uses one thread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelFolderError, SettingsError
from ..types import FloatArray
from .padding import mask_of, padded, without_padding

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions

CPU = "CPUExecutionProvider"
"""ONNX Runtime's name of the execution provider that computes on the CPU."""

LOGITS = "logits"
"""The name of a cross-encoder's output in exported graphs."""

_OUTPUTS = (LOGITS, "last_hidden_state", "token_embeddings")
"""``Session.run`` returns the first of these outputs that the graph has, else the graph's first output."""

_MASK = "attention_mask"

_DTYPES: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of the inputs. PyTorch exports int64; some converters of other frameworks write int32."""

_SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""Optimizers of ONNX Runtime that make these graphs slower, so they are disabled.

The fused SkipLayerNormalization is not vectorised: it takes 111 µs for 48 rows of 384 numbers.
LayerNormalization and Add take 25 µs (onnxruntime 1.32, AVX-512)."""

_PROBE = [0, 0, 0]
"""Token ids of a test run. Three tokens make hidden states (1, 3, dims) differ from logits (1, 1), (1, 2)."""

PROBE_LENGTHS = (5, 48)
"""Lengths in tokens of the test runs that tell whether sequences may share a run."""
PROBE_VOCABULARY = 8
"""Test runs draw token ids below this number. Even the smallest vocabulary has them."""

_LEFT_OVER = 0.1
"""A mask is obeyed when at most this share of what padding changes without it is left: that is rounding."""

_ROUNDING = 1e-4
"""A change of an output by padding that is no fault, whatever it would be without the mask."""

CUDA = "CUDAExecutionProvider"
"""ONNX Runtime's name of the execution provider of NVIDIA's GPUs."""

_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    # By default the arena doubles when it grows. Runs differ in size, so that would take far more memory than
    # the largest run needs.
    CUDA: {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"},
}
"""Options of execution providers. CUDA_VISIBLE_DEVICES says which GPU is the first one."""


class Session:
    """A graph that reads sequences of token ids. ``run`` may be called from many threads at once.

    Each run uses one thread: two runs in parallel use two cores better than one run on both (70 against 57
    pairs per second, fp32 MiniLM-L6). ``provider`` is one of ONNX Runtime's execution providers. The CPU runs
    the operators that this provider does not have. Raises ModelFolderError when the file is not a graph with
    the inputs of an encoder, SettingsError when the provider is not installed. Importing this module does not
    load ONNX Runtime.
    """

    def __init__(self, path: Path, provider: str = CPU) -> None:
        self.provider = provider
        self._session = _loaded(path, provider)
        self._path = path
        self._inputs = {node.name: node.type for node in self._session.get_inputs()}
        self._check_inputs()
        self._output = output_that_is_read([node.name for node in self._session.get_outputs()])

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the output for n sequences of equal length, float32.

        A cross-encoder gives logits, (n, labels). An encoder gives hidden states, (n, n_tokens, dims).
        """
        (output,) = self._session.run([self._output], self._feeds(ids, type_ids))
        return np.asarray(output, dtype=np.float32)

    def try_run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the same as ``run``. If it fails, ONNX Runtime prints nothing: the failure is an answer."""
        (output,) = self._session.run([self._output], self._feeds(ids, type_ids), _silent())
        return np.asarray(output, dtype=np.float32)

    def run_padded(
        self,
        ids: Sequence[Sequence[int]],
        type_ids: Sequence[Sequence[int]],
        pad_id: int,
        *,
        silent: bool = False,
    ) -> list[FloatArray]:
        """Return the output of each of n sequences of any lengths, computed in one run: float32, (labels,) or
        (n_tokens, dims).

        Shorter sequences are filled up with ``pad_id``, which the mask hides; ``pads`` says whether the graph
        can do that. ``silent``: if it fails, ONNX Runtime prints nothing.
        """
        lengths = list(map(len, ids))
        arrays = self._feeds(padded(ids, pad_id), padded(type_ids, 0))
        arrays[_MASK] = mask_of(lengths).astype(arrays[_MASK].dtype)
        (output,) = self._session.run([self._output], arrays, _silent() if silent else None)
        return without_padding(np.asarray(output, dtype=np.float32), lengths)

    def pads(self, pad_id: int) -> bool:
        """Return whether sequences of different lengths may share a run: whether the graph has a mask that
        hides ``pad_id``. Test runs tell it.
        """
        if _MASK not in self._inputs:
            return False
        draw = np.random.default_rng(0)
        short, long = (draw.integers(0, PROBE_VOCABULARY, tokens).tolist() for tokens in PROBE_LENGTHS)
        filled = [*short, *[pad_id] * (len(long) - len(short))]
        none = [0] * len(long)
        try:
            of_short, of_long = self.try_run([short], [none[: len(short)]]), self.try_run([long], [none])
            visible = without_padding(self.try_run([filled], [none]), [len(short)])
            hidden = self.run_padded([long, short], [none, none[: len(short)]], pad_id, silent=True)
            change = float(np.abs(visible[0] - of_short[0]).max())
            left = max(
                float(np.abs(hidden[0] - of_long[0]).max()), float(np.abs(hidden[1] - of_short[0]).max())
            )
        except Exception:  # noqa: BLE001 ONNX Runtime's exceptions share no base but Exception
            return False
        return left <= max(_ROUNDING, _LEFT_OVER * change)

    def _feeds(
        self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
    ) -> dict[str, npt.NDArray[Any]]:
        return typed_feeds(self._inputs, ids, type_ids)

    def _check_inputs(self) -> None:
        """Raise ModelFolderError when the graph asks for anything else than an encoder's inputs."""
        if unknown := self._inputs.keys() - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
            raise ModelFolderError(
                f"{self._path} asks for inputs that are not known here: {', '.join(sorted(unknown))}; "
                "export the model with: es-rerank export"
            )
        if other := {name: dtype for name, dtype in self._inputs.items() if dtype not in _DTYPES}:
            stated = ", ".join(f"{name} as {dtype}" for name, dtype in sorted(other.items()))
            raise ModelFolderError(
                f"{self._path} asks for {stated}, and only int64 and int32 are given here; export the model "
                "with: es-rerank export"
            )

    def labels(self) -> int:
        """Return how many logits the graph gives for a pair: 1 or 2.

        A test run tells it, because the shapes in exported graphs are often symbolic. Without this check, a
        graph that holds only the encoder would load, and it would not change the order of the passages.
        Raises ModelFolderError for a graph that gives anything else than one or two logits.
        """
        shape = self._probe()
        if shape not in {(1, 1), (1, 2)}:
            raise ModelFolderError(
                f"{self._path} gives an output of shape {shape} for one pair and not one or two logits: "
                "it was exported without its head; export it again"
            )
        return shape[1]

    def dims(self) -> int:
        """Return the number of dimensions of a hidden state.

        Raises ModelFolderError for a graph that does not give one hidden state per token.
        """
        shape = self._probe()
        if len(shape) != 3 or shape[:2] != (1, len(_PROBE)):
            raise ModelFolderError(
                f"{self._path} gives an output of shape {shape} for {len(_PROBE)} tokens "
                "and not one hidden state per token; export it again as a bi-encoder"
            )
        return shape[2]

    def shares_runs(self, most: int) -> bool:
        """Return whether a run of up to ``most`` sequences gives bit for bit the results of separate runs.

        Test runs tell it: ONNX Runtime may multiply one row with another kernel than several rows, and that
        kernel may add in another order.
        """
        draw = np.random.default_rng(0)
        probes = [draw.integers(0, PROBE_VOCABULARY, (most, tokens)) for tokens in PROBE_LENGTHS]
        return all(
            same_bits(lambda rows: self.run(rows.tolist(), np.zeros_like(rows).tolist()), probe)
            for probe in probes
        )

    def _probe(self) -> tuple[int, ...]:
        try:
            return self.run([_PROBE], [[0] * len(_PROBE)]).shape
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise ModelFolderError(
                f"{self._path} loads but does not run ({error}); export the model again"
            ) from error


def same_bits(run: Callable[[npt.NDArray[Any]], FloatArray], rows: npt.NDArray[Any]) -> bool:
    """Return whether all ``rows`` give the same bits in runs of one row, of two rows, and so on."""
    most = len(rows)
    outputs = {
        b"".join(run(rows[start : start + size]).tobytes() for start in range(0, most, size))
        for size in range(1, most + 1)
    }
    return len(outputs) == 1


def _loaded(path: Path, provider: str) -> InferenceSession:
    """Return an ONNX Runtime session whose runs use one thread. Raises what ``Session`` raises."""
    import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

    if provider not in (installed := onnxruntime.get_available_providers()):
        raise SettingsError(
            f"this ONNX Runtime has no {provider}, only {', '.join(installed)}; "
            "install the build that has it in the place of onnxruntime, such as onnxruntime-gpu for "
            "CUDAExecutionProvider (docs/models.md, On a GPU), or write one of these names"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Without the arena, every large matrix is requested from the system again, page by page: 400 tokens of
    # int8 MiniLM-L6 took a fifth longer. The arena also lowers the peak memory of the process: 128 MB against
    # 149 MB after 410 texts of up to 512 tokens.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    try:
        # ONNX Runtime prints to stdout what is wrong with a provider; commands write their answer there.
        with nullcontext() if provider == CPU else redirect_stdout(sys.stderr):
            if provider == CUDA and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
            session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=[
                    (each, _PROVIDER_OPTIONS.get(each, {})) for each in dict.fromkeys([provider, CPU])
                ],
                disabled_optimizers=_SLOW_FUSIONS if provider == CPU else [],
            )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ModelFolderError(
            f"{path} is not a graph that ONNX Runtime can load ({error}); export the model again"
        ) from error
    if provider not in session.get_providers():  # it then computes on the CPU, and only its log says so
        raise SettingsError(
            f"{provider} is installed and did not start: its driver, device or libraries are missing or of "
            "another version; install what this ONNX Runtime was built for, or leave "
            "ES_RERANK_EXECUTION_PROVIDER out"
        )
    return session


def output_that_is_read(names: Sequence[str]) -> str:
    """Return which of a graph's outputs ``Session.run`` returns."""
    return next((name for name in _OUTPUTS if name in names), names[0])


def _silent() -> RunOptions:
    """Return the options of a run whose failure is an answer: ONNX Runtime prints nothing."""
    import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return options


def typed_feeds(
    inputs: Mapping[str, str], ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
) -> dict[str, npt.NDArray[Any]]:
    """Return what ``feeds`` returns, int64 or int32. ``inputs`` holds the type of each input by its name, as
    ONNX Runtime states it.
    """
    arrays = feeds(inputs, ids, type_ids)
    return {name: rows.astype(_DTYPES[inputs[name]], copy=False) for name, rows in arrays.items()}


def feeds(
    names: Iterable[str], ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the input arrays of a graph for n sequences of equal length, each int64, (n, n_tokens).

    ``names`` are the inputs that the graph has. The attention mask is all ones, because nothing is padded.
    Positions count from 0.
    """
    rows = np.asarray(ids, dtype=np.int64)
    known = {
        "input_ids": rows,
        "attention_mask": np.ones_like(rows),
        "token_type_ids": np.asarray(type_ids, dtype=np.int64),
        "position_ids": np.broadcast_to(np.arange(rows.shape[1], dtype=np.int64), rows.shape),
    }
    return {name: known[name] for name in names}
