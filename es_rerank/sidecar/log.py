"""The sidecar's log on stderr: one line for each event, without data that a caller sent.

Queries and documents are private data. They occur in the local variables of a traceback and often in the
message of an exception. Neither is logged. The log holds only the types of exceptions and their places in the
code.
"""

from __future__ import annotations

import logging
import traceback
import warnings
from types import TracebackType

import structlog
from elasticsearch import ElasticsearchWarning

from ..standard_error import Stderr

_FRAMES = 30
"""How many innermost frames of each exception are logged. An endless recursion has a thousand frames."""

_CHAINED = 10
"""How many exceptions of one chain of causes are logged."""


def without_values(error: BaseException) -> str:
    """Return the tracebacks of an exception and its causes, without messages and values of variables."""
    parts: list[str] = []
    step: BaseException | None = error
    while step is not None and len(parts) < _CHAINED:
        frames = traceback.extract_tb(step.__traceback__, limit=-_FRAMES)
        within = (
            f" of {', '.join(type(member).__qualname__ for member in step.exceptions)}"
            if isinstance(step, BaseExceptionGroup)
            else ""
        )
        parts.append("".join(frames.format()) + f"{type(step).__module__}.{type(step).__qualname__}{within}")
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return "\nbecause of\n".join(parts)


class _Formatter(logging.Formatter):
    """Formats the log lines of libraries (uvicorn, asyncio, the elasticsearch client), tracebacks without
    values.
    """

    def formatException(  # noqa: N802 logging's own name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return "" if ei[1] is None else without_values(ei[1])


def configure_log() -> None:
    """Send the log of this process to stderr, and the warnings and errors that libraries log.

    Warnings of Elasticsearch are left out: they may hold data of the caller, who gets them as a header.
    """
    warnings.filterwarnings("ignore", category=ElasticsearchWarning)
    stream = Stderr()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),  # type: ignore[arg-type] # it has write and flush, which is enough
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s [%(levelname)s] %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
