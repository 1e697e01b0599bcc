"""Tells the observer of a request how its searches ended, and which errors Elasticsearch gave."""

from __future__ import annotations

from elasticsearch import ApiError, ConnectionTimeout, TransportError

from ...observation import OBSERVER, Trouble, trouble
from ..response.answer import SearchStats

_TOO_MANY, _FAILED = 429, 500
"""The status of a node that rejects requests, and the least status of one that failed."""


def tell_end(stats: SearchStats, *, documents: int | None = None) -> None:
    """Tell how a search with an answer ended. ``documents`` replaces the number in the statistics."""
    observer = OBSERVER.get()
    if observer is not None:
        lost = ("incomplete",) if stats.parts.reasons() else ()
        ended = "forwarded" if stats.forwarded else stats.told or stats.status
        count = stats.candidates if documents is None else documents
        observer.searched(ended, count, {*stats.fallbacks, *lost})


def tell_error(error: Exception) -> None:
    """Tell the error with which a search ended."""
    observer = OBSERVER.get()
    if observer is not None:
        observer.search_failed(error)


def tell_trouble(error: ApiError | TransportError) -> None:
    """Tell an error of Elasticsearch."""
    trouble(trouble_of(error))


def trouble_of(error: ApiError | TransportError) -> Trouble:
    """Return the kind of an error of Elasticsearch."""
    if isinstance(error, TransportError):
        return "timeout" if isinstance(error, ConnectionTimeout) else "unreachable"
    return of_status(error.status_code)


def of_status(status: int) -> Trouble:
    """Return the kind of an error by its status, 400 or more."""
    if status == _TOO_MANY:
        return "rejected"
    return "failed" if status >= _FAILED else "refused"
