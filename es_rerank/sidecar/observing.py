"""What the sidecar tells of itself, and to whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..defaults import LOG_FORMAT, LogFormat
from .keys import Keys


@dataclass(frozen=True, slots=True)
class Observing:
    """What the sidecar tells of itself.

    ``log_requests``: whether each request has a line in the log, in ``log_format``. ``trace_texts``: whether
    spans hold queries and texts. ``keys``: those that ``/metrics`` asks for, if there are any.
    ``tracer_provider``: where spans go, a TracerProvider of OpenTelemetry; None for that of the process.
    """

    log_requests: bool = False
    log_format: LogFormat = LOG_FORMAT
    trace_texts: bool = False
    keys: Keys = field(default_factory=Keys)
    tracer_provider: Any = None
