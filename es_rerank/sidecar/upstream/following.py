"""Follows es-rerank's own local node when it is started again at another address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from elasticsearch import AsyncElasticsearch

from ...errors import EsRerankError

_LOOK_S = 1.0
"""Least time between two looks at the node's record, in seconds."""


@dataclass(slots=True)
class Following:
    """Looks at most once a second whether the local node is at another address.

    ``find``: takes the address that is used now and returns another one, at which the node that is on record
    answers; None if there is none. It may block. ``connect``: returns a client of an address. ``clock``:
    seconds.
    """

    find: Callable[[str], str | None]
    connect: Callable[[str], AsyncElasticsearch]
    clock: Callable[[], float] = time.monotonic
    _next: float = 0.0
    _looking: asyncio.Task[str | None] | None = field(default=None, repr=False)

    async def moved_from(self, url: str) -> str | None:
        """Return the address of the node if it is another than ``url``.

        Callers that ask at the same time share one look. A caller between two looks gets None at once, and so
        do those whose look fails.
        """
        if self._looking is None or self._looking.done():
            if self.clock() < self._next:
                return None
            self._looking = asyncio.create_task(asyncio.to_thread(self.find, url))
        try:
            return await asyncio.shield(self._looking)
        except (OSError, EsRerankError):
            return None
        finally:
            self._next = self.clock() + _LOOK_S
