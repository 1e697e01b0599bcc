"""Waits for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE_S = 60.0


def until(holds: Callable[[], object], patience_s: float = _PATIENCE_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.02)  # between two looks; what is awaited is the condition
