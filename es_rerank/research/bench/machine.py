"""The machine of a measurement; without it a speed says nothing."""

from __future__ import annotations

import platform

from ...engine.processor import architecture, cores, instruction_sets, processor_name

_PRESETS = (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512f"))
"""sentence-transformers' presets for x86-64, best first, with the flag that each needs."""


def machine(elasticsearch: str) -> dict[str, str | int]:
    """Return the CPU's name, the cores that may be used, and the versions of Python and Elasticsearch."""
    return {
        "cpu": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "elasticsearch": elasticsearch,
    }


def int8_preset() -> str:
    """Return the name of sentence-transformers' quantization preset for this CPU."""
    if architecture() == "arm64":
        return "arm64"
    return next((name for name, flag in _PRESETS if flag in instruction_sets()), "avx2")
