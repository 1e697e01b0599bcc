"""Lets glibc give memory back that the process has freed.

By default glibc keeps up to eight heaps for each core, and what each of them once held. The memory of a
sidecar that reads requests of all sizes in many threads then grows for hours, although nothing is kept.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""

_SEPARATE_BYTES = 128 * 1024
"""Pieces from this size on are given back at once, and so is as much at the end of a heap. It is glibc's own
first value, which glibc raises up to 32 MiB while the process runs unless it is set."""

_HEAPS = 2
"""Models have memory of their own, and Python serves small objects itself. So threads seldom wait for a
heap."""


def give_memory_back() -> None:
    """Set glibc's parameters for this process. Does nothing where the C library is another one.

    Source: mallopt(3). The environment variables ``MALLOC_ARENA_MAX``, ``MALLOC_TRIM_THRESHOLD_`` and
    ``MALLOC_MMAP_THRESHOLD_`` do the same before a process starts.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 AttributeError where it is not glibc
        for parameter, value in (
            (_ARENA_MAX, _HEAPS),
            (_TRIM_THRESHOLD, _SEPARATE_BYTES),
            (_MMAP_THRESHOLD, _SEPARATE_BYTES),
        ):
            library.mallopt(parameter, value)
