"""The sidecar's log: one line an event on stderr, and nothing in it that a caller sent.

Queries and documents are somebody's data. They are in the local variables of a traceback, and often in the message of an
exception, so that neither is logged: the types of the exceptions and the places in the code are.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

import structlog

_FRAMES = 30
"""Innermost frames of each exception that are logged: a recursion that is too deep has a thousand."""

_CHAINED = 10
"""Exceptions of one chain of causes that are logged."""


def without_values(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes, without messages and without values of variables."""
    parts: list[str] = []
    step: BaseException | None = error
    while step is not None and len(parts) < _CHAINED:
        frames = traceback.extract_tb(step.__traceback__, limit=-_FRAMES)
        within = (
            f" of {', '.join(type(each).__qualname__ for each in step.exceptions)}"
            if isinstance(step, BaseExceptionGroup)
            else ""
        )
        parts.append("".join(frames.format()) + f"{type(step).__module__}.{type(step).__qualname__}{within}")
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return "\nbecause of\n".join(parts)


class _Stderr:
    """Standard error as a log writes to it: a reader that has gone, or a full disk, does not break a request."""

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            return sys.stderr.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or lose it."""
        try:
            sys.stderr.flush()
        except OSError:
            return


class _Formatter(logging.Formatter):
    """Lines of the libraries beneath (uvicorn, asyncio, the elasticsearch client), their tracebacks without values."""

    def formatException(  # noqa: N802 logging's own name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return "" if ei[1] is None else without_values(ei[1])


def configure_log() -> None:
    """Send the log of this process, and what libraries log as a warning or worse, to stderr."""
    stream = _Stderr()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),  # type: ignore[arg-type] # it writes and flushes, which is all that is asked of it
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s [%(levelname)s] %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
