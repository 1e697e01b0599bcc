"""The record of one request: what it took and how it ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, NamedTuple, cast

from starlette.types import Scope

from ..errors import DeadlineError, EsRerankError, RemoteModelError, outcome_of
from ..observation import OBSERVER, Ended, Fallback, Part, Trouble
from ..types import Scores

LEFT = 499
"""nginx's status for a client that closed the connection. No client receives it."""

_CUT = 503
"""The status of a request that the end of the sidecar cuts off."""

_NOT_SERVED, _NOT_READY = 501, 503
"""The status for a path that the sidecar does not serve, and that of a sidecar that is not ready."""

ENDING = "es_rerank.ending"
"""The key of a scope under which the server says that it ended the request itself: an ``Ending``."""


_SEARCHES = frozenset({"_search", "_msearch"})
"""The last parts of routes whose requests are searches, also where Elasticsearch answers them."""


class Ending(NamedTuple):
    """How the server ended a request that the application was still answering.

    ``error``: the error that the caller got as the answer, whose body has ``size`` bytes; None if an answer
    had begun and was cut.
    """

    error: EsRerankError | None
    size: int = 0


Outcome = Literal[
    "reranked",
    "partial",
    "first_stage",
    "fused",
    "forwarded",
    "answered",
    "refused",
    "late",
    "left",
    "failed",
]
"""How a request ended. The first five are those of its searches; ``reranked`` is a rerank request's too.
``answered``: it asked for something else. ``refused``: status 4xx, or the sidecar is not ready for it.
``late``: its deadline passed. ``left``: its caller closed the connection. ``failed``: any other error."""

_WORST_LAST: tuple[Outcome, ...] = (
    "forwarded",
    "fused",
    "reranked",
    "partial",
    "first_stage",
    "refused",
    "late",
    "failed",
)
"""An ``_msearch`` ends like the worst of its searches."""


class Record:
    """What is told about one request; an ``Observer``.

    ``stages``: the seconds of each stage. The stages of an ``_msearch`` run side by side, so that their sum
    may exceed the time of the request. ``parts``: the seconds of the work of models, within the stages.
    ``documents``: how many were given to rerankers or embedders. ``passages``: the texts that were scored.
    ``tokens``: those that models read. ``searches``: how many ended in each way. ``span``: the span of the
    request, None without traces. ``running``: the stages that have not ended, None when the request has.
    """

    __slots__ = (
        "_began",
        "_lock",
        "answered",
        "asks_models",
        "batches",
        "bytes_in",
        "bytes_out",
        "documents",
        "error",
        "fallbacks",
        "forwarded",
        "key",
        "left",
        "method",
        "outcome",
        "parts",
        "passages",
        "route",
        "running",
        "scope",
        "searches",
        "seconds",
        "span",
        "stages",
        "status",
        "tokens",
        "troubles",
    )

    def __init__(self, method: str, scope: Scope, span: Any = None) -> None:  # noqa: ANN401 see spans.py
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self.running: set[_Stage] | None = set()
        self.method, self.scope, self.span = method, scope, span
        self.route = ""
        self.asks_models = self.forwarded = self.left = self.answered = False
        self.status = self.bytes_in = self.bytes_out = 0
        self.documents = self.passages = self.tokens = 0
        self.seconds = 0.0
        self.stages: dict[str, float] = {}
        self.parts: dict[str, float] = {}
        self.batches: list[tuple[int, int]] = []
        self.searches: dict[Outcome, int] = {}
        self.fallbacks: list[Fallback] = []
        self.troubles: list[Trouble] = []
        self.error: BaseException | None = None
        self.key: str | None = None
        self.outcome: Outcome = "answered"

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return a context that measures a stage of a search."""
        return _Stage(self, name, None if self.span is None else self.span.child(name))

    def reranking(
        self, model: str, query: str, texts: Sequence[str]
    ) -> AbstractContextManager[Callable[[Scores], None]]:
        """Return a context that measures the scoring of texts."""
        self.passages += len(texts)
        span = None if self.span is None else self.span.reranker(model, query, texts)
        return _Stage(self, "rerank", span)

    def took(self, part: Part, seconds: float) -> None:
        """Add the time of a part of a model's work."""
        with self._lock:
            self.parts[part] = self.parts.get(part, 0.0) + seconds

    def batch(self, sequences: int, tokens: int) -> None:
        """Count one run of a model."""
        self.batches.append((sequences, tokens))

    def searched(self, ended: Ended, documents: int, fallbacks: Collection[Fallback]) -> None:
        """Count a search. ``documents``: how many its rerankers got."""
        self.documents += documents
        self.fallbacks += fallbacks
        self.searches[ended] = self.searches.get(ended, 0) + 1

    def search_failed(self, error: Exception) -> None:
        """Count a search that ended with an error."""
        kind = _kind_of(error)
        self.searches[kind] = self.searches.get(kind, 0) + 1

    def trouble(self, kind: Trouble) -> None:
        """Count an error of Elasticsearch."""
        self.troubles.append(kind)

    def server_timing(self) -> str:
        """Return the value of the header ``Server-Timing``: the milliseconds of each stage, and of all.

        https://www.w3.org/TR/server-timing/
        """
        so_far = {**self.stages, "total": self.elapsed_s()}
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in so_far.items())

    def elapsed_s(self) -> float:
        """Return the seconds since the head of the request came."""
        return time.perf_counter() - self._began

    def broke_off(self, error: BaseException) -> None:
        """Record an exception that left the application."""
        self.error = error
        if not self.status:
            self.status = _CUT if isinstance(error, asyncio.CancelledError) else 500

    def end(self) -> None:
        """Record the end of the request: its time, its status and how it ended."""
        # The work for a caller who left is cancelled, and ends a moment after the request.
        for stage in list(self.running or ()):
            stage.count()
        self.running = None
        self.seconds = self.elapsed_s()
        self.tokens = sum(tokens for _, tokens in self.batches)
        ending: Ending | None = self.scope.get(ENDING)
        if ending is not None:
            self._ended_by_server(ending)
        else:
            self.left |= self.status == LEFT
        if self.left:
            self.status = LEFT
        self.outcome = self._outcome()
        if self.forwarded and not self.searches and self.route.rsplit("/", 1)[-1] in _SEARCHES:
            self.searches[self.outcome] = 1

    def _ended_by_server(self, ending: Ending) -> None:
        # The application was told that its caller left, and nothing that it sent afterwards was delivered.
        self.left = False
        if ending.error is None:
            self.answered, self.error = False, self.error or asyncio.CancelledError()
        else:
            self.status, self.bytes_out = outcome_of(ending.error).status, ending.size
            self.error = ending.error

    def _outcome(self) -> Outcome:
        if self.left:
            return "left"
        if self.error is not None and (self.status >= 400 or not self.answered):
            return _kind_of(self.error)
        if self.status >= 400:
            ours = self.status == _NOT_SERVED or (self.status == _NOT_READY and not self.forwarded)
            return "refused" if self.status < 500 or ours else "failed"
        if self.searches:
            return max(self.searches, key=_WORST_LAST.index)
        if self.forwarded:
            return "forwarded"
        return "reranked" if self.passages else "answered"

    @property
    def refusal(self) -> str | None:
        """The kind of error with which the sidecar itself refused the request, None if it did not.

        It is the ``type`` in the table of errors, so that it is one of a closed set.
        """
        if self.outcome != "refused" or not isinstance(self.error, EsRerankError):
            return None
        return outcome_of(self.error).type


def _kind_of(error: BaseException) -> Literal["refused", "late", "failed"]:
    if isinstance(error, DeadlineError):
        return "late"
    status = _status_of(error)
    # An error that says when to try again is a refusal, whatever its status; a service that failed is not.
    waits = hasattr(error, "retry_after_s") and not isinstance(error, RemoteModelError)
    refused = 400 <= status < 500 or waits
    return "refused" if refused else "failed"


def _status_of(error: BaseException) -> int:
    if isinstance(error, EsRerankError):
        return outcome_of(error).status
    # An HTTPException of Starlette, or an ApiError of the elasticsearch client.
    return cast("int", getattr(error, "status_code", 500))


class _Stage(AbstractContextManager[Any]):
    """Measures one stage, however it ends."""

    __slots__ = ("_began", "_name", "_record", "_span")

    def __init__(self, record: Record, name: str, span: Any) -> None:  # noqa: ANN401 see spans.py
        self._record, self._name, self._span = record, name, span
        self._began = 0.0

    def __enter__(self) -> Callable[[Scores], None]:
        """Begin. Return a function that gets the scores."""
        self._began = time.perf_counter()
        if self._record.running is not None:
            self._record.running.add(self)
        if self._span is not None:
            self._span.__enter__()
        return self._scored

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        if self._span is not None:
            self._span.__exit__(kind, error, trace)
        running = self._record.running
        if running is not None:
            running.discard(self)
            self.count()

    def count(self) -> None:
        """Add the time until now to the record."""
        stages, name = self._record.stages, self._name
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - self._began

    def _scored(self, scores: Scores) -> None:
        if self._span is not None:
            self._span.scored(scores)


def now() -> Record | None:
    """Return the record of the request that is served in this context, None if there is none."""
    record = OBSERVER.get()
    return record if isinstance(record, Record) else None


def elapsed_s() -> float:
    """Return the seconds since the head of the request came that is served now, 0 if there is none."""
    record = now()
    return 0.0 if record is None else record.elapsed_s()


def tokens_read() -> int:
    """Return the tokens that the models of this process have read for the request that is served now."""
    record = now()
    return 0 if record is None else sum(tokens for _, tokens in record.batches)


def tell_refusal(error: Exception) -> None:
    """Tell the record of the request that is served now with which error it is answered."""
    if (record := now()) is not None:
        record.error = error


def tell_models(documents: int) -> None:
    """Tell the record of the request that is served now that it asks a model about documents."""
    if (record := now()) is not None:
        record.documents += documents


def tell_forwarded() -> None:
    """Tell the record of the request that is served now that Elasticsearch answers it as a whole."""
    if (record := now()) is not None:
        record.forwarded = True


def tell_key(name: str) -> None:
    """Tell the record of the request that is served now the name of its key."""
    if (record := now()) is not None:
        record.key = name


def onward(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a request to Elasticsearch: with the current span, if the request is traced.

    Without traces the caller's own ``traceparent`` goes on.
    """
    record = now()
    if record is None or record.span is None:
        return headers
    sent: list[tuple[str, str]] = record.span.onward(headers)
    return sent
