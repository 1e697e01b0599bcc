"""Repeats requests to Elasticsearch that failed for the moment: it was overloaded, or a connection broke."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import structlog
from elastic_transport import (
    ApiResponse,
    ConnectionTimeout,
    ObjectApiResponse,
    SerializationError,
    TransportError,
)
from elastic_transport import ConnectionError as BrokenConnection
from elasticsearch import ApiError, UnsupportedProductError

from es_rerank.errors import IngestError, IngestStoppedError

from .pressure import never_fits

T = TypeVar("T")
Response = TypeVar("Response", bound=ApiResponse[Any])
Answer = TypeVar("Answer", bound=ObjectApiResponse[Any])

BUSY = frozenset({408, 429, 500, 502, 503, 504, *range(520, 528)})
"""Statuses of Elasticsearch, or of a proxy before it, that say: come again. 500 is that of a node which is
closed, and 520 to 527 are Cloudflare's:
https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/"""

DROPPED = (BrokenConnection, ConnectionTimeout, SerializationError)
"""Errors of a request whose answer did not arrive or is none of Elasticsearch's, such as a proxy's page. It
is not known whether the request was executed."""

_NOT_ELASTICSEARCH = "what answered is not Elasticsearch, but a proxy or its login page"
_LONGEST_WAIT_S = 30.0
_MOST_DOUBLINGS = 30
_LOOKED_EACH_S = 0.2
_MOST_SAID = 300
_log = structlog.get_logger()
_LASTING = re.compile("index_not_found_exception|index_closed_exception")
"""What does not pass by itself."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failed request is repeated, and how long the waits are.

    A request is repeated up to ``max_retries`` times. The first wait is ``initial_backoff_s`` seconds. Each
    further wait is twice as long, up to 30 seconds. A random part of at most ``initial_backoff_s`` is added,
    so that several writers that failed together come apart.

    ``stopping`` says whether the run is to end: then nothing is waited for, and a request that fails for the
    moment raises IngestStoppedError.
    """

    max_retries: int = 6
    initial_backoff_s: float = 1.0
    stopping: Callable[[], bool] = _never

    def __reduce__(self) -> tuple[type[Patience], tuple[int, float]]:
        """In another process, nobody says that the run is to end."""
        return Patience, (self.max_retries, self.initial_backoff_s)

    def call(self, request: Callable[[], T], *, dropped: bool = True) -> T:
        """Return what ``request`` returns. It is called again when Elasticsearch is busy and, if ``dropped``,
        when its connection breaks, or something else answers in its place, so it must be safe to repeat.
        Raises its last error.
        """
        passing = _busy_or_dropped if dropped else _busy
        for retry in count():
            try:
                return _of_elasticsearch(request)
            except Exception as error:
                if not passing(error):
                    raise
                if retry >= self.max_retries and not self.stopping():
                    raise
                jitter = random.uniform(0, self.initial_backoff_s)  # noqa: S311 no secret
                self._pause(self._wait_s(retry) + jitter, retry, error)
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
                self.wait(retry, reason)
        raise IngestError(
            f"Elasticsearch answers only in part: {reason}; repeat the run when all shards of the index are "
            "active"
        )

    def wait(self, retry: int, reason: object = "it is busy") -> None:
        """Wait before the retry of this number, which counts from 0. Raises IngestStoppedError when the run
        is to end.
        """
        self._pause(self._wait_s(retry), retry, reason)

    def _wait_s(self, retry: int) -> float:
        most = max(_LONGEST_WAIT_S, self.initial_backoff_s)
        return min(self.initial_backoff_s * 2.0 ** min(retry, _MOST_DOUBLINGS), most)

    def _pause(self, seconds: float, retry: int, reason: object) -> None:
        said = _short(reason)
        if seconds and not self.stopping():
            _log.warning(
                "a request to Elasticsearch is sent again",
                reason=said,
                attempt=retry + 2,
                wait_s=round(seconds, 2),
            )
        end = time.monotonic() + seconds
        while True:
            if self.stopping():
                raise IngestStoppedError(
                    f"the ingest was stopped while it waited for Elasticsearch ({said}); the same run goes on"
                ) from (reason if isinstance(reason, Exception) else None)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOKED_EACH_S))


def listed(answer: Answer, key: str, count: int) -> Answer:
    """Return an answer that has ``count`` entries under ``key``. Raises SerializationError for any other."""
    body = answer.body
    found = body.get(key) if isinstance(body, dict) else None
    if not isinstance(found, list) or len(found) != count:
        raise SerializationError(f"an answer without the {count} {key} that were asked for")
    return answer


def is_of_elasticsearch(headers: Mapping[str, str]) -> bool:
    """Return whether an answer with these headers is one of Elasticsearch's, which names itself in each."""
    return headers.get("x-elastic-product") == "Elasticsearch"


def own(answer: Response) -> Response:
    """Return an answer of Elasticsearch. Raises SerializationError for one of a proxy, as a login page."""
    if not is_of_elasticsearch(answer.meta.headers):
        raise SerializationError(_NOT_ELASTICSEARCH)
    return answer


def _of_elasticsearch(request: Callable[[], T]) -> T:
    """Return what ``request`` returns. Raises SerializationError when something else has answered."""
    try:
        answer = request()
    except UnsupportedProductError:
        raise SerializationError(_NOT_ELASTICSEARCH) from None
    return own(answer) if isinstance(answer, ApiResponse) else answer


def _short(reason: object) -> str:
    if isinstance(reason, ApiError):
        return f"{reason.status_code} {reason.error}"[:_MOST_SAID]
    said = reason.message if isinstance(reason, TransportError) else reason
    return (
        f"{type(reason).__name__}: {said}"[:_MOST_SAID]
        if isinstance(reason, Exception)
        else str(said)[:_MOST_SAID]
    )


def _lacking(body: Any) -> str | None:  # noqa: ANN401 any JSON value
    """Return the first reason why an answer with the status 200 is not whole."""
    shards = body.get("_shards", {})
    if shards.get("failed"):
        return str((shards.get("failures") or ["a shard failed"])[0])
    if shards.get("total") and not shards.get("successful"):
        return "no shard is active"
    return next((str(each["error"]) for each in body.get("docs", ()) if "error" in each), None)


def _busy(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.status_code in BUSY and never_fits(error) is None


def _busy_or_dropped(error: Exception) -> bool:
    return _busy(error) or isinstance(error, DROPPED)
