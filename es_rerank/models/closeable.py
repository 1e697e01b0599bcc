"""The base class of everything that holds threads or connections.

It adds the context manager and ``aclose``, which closes from within an event loop.
"""

from __future__ import annotations

import asyncio
from typing import Self


class Closeable:
    """An object that closes at the end of its ``with`` block; each subclass implements ``close``."""

    def close(self) -> None:
        """Release the threads or connections; calls that are waiting fail."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
