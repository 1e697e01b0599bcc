"""The threads for work that is not a run of a graph, bounded and shared fairly like those of a model."""

from __future__ import annotations

from functools import cache

from .pool import Pool

_USERS_THREADS = 8
"""How many calls of users' own models run at the same time. They may wait for a network."""


@cache
def text_threads() -> Pool:
    """Return the pool that cuts long texts: one thread for each core."""
    return Pool()


@cache
def users_threads() -> Pool:
    """Return the pool for models of users, which have only blocking methods."""
    return Pool(_USERS_THREADS, native=False)
