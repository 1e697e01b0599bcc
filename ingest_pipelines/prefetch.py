"""Working ahead: a stage runs in a thread of its own while the one after it is busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


def prefetch(items: Iterator[T], depth: int = 1) -> Generator[T]:
    """Yield the items in order, having asked for up to ``depth`` more of them in one other thread.

    At most ``depth`` + 1 items are held. An error of ``items`` is raised in its place, after the items before it.
    Closing this generator waits for the item under way and asks for no more.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ingest-ahead")
    try:
        upcoming = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := upcoming.popleft().result()) is not _END:
            upcoming.append(pool.submit(next, items, _END))
            yield cast("T", item)
    finally:
        pool.shutdown(cancel_futures=True)
