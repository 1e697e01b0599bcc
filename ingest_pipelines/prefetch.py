"""Runs a generator in a thread of its own, ahead of the code that consumes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


def prefetch(items: Iterator[T], depth: int = 1) -> Generator[T]:
    """Yield the items in order. Another thread computes up to ``depth`` items in advance.

    At most ``depth`` + 1 items are in memory. If computing an item raises an error, this generator yields all
    items before it and then raises the error. Closing this generator waits for the item that is being
    computed; no further item is computed.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ingest-ahead")
    try:
        upcoming = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := upcoming.popleft().result()) is not _END:
            upcoming.append(pool.submit(next, items, _END))
            yield cast("T", item)
    finally:
        pool.shutdown(cancel_futures=True)
