"""Caches are bounded, and threads share them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from cachetools import LRUCache
from elasticsearch import Elasticsearch

from es_rerank.caches import SharedCache
from es_rerank.retrievers.execution.run import Connection


def test_a_connection_keeps_the_clients_of_the_timeouts_that_were_used_last() -> None:
    with Elasticsearch("http://127.0.0.1:9") as client:
        connection = Connection(client)
        first, made = connection.within(0.25), dict[int, object]()
        for quarters in range(2, 1_000):
            made[quarters] = connection.within(quarters / 4)
            assert connection.within(quarters / 4 - 0.1) is made[quarters]
            assert connection.within(0.25) is first
        # From the newest on, so that a client that is made anew displaces none that is still to be asked for.
        kept = [quarters for quarters in reversed(made) if connection.within(quarters / 4) is made[quarters]]
        assert kept == list(range(999, 999 - 63, -1)), "64 with the first"
        assert connection.within(None) is client


def test_threads_share_a_cache() -> None:
    cache: SharedCache[int, int] = SharedCache(LRUCache(8))
    together = threading.Barrier(4)

    def use(start: int) -> None:
        together.wait()
        for number in range(start, 20_000, 4):
            cache.put(number % 32, number % 32)
            assert cache.get((number + 1) % 32) in {None, (number + 1) % 32}

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    with cache.held() as kept:
        assert len({kept.popitem()[0] for _ in range(8)}) == 8, "entries and their order agree"
        assert not kept
