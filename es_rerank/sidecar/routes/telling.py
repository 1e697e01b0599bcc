"""In which format a caller is told of an error: that of the server whose path it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fastapi import Request, Response

from ...dialects import tei
from ...dialects.failures import Failure, failure_of
from ...dialects.vectors import BY_PATH, openai_error
from ...errors import EsRerankError, message_of
from ..messages.wire import answer, retry_after
from . import rerank


class Spoken(Protocol):
    """A format of errors."""

    @property
    def error(self) -> Callable[[str, Failure, int], dict[str, Any]]:
        """Return the body of an error, from its message, its row in the table of errors and its status."""

    def status(self, failure: Failure) -> int:
        """Return the status with which an error is answered."""


class _OfAbout(NamedTuple):
    """The format of a path that tells about the sidecar, and the method that it serves."""

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


def spoken_in(request: Request) -> Spoken | None:
    """Return the format of a request; None for that of Elasticsearch.

    A method that a path does not serve may be one for Elasticsearch, such as that of ``PUT /embed``, which
    makes an index: with ``--pass-through`` it is sent on.
    """
    spoken: Spoken | None = rerank.spoken_in(request)
    if spoken is not None:
        return spoken
    path: str = request.scope["path"]
    path = path.rstrip("/") or "/"
    if path.startswith(_ONE_MODEL):
        path = "/v1/models"
    here = request.method == _method(path)
    if not here and (path == "/" or request.app.state.service.pass_through):
        return None
    return _ABOUT.get(path) or BY_PATH.get(path)


def _method(path: str) -> str:
    return "GET" if path in _ABOUT or path.startswith(_ONE_MODEL) else "POST"


def refusal(request: Request, spoken: Spoken, error: EsRerankError) -> Response:
    """Return an error in the format of a request."""
    failure = failure_of(error)
    status = spoken.status(failure)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else retry_after(error)
    return answer(request, spoken.error(message_of(error), failure, status), status, headers)


def not_served(request: Request, spoken: Spoken) -> Response:
    """Return the answer to a method that the path does not serve, in the format of the path."""
    path, failure = request.scope["path"], Failure(405, "Validation", 405, "BadRequestError")
    method = _method(path)
    reason = f"method [{request.method}] is not served at [{path}]; send a {method}"
    return answer(request, spoken.error(reason, failure, 405), 405, {"Allow": method})
