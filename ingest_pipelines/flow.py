"""Runs the steps of a pipeline side by side, each in threads of its own, with bounded queues between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_MOST_OF_READING_S = 0.5
"""How long the end of a flow waits for the item that is being read."""


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What is done with every item: ``run`` returns the item for the next step, None if it was given up.

    ``workers``: how many items it works on at once. ``keys``: items that share a key are not worked on at the
    same time, and come in their order. ``last_begun``: see ``Flow.finish``.
    """

    name: str
    run: Callable[[T], T | None]
    workers: int = 1
    keys: Callable[[T], Collection[str]] | None = None
    last_begun: bool = False


@dataclass(slots=True)
class _Slot(Generic[T]):
    """A place in a queue: an item that is ``ready`` or still being made, or the end, with an error if any."""

    item: T | None = None
    weight: int = 0
    ready: bool = False
    end: bool = False
    error: BaseException | None = None


@dataclass(slots=True)
class _Queue(Generic[T]):
    """What waits for a step. ``ended``: the step takes nothing more. ``running``: keys that are worked on."""

    room: int
    slots: deque[_Slot[T]] = field(default_factory=deque)
    ended: bool = False
    running: set[str] = field(default_factory=set)


class Flow(Generic[T]):
    """The results of all steps for each item, in the order of the items. To be used in a ``with`` block.

    Another thread reads ``items``. Every step has its threads, and a queue before it that holds few items.
    At most ``most_weight`` of ``weight`` is between the reading and the end of what the caller does with a
    result, or a single heavier item. An error of the reading or of a step is raised in its place: after the
    results of the items before it. When the ``with`` block ends, no further item is begun, and all threads
    have ended, except the one that reads if it waits for an item.
    """

    def __init__(
        self, items: Iterable[T], steps: Sequence[Step[T]], *, weight: Callable[[T], int], most_weight: int
    ) -> None:
        self._items, self._steps = items, steps
        self._weight, self._most_weight, self._held = weight, most_weight, 0
        self._changed = threading.Condition()
        rooms = [1, *(step.workers + 1 for step in steps)]
        self._queues = [_Queue[T](room) for room in rooms]
        self._last_begun = max((n for n, step in enumerate(steps) if step.last_begun), default=-1)
        self._stopped = self._finishing = False
        self.cut_short = False
        """Whether items were left out because ``finish`` was called."""
        self._reader = threading.Thread(target=self._read, name="ingest-read", daemon=True)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"ingest-{step.name}", daemon=True)
            for number, step in enumerate(steps)
            for _ in range(step.workers)
        ]

    def __enter__(self) -> Self:
        for thread in (self._reader, *self._threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        # A source may wait for ever, as a pipe does that nobody writes into.
        self._reader.join(_MOST_OF_READING_S)

    def finish(self) -> None:
        """Let no further item begin the step ``last_begun`` or one before it.

        Those behind it go on to the end.
        """
        with self._changed:
            self._finishing = True
            self._changed.notify_all()

    @property
    def finishing(self) -> bool:
        """Whether ``finish`` was called or the ``with`` block has ended."""
        return self._finishing or self._stopped

    def __iter__(self) -> Iterator[T]:
        """Yield the results. An item is done with when the next one is asked for."""
        results = self._queues[-1]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: results.slots and results.slots[0].ready)
                slot = results.slots.popleft()
                self._changed.notify_all()
            if slot.error is not None:
                raise slot.error
            if slot.end:
                return
            assert slot.item is not None  # noqa: S101 only the end has none
            yield slot.item
            with self._changed:
                self._held -= slot.weight
                self._changed.notify_all()

    def _read(self) -> None:
        """Put the items into the first queue."""
        first, end = self._queues[0], _Slot[T](ready=True, end=True)
        try:
            items = iter(self._items)
            while (item := next(items, None)) is not None:
                slot = _Slot(item, self._weight(item), ready=True)
                with self._changed:
                    self._changed.wait_for(lambda slot=slot: self.finishing or self._has_room(first, slot))  # type: ignore[misc]
                    if self.finishing:
                        self.cut_short = True
                        break
                    self._held += slot.weight
                    first.slots.append(slot)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 raised again where the results are read
            end.error = error
        with self._changed:
            first.slots.append(end)
            self._changed.notify_all()

    def _has_room(self, first: _Queue[T], slot: _Slot[T]) -> bool:
        fits = not self._held or self._held + slot.weight <= self._most_weight
        return fits and len(first.slots) < first.room

    def _serve(self, number: int) -> None:
        """Work on the items of one step until it ends."""
        step = self._steps[number]
        while (taken := self._take(number)) is not None:
            slot, result, keys = taken
            assert slot.item is not None  # noqa: S101 only the end has none, and it is not taken
            try:
                result.item = step.run(slot.item)
            except BaseException as error:  # noqa: BLE001 raised again where the results are read
                result.error = error
            with self._changed:
                here = self._queues[number]
                here.running.difference_update(keys)
                if result.item is None:
                    result.end = here.ended = True
                    self.cut_short |= result.error is None
                result.ready = True
                self._changed.notify_all()

    def _take(self, number: int) -> tuple[_Slot[T], _Slot[T], Collection[str]] | None:
        """Return the next item of a step, the place of its result, and its keys; None when there is none."""
        here, after, keys_of = self._queues[number], self._queues[number + 1], self._steps[number].keys
        with self._changed:
            while not (self._stopped or here.ended):
                if self._finishing and number <= self._last_begun:
                    self.cut_short |= not (here.slots and here.slots[0].end)
                    self._end(here, after, _Slot(ready=True, end=True))
                elif here.slots and here.slots[0].ready and len(after.slots) < after.room:
                    slot = here.slots[0]
                    if slot.end:
                        self._end(here, after, slot)
                        continue
                    assert slot.item is not None  # noqa: S101 only the end has none
                    keys = keys_of(slot.item) if keys_of else ()
                    if here.running.isdisjoint(keys):
                        here.slots.popleft()
                        here.running.update(keys)
                        result = _Slot[T](weight=slot.weight)
                        after.slots.append(result)
                        self._changed.notify_all()
                        return slot, result, keys
                    self._changed.wait()
                else:
                    self._changed.wait()
        return None

    def _end(self, here: _Queue[T], after: _Queue[T], end: _Slot[T]) -> None:
        here.ended = True
        after.slots.append(end)
        self._changed.notify_all()
