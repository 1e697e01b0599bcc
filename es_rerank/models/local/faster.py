"""Chooses the precision of a reranker whose folder has several: the one that is faster on this machine.

Embedders are not chosen so. An index records the name of the model that made its vectors, and vectors of two
precisions differ: which ones an index gets must not depend on the speed of a machine.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal, NamedTuple

from ...engine.batch_runner import threads_for
from ...engine.memory import available_bytes
from ...engine.pool import Pool
from ...engine.processor import cores, instruction_sets, processor_name
from ...engine.session import CPU, CUDA
from ...engine.turns import BUDGET_S, lengths_for, side_by_side, take_turns
from ..manifest import Manifest, Precision
from ..parity_pairs import LEAST_AGREEMENT
from .open_model import int8_overflows, open_model
from .remembered import Key, recall, remember
from .speeds import Speeds, speeds_of

_LOG = logging.getLogger(__name__)

_GPUS = frozenset(
    {
        CUDA,
        "TensorrtExecutionProvider",
        "NvTensorRTRTXExecutionProvider",
        "MIGraphXExecutionProvider",
        "ROCMExecutionProvider",
        "DmlExecutionProvider",
    }
)
"""ONNX Runtime's execution providers on GPUs. They compute in fp16 and fp32; int8 goes back to the CPU."""

_TOGETHER = 50
"""So many sequences share a run when a model is timed on other hardware than the CPU: a window."""

_COPIES = 2
"""A loaded graph takes about so many times the bytes of its file: ONNX Runtime rearranges the weights."""

Why = Literal[
    "told",
    "only",
    "manifest",
    "provider",
    "overflow",
    "disagrees",
    "measured",
    "remembered",
    "undecided",
    "unmeasured",
]
"""Why a precision was taken. ``told``: the caller named it. ``only``: the folder has no other. ``manifest``:
it is an embedder, which has the one that its manifest names. ``provider``: the CPU does not run the model; on
a GPU it is fp16, or else fp32. ``overflow``: this processor computes the int8 graph wrongly. ``disagrees``:
the imported int8 graph orders passages unlike fp32. ``measured``: it is the better one here. ``remembered``:
an earlier measurement says so, and a new one does not decide. The default one is taken when no measurement
decides (``undecided``) or is possible (``unmeasured``)."""


class Choice(NamedTuple):
    """A precision, why it was taken, and the measurement if there is one."""

    precision: Precision
    why: Why
    speeds: Speeds | None = None


def chosen(
    folder: Path,
    manifest: Manifest,
    variant: Precision | None,
    *,
    threads: int = 0,
    provider: str = CPU,
    budget_s: float = BUDGET_S,
) -> Choice:
    """Return the precision in which a reranker is to be loaded.

    It is ``variant`` if that is given. On a GPU it is fp16, or else fp32. Where the folder has fp32 and int8
    and the CPU runs them, it is the faster one, and fp32 when int8 is less than 5 % faster. This is measured
    in about ``budget_s`` seconds when the folder is loaded first, and remembered. ``threads`` is the number
    of runs side by side, 0 for one per core. A fault of the measurement is no error: the default precision is
    taken then.
    """
    if (known := known_choice(manifest, variant, provider)) is not None:
        return known
    default = manifest.default_variant
    speeds = earlier(manifest, threads)
    if speeds is None:
        speeds = _tried(folder, manifest, threads, provider, budget_s)
        if speeds is None:
            return Choice(default, "unmeasured")
    if (better := speeds.decided) is None:
        _LOG.info("model %s: a measurement did not tell which precision is faster", manifest.name)
        return Choice(default, "undecided", speeds)
    return Choice(better, "measured", speeds)


def earlier(manifest: Manifest, threads: int = 0) -> Speeds | None:
    """Return the earlier measurement by which a load chooses; None when a load has to measure."""
    speeds = recall(key_of(manifest, threads or cores()))
    return None if speeds is None or speeds.decided is None else speeds


def known_choice(manifest: Manifest, variant: Precision | None, provider: str) -> Choice | None:
    """Return the choice where nothing has to be measured for it, else None."""
    if variant is not None:
        return Choice(variant, "told")
    if len(manifest.variants) == 1:
        return Choice(manifest.default_variant, "only")
    if provider != CPU:
        return Choice(_elsewhere(manifest, provider), "provider")
    if len(on_cpu := _candidates(manifest, provider)) == 1:
        return Choice(on_cpu[0], "only")
    if int8_overflows(manifest):
        return Choice("fp32", "overflow")
    beside = manifest.imported.int8_beside_fp32 if manifest.imported is not None else None
    unlike = beside is not None and not beside.agreement >= LEAST_AGREEMENT
    return Choice("fp32", "disagrees") if unlike else None


def _elsewhere(manifest: Manifest, provider: str) -> Precision:
    """Return the precision for another execution provider than the CPU."""
    suit: tuple[Precision, ...] = ("fp16", "fp32") if provider in _GPUS else ()
    return next((each for each in suit if each in manifest.variants), manifest.default_variant)


def _candidates(manifest: Manifest, provider: str, variant: Precision | None = None) -> list[Precision]:
    """Return the precisions that are compared. On the CPU fp16 is never faster, so it is one of them only if
    somebody named it, or if there is no other.
    """
    wanted = [
        each for each in sorted(manifest.variants) if provider != CPU or each in {"fp32", "int8", variant}
    ]
    return wanted or sorted(manifest.variants)


def measured(
    folder: Path,
    manifest: Manifest,
    *,
    threads: int = 0,
    provider: str = CPU,
    budget_s: float = BUDGET_S,
    variant: Precision | None = None,
) -> Speeds:
    """Return how fast a model is in each of its precisions, measured in about ``budget_s`` seconds.

    On the CPU fp16 is one of them only if it is the ``variant`` that somebody named.

    It is remembered when it tells which precision is better. Raises ModelFolderError for a folder that cannot
    be loaded, MemoryError when there is too little memory for all graphs at a time.
    """
    candidates = _candidates(manifest, provider, variant)
    need = _COPIES * sum(manifest.files[name].bytes for name in _graphs(manifest, candidates))
    if need > (free := available_bytes()):
        raise MemoryError(f"the graphs take about {need // 1024**2} MiB, and {free // 1024**2} MiB are free")
    with ExitStack() as stack:
        pool = stack.enter_context(closing(Pool(threads_for(provider, threads))))
        together = 1 if provider == CPU else _TOGETHER
        runs = {
            precision: side_by_side(
                open_model(folder, manifest.kind, precision, provider).session, pool, together
            )
            for precision in candidates
        }
        turns = take_turns(runs, lengths_for(manifest.max_length), budget_s=budget_s)
        speeds = speeds_of(turns, pool.threads * together)
    if speeds.decided is not None and provider == CPU:
        remember(key_of(manifest, threads or cores()), speeds)
    return speeds


def key_of(manifest: Manifest, threads: int) -> Key:
    """Return everything besides chance that the speeds of a model depend on."""
    import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

    return {
        "format": "1",
        **{f"file {name}": manifest.files[name].sha256 for name in _graphs(manifest, ("fp32", "int8"))},
        "max_length": str(manifest.max_length),
        "processor": f"{platform.machine()} {processor_name()}",
        "instruction_sets": " ".join(sorted(instruction_sets())),
        "cores": str(cores()),
        "threads": str(threads),
        "onnxruntime": onnxruntime.__version__,
    }


def _tried(folder: Path, manifest: Manifest, threads: int, provider: str, budget_s: float) -> Speeds | None:
    try:
        speeds = measured(folder, manifest, threads=threads, provider=provider, budget_s=budget_s)
    except Exception as error:  # noqa: BLE001 ONNX Runtime's exceptions share no base but Exception
        _LOG.warning(
            "model %s: it cannot be measured which precision is faster, so %s is taken (%s)",
            manifest.name,
            manifest.default_variant,
            error,
        )
        return None
    for tokens, by_precision in speeds.seconds.items():
        told = ", ".join(f"{name} {1 / seconds:.0f} pairs/s" for name, seconds in by_precision.items())
        _LOG.info("model %s at %d tokens: %s", manifest.name, tokens, told)
    return speeds


def _graphs(manifest: Manifest, precisions: Iterable[Precision]) -> list[str]:
    """Return the files of the graphs in some precisions, with their weights."""
    present = [each for each in precisions if each in manifest.variants]
    return sorted(set().union(*({manifest.variants[each]} | manifest.weights(each) for each in present)))
