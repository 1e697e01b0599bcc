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
    """Return the actors for machines with so many processors each. None: this chooses.

    An actor fits on one machine, and some of the cluster is left for tasks, else neither would ever run. Ray
    reserves whole processors, or a part of one.
    """
    there = [cpus for cpus in nodes if cpus >= 1] or [1.0]
    threads = threads or max(1, min(_MOST_THREADS, int(min(there)) - 1))
    cpus: float = min(threads, int(max(there)))
    if sum(there) <= cpus:
        cpus = int(sum(there)) - 1 or 0.5
    most = sum(int(each // cpus) for each in there)
    if most > 1 and sum(there) - most * cpus < 1:
        most -= 1
    return Workers(min(actors, most) if actors else most, threads, cpus)
