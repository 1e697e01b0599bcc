"""Tells whether this processor computes 8-bit products exactly. The quantization of a model depends on it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})


@cache
def adds_bytes_exactly() -> bool:
    """Return whether the processor adds products of 8-bit integers without overflow.

    ARM processors do, and x86-64 processors with VNNI. Other x86-64 processors add two products in 16 bits,
    so that 8-bit weights overflow silently (ONNX Runtime,
    docs/performance/model-optimizations/quantization.md, "U8S8"). Returns False where the processor's flags
    cannot be read.
    """
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return True
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not _VNNI_FLAGS.isdisjoint(flags)
