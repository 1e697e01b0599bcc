"""In which format a caller is told of an error, by the path that it asks: one table of every path that has a
format of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from . import tei
from .failures import Failure
from .table import dialect_on
from .vectors import BY_PATH, openai_error


class Spoken(Protocol):
    """A format of errors."""

    @property
    def error(self) -> Callable[[str, Failure, int], dict[str, Any]]:
        """Return the body of an error, from its message, its row in the table of errors and its status."""

    def status(self, failure: Failure) -> int:
        """Return the status with which an error is answered."""


class _OfAbout(NamedTuple):
    """The format of a path that tells about the sidecar."""

    error: Callable[[str, Failure, int], dict[str, Any]]
    tei_status: bool = False

    def status(self, failure: Failure) -> int:
        return failure.tei_status if self.tei_status else failure.status


_ABOUT = {
    "/info": _OfAbout(tei.error, tei_status=True),
    "/health": _OfAbout(tei.error, tei_status=True),
    "/v1/models": _OfAbout(openai_error),
}
_ONE_MODEL = "/v1/models/"
_SLASHES = re.compile("/+")


def with_single_slashes(path: str) -> str:
    """Return a path without empty parts, and without slashes at the end.

    Clients put their path behind an address, which a user may have ended with a slash: ``//rerank``.
    """
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _known(path: str) -> str:
    path = with_single_slashes(path)
    return "/v1/models" if path.startswith(_ONE_MODEL) else path


def method_of(path: str) -> str:
    """Return the method that is served at a path with a format of its own."""
    return "GET" if _known(path) in _ABOUT else "POST"


def spoken_at(path: str, method: str) -> Spoken | None:
    """Return the format of requests to a path; None for that of Elasticsearch.

    ``/`` is TEI's for ``POST`` alone: with other methods it is Elasticsearch's own path.
    """
    path = _known(path)
    if path == "/" and method != "POST":
        return None
    return dialect_on(path) or _ABOUT.get(path) or BY_PATH.get(path)
