"""The facts about this machine's processor: its name, its instruction sets and the cores to use.

This is the only module that reads them.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_FLAGS = ("flags", "Features")
"""The rows of ``/proc/cpuinfo`` that list the instruction sets, on x86-64 and on ARM."""

_VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})


def cores() -> int:
    """Return how many cores this process may use.

    This is the number in its CPU affinity, or the quota of a container when cgroups state a lower one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup, or "max" instead of a number: no quota
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    return allowed


def architecture() -> str:
    """Return the architecture of the processor: ``x86_64``, ``arm64``, or another name of the platform's."""
    name = platform.machine().lower()
    return {"aarch64": "arm64", "amd64": "x86_64"}.get(name, name)


def processor_name() -> str:
    """Return the maker's name of the processor; its architecture where Linux does not give a name."""
    return _row("model name") or platform.processor() or platform.machine()


def instruction_sets() -> frozenset[str]:
    """Return the flags of the processor, as Linux names them; an empty set where they cannot be read."""
    return frozenset(_row(*_FLAGS).split())


@cache
def adds_bytes_exactly() -> bool:
    """Return whether the processor adds products of 8-bit integers without overflow.

    ARM processors do, and x86-64 processors with VNNI. Other x86-64 processors add two products in 16 bits,
    so that 8-bit weights overflow silently (ONNX Runtime,
    docs/performance/model-optimizations/quantization.md, "U8S8"). Returns False where the processor's flags
    cannot be read.
    """
    return architecture() == "arm64" or has_vnni()


def has_vnni() -> bool:
    """Return whether an x86-64 processor has instructions for products of 8-bit integers (VNNI)."""
    return not _VNNI_FLAGS.isdisjoint(instruction_sets())


def has_amx() -> bool:
    """Return whether an x86-64 processor multiplies matrices of 8-bit integers in one instruction (AMX)."""
    return "amx_int8" in instruction_sets()


def _row(*names: str) -> str:
    """Return the value of the first row of ``/proc/cpuinfo`` with one of these names; "" if there is none."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    rows = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in rows if name.strip() in names), "")
