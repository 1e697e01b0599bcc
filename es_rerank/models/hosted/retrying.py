"""Which failures of a service are tried again, and when."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import stamina

from ...errors import EsRerankError

T = TypeVar("T")

_ATTEMPTS = 4
_FIRST_WAIT_S = 0.25
"""The wait before the second attempt, in seconds; it doubles for each further attempt. When the service sends
``Retry-After``, the wait is at least that long."""

_LONGEST_WAIT_S = 30.0
"""The longest wait that comes of doubling, in seconds."""


class TransientError(Exception):
    """A failure after which the request may be sent again.

    It has no text of the service: stamina logs it, and a service may repeat what it was sent. ``error`` is
    what the caller gets when no attempt succeeds. ``wait_s`` is the wait that the service asks for, in
    seconds.
    """

    def __init__(self, error: EsRerankError, wait_s: float | None = None) -> None:
        status = getattr(error, "status", None)
        super().__init__(type(error).__name__, *([] if status is None else [status]))
        self.error = error
        self.wait_s = wait_s

    def __repr__(self) -> str:
        """Return what the log says of it."""
        status = getattr(self.error, "status", None)
        return (
            "the service could not be reached, or broke off its answer"
            if status is None
            else f"the service answered {status}"
        )


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header names, as a number or a date; None for no header or
    any other text.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class RetryPolicy:
    """Tells stamina whether a failed request is sent again, and after which wait: only when it may help, and
    only before ``end``.
    """

    def __init__(self, end: float) -> None:
        self._end = end
        self._failures = 0

    def __call__(self, error: Exception) -> bool | float:
        """Return the wait in seconds, or False when the request is not sent again."""
        if not isinstance(error, TransientError):
            return False
        # A random part of the wait, from half to all: callers that failed together then retry apart.
        wait_s = min(_FIRST_WAIT_S * 2 ** min(self._failures, 16), _LONGEST_WAIT_S)
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311 no secret
        self._failures += 1
        wait_s = max(wait_s, error.wait_s or 0.0)
        return wait_s if time.monotonic() + wait_s < self._end else False


async def retried(ask: Callable[[float], Awaitable[T]], end: float, attempts: int | None = _ATTEMPTS) -> T:
    """Return the result of ``ask``, which gets the seconds left until ``end``, a moment of
    ``time.monotonic()``, and is called again after a TransientError where it may help: at most ``attempts``
    times, None for as often as the time allows. Raises the ``error`` of the last one.
    """
    try:
        async for attempt in stamina.retry_context(on=RetryPolicy(end), attempts=attempts, timeout=None):
            with attempt:
                return await ask(end - time.monotonic())
    except TransientError as failure:
        raise failure.error from failure.__cause__
    raise AssertionError("the last attempt raises")
