"""Waits for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE_S = 120.0


def until(holds: Callable[[], object], what: str = "", *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until something holds; fails, with ``what``, only when the machine hangs."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"not so after {patience_s:.0f} seconds: {what or holds}"
        time.sleep(0.01)  # between two looks; what is awaited is the condition
