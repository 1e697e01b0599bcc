"""Tells callers of errors in the format of the server whose path they ask."""

from __future__ import annotations

from fastapi import Request, Response

from ...dialects.failures import Failure, failure_of
from ...dialects.paths import Spoken, method_of, spoken_at
from ...errors import EsRerankError, message_of
from ..messages.wire import answer, retry_after
from . import rerank


def spoken_in(request: Request) -> Spoken | None:
    """Return the format of a request; None for that of Elasticsearch.

    A method that a path does not serve may be one for Elasticsearch, such as that of ``PUT /embed``, which
    makes an index: with ``--pass-through`` it is sent on.
    """
    path: str = request.scope["path"]
    if request.method != method_of(path) and request.app.state.service.pass_through:
        return None
    return rerank.spoken_in(request) or spoken_at(path, request.method)


def refusal(request: Request, spoken: Spoken, error: EsRerankError) -> Response:
    """Return an error in the format of a request."""
    failure = failure_of(error)
    status = spoken.status(failure)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else retry_after(error)
    return answer(request, spoken.error(message_of(error), failure, status), status, headers)


def not_served(request: Request, spoken: Spoken) -> Response:
    """Return the answer to a method that the path does not serve, in the format of the path."""
    path, failure = request.scope["path"], Failure(405, "Validation", 405, "BadRequestError")
    method = method_of(path)
    reason = f"method [{request.method}] is not served at [{path}]; send a {method}"
    return answer(request, spoken.error(reason, failure, 405), 405, {"Allow": method})
