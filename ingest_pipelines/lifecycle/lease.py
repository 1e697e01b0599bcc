"""Shows that a rebuild is at work, so that nobody takes its new version for the orphan of a killed one.

A rebuild keeps a point in time open on its new version. Elasticsearch counts the open ones of each index. It
ends one that is not renewed, by its own clock, so a rebuild that was killed looks dead after ``KEEP_ALIVE``
and a minute at most, and the clocks of the machines need not agree.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from elasticsearch import ApiError, Elasticsearch, TransportError

from ..patience import Patience

KEEP_ALIVE = "2m"
"""How long a rebuild may be stopped, by a debugger or by a machine that sleeps, and still looks alive."""

RENEWAL_S = 2.0
"""Seconds from one renewal to the next. Points in time are lost when a node restarts; see
``cleaning.BETWEEN_LOOKS_S``."""

_REQUEST_S = 10.0


@contextmanager
def held(client: Elasticsearch, index: str, patience: Patience) -> Iterator[None]:
    """Keep a point in time open on ``index`` during the ``with`` block.

    Each renewal opens a new one and then closes the earlier one: one that stayed open would keep what is
    merged meanwhile on the disk. Raises NotFoundError when the index does not exist.
    """
    quick = client.options(request_timeout=_REQUEST_S, max_retries=0)
    first: str = patience.call(lambda: quick.open_point_in_time(index=index, keep_alive=KEEP_ALIVE))["id"]
    ended = threading.Event()
    renewing = threading.Thread(
        target=_renew, args=(quick, index, first, ended), name="rebuild-lease", daemon=True
    )
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()


def _renew(client: Elasticsearch, index: str, current: str, ended: threading.Event) -> None:
    while not ended.wait(RENEWAL_S):
        # A busy or restarting node: the next attempt comes soon.
        with suppress(ApiError, TransportError):
            following = client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE)["id"]
            earlier, current = current, following
            client.close_point_in_time(id=earlier)
    with suppress(ApiError, TransportError):
        client.close_point_in_time(id=current)
