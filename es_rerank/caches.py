"""Share a cache of ``cachetools`` between threads, and with children of ``os.fork``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cachetools import Cache

from .forks import in_every_child, unforked

K = TypeVar("K")
V = TypeVar("V")


class SharedCache(Generic[K, V]):
    """A cache of ``cachetools``, used by one thread at a time.

    The caches of ``cachetools`` are not safe to share: between two steps of one call, the entries and their
    order do not agree. So a thread holds a lock during a call, and no other thread can fork meanwhile. A
    forked child begins with the entries of its parent.
    """

    def __init__(self, cache: Cache[K, V]) -> None:
        self._cache = cache
        self._unlock()
        in_every_child(self._unlock)

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[Cache[K, V]]:
        """Give the cache to this thread alone, for several calls in a row."""
        with unforked(), self._lock:
            yield self._cache

    def get(self, key: K) -> V | None:
        """Return the value of a key, None if it is not in the cache."""
        with self.held() as cache:
            return cache.get(key)

    def put(self, key: K, value: V) -> None:
        """Add a value; when the cache is full, it removes others.

        Raises ValueError for a value that is larger than the whole cache.
        """
        with self.held() as cache:
            cache[key] = value
