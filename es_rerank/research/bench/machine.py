"""The machine of a measurement; without it a speed says nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ...engine.processor import architecture, cores, instruction_sets, processor_name

_PRESETS = (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512f"))
"""sentence-transformers' presets for x86-64, best first, with the flag that each needs."""


def machine(elasticsearch: str | None = None) -> dict[str, str | int]:
    """Return the CPU's name, the cores that may be used, the version of Python, and that of Elasticsearch if
    it was measured.
    """
    about: dict[str, str | int] = {
        "cpu": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
    }
    return about if elasticsearch is None else {**about, "elasticsearch": elasticsearch}


class Cores(NamedTuple):
    """The cores of a measured server and the core of the bench that asks it, by their numbers.

    Both are None where the operating system binds no process to a core (macOS). ``shared`` says that the
    server and the bench may run on the same core.
    """

    server: frozenset[int] | None
    bench: int | None
    shared: bool


def cores_apart(threads: int) -> Cores:
    """Return the first ``threads`` cores for a server, and the last core that this process may use for the
    bench.
    """
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None, cores() <= threads)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(allowed[:threads]), allowed[-1], cores() <= threads)


@contextmanager
def bound_to(numbers: frozenset[int] | None) -> Iterator[None]:
    """Run this thread, and the processes that it starts, on the cores with these numbers inside the block.

    None binds nothing.
    """
    if numbers is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, numbers)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def int8_preset() -> str:
    """Return the name of sentence-transformers' quantization preset for this CPU."""
    if architecture() == "arm64":
        return "arm64"
    return next((name for name, flag in _PRESETS if flag in instruction_sets()), "avx2")
