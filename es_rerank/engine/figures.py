"""The figures of a pool."""

from __future__ import annotations

from typing import NamedTuple


class PoolFigures(NamedTuple):
    """What a pool does now, and what it has done so far.

    ``running`` and ``waiting``: items now. ``waiting_s``: the estimated seconds of work in the items that
    wait, for all threads together. So far: ``refused`` calls, which would have been late; ``late`` calls,
    which were not complete by their deadline; ``dropped`` calls, whose caller left before the end;
    ``tokens`` that were run.
    """

    running: int = 0
    waiting: int = 0
    waiting_s: float = 0.0
    refused: int = 0
    late: int = 0
    dropped: int = 0
    tokens: int = 0
