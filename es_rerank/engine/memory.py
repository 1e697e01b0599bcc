"""How much memory this process may take."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

_LIMIT = Path("/sys/fs/cgroup/memory.max")


def available_bytes() -> int:
    """Return the bytes that are free, at most half of the limit of a container when cgroups state one."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no cgroup, or "max" instead of a number: no limit
        return min(free, int(_LIMIT.read_text(encoding="ascii")) // 2)
    return free
