"""Attacks a sidecar with many requests, several at the same time, and collects the faults."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from .attacks import Attack, attack
from .comparing import refused
from .judging import fault_of, is_of_elasticsearch, places_in
from .sending import Answer, send
from .target import Target

AT_ONCE = 8
"""Requests that run at the same time."""

_SAMPLES = 400
"""How often the memory is read in a run, at least."""

_COMPARED = 4
"""Every so many-th request is sent to Elasticsearch too."""

GROWTH_MIB = 24.0
"""How much more memory the last quarter of a run may take than the second one: the caches of scores and of
clients are being filled, and a body of 16 MiB may just be read."""


@dataclass
class Find:
    """One place with a fault: the first request that shows it, and how many do."""

    place: str
    attack: Attack
    answer: Answer
    count: int = 1


@dataclass
class Outcome:
    """What came of a run."""

    finds: dict[str, Find] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    of_elasticsearch: Counter[str] = field(default_factory=Counter)
    rss_mib: list[float] = field(default_factory=list)
    log_places: Counter[str] = field(default_factory=Counter)
    alive: bool = True

    def note(self, place: str, given: Attack, answer: Answer) -> None:
        """Count a request under a place."""
        if place in self.finds:
            self.finds[place].count += 1
        else:
            self.finds[place] = Find(place, given, answer)

    @property
    def memory(self) -> tuple[float, float]:
        """The median of the resident memory in the second and in the last quarter of the run, in MiB."""
        count = len(self.rss_mib)
        if count < 8:
            return (float("nan"), float("nan"))
        return (
            statistics.median(self.rss_mib[count // 4 : count // 2]),
            statistics.median(self.rss_mib[-count // 4 :]),
        )

    @property
    def grows(self) -> bool:
        """Whether the memory grew by more than the bound."""
        early, late = self.memory
        return late - early > GROWTH_MIB


async def run(against: Target, elasticsearch: str | None, index: str, seed: int, numbers: range) -> Outcome:
    """Send the requests with these numbers and return what came of them."""
    outcome = Outcome()
    wrong: list[tuple[Attack, Answer, str]] = []
    waiting = iter(numbers)
    step = max(len(numbers) // _SAMPLES, 1)
    start = against.log_size()

    async def caller(waiting: Iterator[int]) -> None:
        for number in waiting:
            given = attack(seed, number, index)
            try:
                answer = await send(against.address, given)
            except OSError:
                outcome.alive = False
                return
            outcome.statuses[str(answer.status or answer.end)] += 1
            if (fault := fault_of(given, answer)) is not None:
                wrong.append((given, answer, fault))
            elif elasticsearch is not None and number % _COMPARED == 0:
                why = await refused(elasticsearch, given, answer)
                if why is not None:
                    outcome.note(f"{given.route}: answered, but {why}", given, answer)
            if number % step == 0:
                outcome.rss_mib.append(against.rss_mib())

    await asyncio.gather(*(caller(waiting) for _ in range(AT_ONCE)))
    outcome.log_places.update(places_in(against.log_from(start)))
    for given, answer, fault in wrong:
        if outcome.alive:
            await _placed(against, elasticsearch, outcome, given, answer, fault)
        else:
            outcome.note(f"{given.route}: {fault}", given, answer)
    return outcome


async def _placed(
    against: Target, elasticsearch: str | None, outcome: Outcome, given: Attack, answer: Answer, fault: str
) -> None:
    """Count a wrong answer under its place. The request is sent again alone, for its traceback in the log."""
    if is_of_elasticsearch(answer):
        outcome.of_elasticsearch[fault] += 1
        return
    if answer.end == "answered" and elasticsearch is not None and given.framed:
        direct = await send(elasticsearch, given)
        if direct.status == answer.status and (answer.status >= 500 or direct.body == answer.body):
            outcome.of_elasticsearch[fault] += 1
            return
    if answer.body == b"Invalid HTTP request received.":
        outcome.note("any route: HTTP that cannot be read is answered as plain text", given, answer)
        return
    start = against.log_size()
    try:
        again = await send(against.address, given)
    except OSError:
        outcome.alive = False
        again = answer
    places = places_in(against.log_from(start))
    if fault_of(given, again) is not None and places:
        outcome.note(places[0], given, answer)
    else:
        outcome.note(f"{given.route}: {fault}", given, answer)


def is_alive(address: str) -> bool:
    """Return whether the sidecar answers its health check."""
    try:
        return any(
            httpx.get(f"{address}{path}", timeout=60).status_code == 200
            for path in ("/healthz", "/_rerank/healthz")
        )
    except httpx.TransportError:
        return False
