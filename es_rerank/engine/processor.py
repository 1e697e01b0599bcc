"""What of the processor decides how models are quantised."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_EXACT = frozenset({"avx512_vnni", "avx_vnni"})


@cache
def adds_bytes_exactly() -> bool:
    """Whether products of bytes are added up without overflow: on ARM, and on x86-64 with VNNI.

    Elsewhere, also where it cannot be seen, two products share 16 bits, and weights of 8 bits overflow silently (ONNX
    Runtime, docs/performance/model-optimizations/quantization.md, "U8S8").
    """
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return True
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not _EXACT.isdisjoint(flags)
