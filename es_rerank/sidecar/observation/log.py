"""The sidecar's log on stderr: one line for each event, without data that a caller sent.

Queries and documents are private data. They occur in the local variables of a traceback and often in the
message of an exception. Neither is logged. The log holds only the types of exceptions and their places in the
code.
"""

from __future__ import annotations

import atexit
import json
import logging
import traceback
import warnings
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType
from typing import Any

import structlog
from elasticsearch import ElasticsearchWarning

from ...defaults import LOG_FORMAT, LogFormat
from ...standard_error import plain_retry
from .log_stream import LogStream

RELEASE = version("es-rerank")
"""The release of this sidecar."""

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


STREAM = LogStream()
"""Where the log of this process goes."""

ECS_VERSION = "9.2.0"
"""The version of the Elastic Common Schema whose names the format ``json`` uses."""


def moment(at: datetime) -> str:
    """Return a time in UTC as the log writes it, with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ecs(level: str, message: str, fields: Mapping[str, object], at: datetime | None = None) -> str:
    """Return a line of JSON in the names of the Elastic Common Schema.

    The first three keys stand first, as Elastic's specification of logs asks
    (https://github.com/elastic/ecs-logging/blob/main/spec/spec.json).
    """
    line = {
        "@timestamp": moment(at or datetime.now(UTC)),
        "log.level": level,
        "message": message,
        "ecs.version": ECS_VERSION,
        "service.name": "es-rerank",
        "service.version": RELEASE,
        **fields,
    }
    return json.dumps(line, default=str) + "\n"


class _Formatter(logging.Formatter):
    """Formats the log lines of libraries (uvicorn, asyncio, the elasticsearch client), tracebacks without
    values.
    """

    def formatException(  # noqa: N802 logging's own name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return "" if ei[1] is None else without_values(ei[1])


class _EcsFormatter(_Formatter):
    """Formats the log lines of libraries as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        trace = {"error.stack_trace": self.formatException(record.exc_info)} if record.exc_info else {}
        at = datetime.fromtimestamp(record.created, UTC)
        said = {"log.logger": record.name, **trace}
        return ecs(record.levelname.lower(), record.getMessage(), said, at).rstrip("\n")


def _as_ecs(_: object, level: str, event: MutableMapping[str, Any]) -> str:
    """Return an event of structlog as a line of JSON. Its values are under the name of this project."""
    message, _, trace = str(event.pop("event")).partition("\n")
    said = {f"es_rerank.{name}": value for name, value in event.items()}
    return ecs(level, message, said | ({"error.stack_trace": trace} if trace else {})).rstrip("\n")


def configure_log(form: LogFormat = LOG_FORMAT) -> None:
    """Send the log of this process to stderr, and the warnings and errors that libraries log.

    ``form``: text, or JSON in the names of the Elastic Common Schema. Warnings of Elasticsearch are left out:
    they may hold data of the caller, who gets them as a header. What the elasticsearch client says of a node
    that "has failed" is left out too: a client has one node here, which it goes on to ask, and an answer such
    as 405 or 429 counts as a failure. Requests that fail have lines of their own.
    """
    logging.getLogger("elastic_transport.node_pool").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=ElasticsearchWarning)
    atexit.register(STREAM.close)
    console: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
    structlog.configure(
        processors=[plain_retry, *([_as_ecs] if form == "json" else console)],
        logger_factory=structlog.PrintLoggerFactory(STREAM),  # type: ignore[arg-type] # it has write and flush, which is enough
    )
    handler = logging.StreamHandler(STREAM)
    handler.setFormatter(
        _EcsFormatter() if form == "json" else _Formatter("%(asctime)s [%(levelname)s] %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
