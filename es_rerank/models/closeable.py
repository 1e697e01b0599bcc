"""What everything that holds threads or connections does besides: it is a context manager, and closes from an
event loop too.
"""

from __future__ import annotations

import asyncio
from typing import Self


class Closeable:
    """Ends with its ``with`` block; subclasses say how."""

    def close(self) -> None:
        """Give back what is held; calls that are waiting fail."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
