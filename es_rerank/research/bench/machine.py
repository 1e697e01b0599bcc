"""The machine of a measurement; without it a speed says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def machine(elasticsearch: str) -> dict[str, str | int]:
    """Return the CPU's name, its number of cores, and the versions of Python and Elasticsearch."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "elasticsearch": elasticsearch,
    }


def _cpu() -> str:
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
