"""Chooses the precision of a reranker whose folder has two: the one that is faster on this machine.

Embedders are not chosen so. An index records the name of the model that made its vectors, and vectors of two
precisions differ: which ones an index gets must not depend on the speed of a machine.
"""

from __future__ import annotations

import logging
import platform
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal, NamedTuple

from ...engine.memory import available_bytes
from ...engine.pool import Pool
from ...engine.processor import cores, instruction_sets, processor_name
from ...engine.session import CPU
from ...engine.turns import BUDGET_S, lengths_for, side_by_side, take_turns
from ..manifest import Manifest, Precision
from .open_model import int8_overflows, open_model
from .remembered import Key, recall, remember
from .speeds import Speeds, speeds_of

_LOG = logging.getLogger(__name__)

_COPIES = 2
"""A loaded graph takes about so many times the bytes of its file: ONNX Runtime rearranges the weights."""

Why = Literal["told", "only", "manifest", "provider", "overflow", "measured", "undecided", "unmeasured"]
"""Why a precision was taken. ``told``: the caller named it. ``only``: the folder has no other.
``manifest``: it is an embedder, which has the one that its manifest names.
``provider``: the CPU does not run the model. ``overflow``: this processor computes the int8 graph wrongly.
``measured``: it is the better one here. The default one was taken when a measurement did not decide
(``undecided``) or was not possible (``unmeasured``)."""


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

    It is ``variant`` if that is given. Where the folder has both precisions and the CPU runs them, it is the
    faster one, and fp32 when int8 is less than 5 % faster. This is measured in about ``budget_s`` seconds
    when the folder is loaded first, and remembered. ``threads`` is the number of runs side by side, 0 for one
    per core. A fault of the measurement is no error: the default precision is taken then.
    """
    if (known := known_choice(manifest, variant, provider)) is not None:
        return known
    default = manifest.default_variant
    key = key_of(manifest, threads or cores())
    speeds = recall(key)
    if speeds is None or speeds.decided is None:
        speeds = _tried(folder, manifest, threads, provider, budget_s)
        if speeds is None:
            return Choice(default, "unmeasured")
    if (better := speeds.decided) is None:
        _LOG.info("model %s: a measurement did not tell which precision is faster", manifest.name)
        return Choice(default, "undecided", speeds)
    return Choice(better, "measured", speeds)


def known_choice(manifest: Manifest, variant: Precision | None, provider: str) -> Choice | None:
    """Return the choice where nothing has to be measured for it, else None."""
    if variant is not None:
        return Choice(variant, "told")
    if len(manifest.variants) == 1:
        return Choice(manifest.default_variant, "only")
    if provider != CPU:
        return Choice(manifest.default_variant, "provider")
    return Choice("fp32", "overflow") if int8_overflows(manifest) else None


def measured(
    folder: Path, manifest: Manifest, *, threads: int = 0, provider: str = CPU, budget_s: float = BUDGET_S
) -> Speeds:
    """Return how fast a model is in each of its precisions, measured in about ``budget_s`` seconds.

    It is remembered when it tells which precision is better. Raises ModelFolderError for a folder that cannot
    be loaded, MemoryError when there is too little memory for all graphs at a time.
    """
    need = _COPIES * sum(manifest.files[name].bytes for name in _graphs(manifest))
    if need > (free := available_bytes()):
        raise MemoryError(f"the graphs take about {need // 1024**2} MiB, and {free // 1024**2} MiB are free")
    with ExitStack() as stack:
        pool = stack.enter_context(closing(Pool(threads)))
        runs = {
            precision: side_by_side(open_model(folder, manifest.kind, precision, provider).session, pool)
            for precision in sorted(manifest.variants)
        }
        turns = take_turns(runs, lengths_for(manifest.max_length), budget_s=budget_s)
        speeds = speeds_of(turns, pool.threads)
    if speeds.decided is not None and provider == CPU:
        remember(key_of(manifest, threads or cores()), speeds)
    return speeds


def key_of(manifest: Manifest, threads: int) -> Key:
    """Return everything besides chance that the speeds of a model depend on."""
    import onnxruntime  # noqa: PLC0415 importing es_rerank loads no native library

    return {
        "format": "1",
        **{f"file {name}": manifest.files[name].sha256 for name in _graphs(manifest)},
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


def _graphs(manifest: Manifest) -> list[str]:
    """Return the files of the graphs in all precisions, with their weights."""
    names = [part for name in manifest.variants.values() for part in (name, f"{name}_data")]
    return sorted(name for name in names if name in manifest.files)
