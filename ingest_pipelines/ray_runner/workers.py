"""How many processes embed on a cluster. This module does not import Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MOST_THREADS = 4
"""Threads of one embedding actor, unless the caller says it: more threads for one model give less."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many embedding ``actors`` there are, each with so many ``threads``.

    ``cpus``: how much of the cluster one of them reserves. Tasks that convert, cut and write need the rest.
    """

    actors: int
    threads: int
    cpus: float


def workers_for(nodes: Sequence[float], actors: int | None, threads: int | None) -> Workers:
    """Return the actors for machines with so many processors each. At least one processor is left for tasks
    unless there is only one. None: this chooses.
    """
    there = [cpus for cpus in nodes if cpus >= 1] or [1.0]
    threads = threads or max(1, min(_MOST_THREADS, int(min(there)) - 1))
    cpus = threads if sum(there) > threads else sum(there) / 2
    most = max(1, sum(int(each // threads) for each in there) - (sum(there) % threads < 1))
    return Workers(min(actors, most) if actors else most, threads, cpus)
