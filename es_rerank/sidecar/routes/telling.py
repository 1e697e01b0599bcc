"""Tells callers of errors in the format of the server whose path they ask."""

from __future__ import annotations

from fastapi import Request, Response

from ...dialects.failures import Failure, failure_of
from ...dialects.paths import Meant, Spoken, is_index, methods_of, spoken_at
from ...errors import EsRerankError, message_of
from ..messages.wire import answer, retry_after
from . import rerank


def spoken_in(request: Request) -> Spoken | None:
    """Return the format of a request; None for that of Elasticsearch.

    A method that a path does not serve may be one for Elasticsearch, such as that of ``PUT /embed``, which
    makes an index: with ``--pass-through`` it is sent on.
    """
    path: str = request.scope["path"]
    of_elasticsearch = request.app.state.service.pass_through or is_index(path, request.method)
    if request.method not in methods_of(path) and of_elasticsearch:
        return None
    return rerank.spoken_in(request) or spoken_at(path, request.method)


def refusal(request: Request, spoken: Spoken, error: EsRerankError) -> Response:
    """Return an error in the format of a request."""
    failure = failure_of(error)
    status = failure.status_in(tei=spoken.tei_status)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else retry_after(error)
    return answer(request, spoken.error(message_of(error), failure, status), status, headers)


def not_served(request: Request, spoken: Spoken) -> Response:
    """Return the answer to a method that the path does not serve, in the format of the path."""
    path, failure = request.scope["path"], Failure(405, "Validation", 405, "BadRequestError")
    methods = methods_of(path)
    reason = f"method [{request.method}] is not served at [{path}]; send a {methods[0]}"
    return answer(request, spoken.error(reason, failure, 405), 405, {"Allow": ", ".join(methods)})


def wrong_path(request: Request, meant: Meant) -> Response:
    """Return the answer to a request of another server's client to a path that is not served."""
    failure = Failure(meant.status, "Validation", meant.status, "BadRequestError")
    reason = f"[{request.scope['path']}] is not served; did you mean [{meant.path}]?"
    return answer(request, meant.format.error(reason, failure, meant.status), meant.status)
