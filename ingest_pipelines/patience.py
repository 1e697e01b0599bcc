"""Repeats requests to Elasticsearch that failed for the moment: it was overloaded, or a connection broke."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import stamina
from elastic_transport import ConnectionError as BrokenConnection
from elastic_transport import ConnectionTimeout, ObjectApiResponse, SerializationError
from elasticsearch import ApiError

from es_rerank.errors import IngestError

T = TypeVar("T")
Answer = TypeVar("Answer", bound=ObjectApiResponse[Any])

BUSY = frozenset({429, 502, 503, 504})
"""Statuses of Elasticsearch, or of a proxy before it, that say: come again."""

DROPPED = (BrokenConnection, ConnectionTimeout, SerializationError)
"""Errors of a request whose answer did not arrive or is none of Elasticsearch's, such as a proxy's page. It
is not known whether the request was executed."""

_LONGEST_WAIT_S = 30.0
_LASTING = re.compile("index_not_found_exception|index_closed_exception")
"""What does not pass by itself."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failed request is repeated, and how long the waits are.

    A request is repeated up to ``max_retries`` times. The first wait is ``initial_backoff_s`` seconds. Each
    further wait is twice as long, up to 30 seconds. A random part of at most ``initial_backoff_s`` is added,
    so that several writers that failed together come apart.
    """

    max_retries: int = 6
    initial_backoff_s: float = 1.0

    def call(self, request: Callable[[], T], *, dropped: bool = True) -> T:
        """Return what ``request`` returns. It is called again when Elasticsearch is busy and, if ``dropped``,
        when its connection breaks, so it must be safe to repeat. Raises its last error.
        """
        passing = _busy_or_dropped if dropped else _busy
        for attempt in stamina.retry_context(
            on=passing,
            attempts=self.max_retries + 1,
            timeout=None,
            wait_initial=self.initial_backoff_s,
            wait_max=max(_LONGEST_WAIT_S, self.initial_backoff_s),
            wait_jitter=self.initial_backoff_s,
        ):
            with attempt:
                return request()
        raise AssertionError("the last attempt raises")

    def whole(self, request: Callable[[], Answer]) -> Answer:
        """Return what ``request`` returns, as ``call``. It is also called again when it was answered only in
        part: a shard failed, or a document could not be looked up, as while a node starts.

        Raises IngestError when that stays so.
        """
        for retry in range(self.max_retries + 1):
            answer = self.call(request)
            reason = _lacking(answer.body)
            if reason is None:
                return answer
            if _LASTING.search(reason):
                raise IngestError(f"somebody has deleted or closed the index: {reason:.300}; repeat the run")
            if retry < self.max_retries:
                self.wait(retry)
        raise IngestError(
            f"Elasticsearch answers only in part: {reason}; repeat the run when all shards of the index are "
            "active"
        )

    def wait(self, retry: int) -> None:
        """Wait before the retry of this number, which counts from 0."""
        time.sleep(min(self.initial_backoff_s * 2**retry, _LONGEST_WAIT_S))


def _lacking(body: Any) -> str | None:  # noqa: ANN401 any JSON value
    """Return the first reason why an answer with the status 200 is not whole."""
    shards = body.get("_shards", {})
    if shards.get("failed"):
        return str((shards.get("failures") or ["a shard failed"])[0])
    if shards.get("total") and not shards.get("successful"):
        return "no shard is active"
    return next((str(each["error"]) for each in body.get("docs", ()) if "error" in each), None)


def _busy(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.status_code in BUSY


def _busy_or_dropped(error: Exception) -> bool:
    return _busy(error) or isinstance(error, DROPPED)
