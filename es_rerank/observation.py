"""Where the work tells how long it takes and how it ends: to an observer in a context variable.

The sidecar sets an observer for each request. Without one nothing is told, and nothing is measured. Tasks of
asyncio and ``asyncio.to_thread`` inherit the observer. No observer gets a text, except ``reranking``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Literal, Protocol, TypeVar

from .errors import DeadlineError, OverloadError, UnknownModelError
from .types import Scores

T = TypeVar("T")
R = TypeVar("R")

Fallback = Literal["late", "overload", "unknown_model", "failed", "no_text", "incomplete", "inside"]
"""Why a search is not reranked as a whole: the deadline passed, the queue was full, the reranker is not
served or failed, texts are missing, Elasticsearch searched a part only, or the plugin's sidecar failed."""

Ended = Literal["reranked", "partial", "first_stage", "fused", "forwarded"]
"""How a search ended: the status in its answer, or ``forwarded`` where Elasticsearch ran it as a whole."""

Trouble = Literal["refused", "rejected", "failed", "timeout", "unreachable"]
"""An error of Elasticsearch: status 4xx, status 429, status 5xx, no answer in time, no connection."""


Stage = Literal[
    "mapping",
    "point_in_time",
    "embed",
    "first_stage",
    "explain",
    "passages",
    "cut",
    "rerank",
    "rescore",
    "page",
    "aggregations",
    "groups",
    "elasticsearch",
]
"""A stage of a search: a request to Elasticsearch, or work of a model. See docs/metrics.md."""


Part = Literal["tokenization", "queue", "inference"]
"""A part of a model's work: texts become tokens, the first batch waits for a thread, batches run."""


class Observer(Protocol):
    """What is told about the work for one request. Its methods may be called from several threads."""

    def stage(self, name: Stage) -> AbstractContextManager[object]:
        """Return a context that lasts as long as a stage of a search."""

    def reranking(
        self, model: str, query: str, texts: Sequence[str]
    ) -> AbstractContextManager[Callable[[Scores], None]]:
        """Return a context that lasts as long as a model scores texts. It yields a function that gets the
        scores.
        """

    def took(self, part: Part, seconds: float) -> None:
        """Add the time of a part of a model's work."""

    def batch(self, sequences: int, tokens: int) -> None:
        """Count one run of a model."""

    def searched(self, ended: Ended, documents: int, fallbacks: Collection[Fallback]) -> None:
        """Count a search. ``documents``: how many its rerankers got."""

    def search_failed(self, error: Exception) -> None:
        """Count a search that ended with an error."""

    def trouble(self, kind: Trouble) -> None:
        """Count an error of Elasticsearch."""


OBSERVER: ContextVar[Observer | None] = ContextVar("es_rerank_observer", default=None)
"""The observer of the request that the running code works for; None if nobody observes it."""


def stage(name: Stage) -> AbstractContextManager[object]:
    """Return a context that lasts as long as a stage of a search."""
    observer = OBSERVER.get()
    return nullcontext() if observer is None else observer.stage(name)


def reranking(
    model: str, query: str, texts: Sequence[str]
) -> AbstractContextManager[Callable[[Scores], object]]:
    """Return a context that lasts as long as a model scores texts. It yields a function for the scores."""
    observer = OBSERVER.get()
    return nullcontext(_ignore) if observer is None else observer.reranking(model, query, texts)


def trouble(kind: Trouble) -> None:
    """Count an error of Elasticsearch."""
    observer = OBSERVER.get()
    if observer is not None:
        observer.trouble(kind)


def _ignore(_: Scores) -> None:
    return


def fallback_of(error: BaseException) -> Fallback:
    """Return the reason for which an error of a reranker leaves a search without its scores."""
    if isinstance(error, DeadlineError):
        return "late"
    if isinstance(error, OverloadError):
        return "overload"
    return "unknown_model" if isinstance(error, UnknownModelError) else "failed"


class Runs:
    """Measures the work of a model for one call: tokenising, how long the first run waited, and how long all
    runs took. Nothing is measured if ``observer`` is None.
    """

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._submitted = time.perf_counter()
        self._first: float | None = None
        self._last = 0.0

    def tokenising(self, encode: Callable[[T], R]) -> Callable[[T], R]:
        """Return ``encode``, which tokenises some texts, so that its time is told."""
        observer = self._observer
        if observer is None:
            return encode

        def measured(texts: T) -> R:
            began = time.perf_counter()
            try:
                return encode(texts)
            finally:
                observer.took("tokenization", time.perf_counter() - began)

        return measured

    def timed(
        self, work: Callable[[Sequence[T]], R], tokens: Callable[[Sequence[T]], int]
    ) -> Callable[[Sequence[T]], R]:
        """Return ``work``, which runs one batch, so that its time is measured."""
        observer = self._observer
        if observer is None:
            return work

        def measured(batch: Sequence[T]) -> R:
            began = time.perf_counter()
            self._first = began if self._first is None else min(self._first, began)
            observer.batch(len(batch), tokens(batch))
            try:
                return work(batch)
            finally:
                self._last = max(self._last, time.perf_counter())

        return measured

    def tell(self) -> None:
        """Tell the observer how long the runs waited and took. Runs that have not ended are not counted."""
        if self._observer is None:
            return
        first = self._first
        self._observer.took("queue", (time.perf_counter() if first is None else first) - self._submitted)
        if first is not None:
            self._observer.took("inference", max(self._last - first, 0.0))
