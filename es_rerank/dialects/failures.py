"""How clients are told of errors: one table from the class of an error to each format's status and words."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import (
    AmbiguousRequestError,
    DeadlineError,
    EsRerankError,
    LargeHeadersError,
    LoadingError,
    MediaTypeError,
    OverloadError,
    RemoteModelError,
    RequestError,
    SlowClientError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
)


class Failure(NamedTuple):
    """How an error is told.

    ``tei_status`` and ``tei_type`` (``error_type``) in the format of TEI, ``status`` and ``type`` in all
    others.
    """

    tei_status: int
    tei_type: str
    status: int
    type: str


FAILURES: dict[type[EsRerankError], Failure] = {
    EsRerankError: Failure(424, "Backend", 500, "InternalServerError"),
    RequestError: Failure(422, "Validation", 400, "BadRequestError"),
    AmbiguousRequestError: Failure(400, "Validation", 400, "BadRequestError"),
    UnknownModelError: Failure(422, "Validation", 404, "NotFoundError"),
    TooLargeError: Failure(413, "Validation", 413, "BadRequestError"),
    MediaTypeError: Failure(415, "Validation", 415, "BadRequestError"),
    UnauthorizedError: Failure(401, "Unauthorized", 401, "AuthenticationError"),
    SlowClientError: Failure(408, "Validation", 408, "BadRequestError"),
    LargeHeadersError: Failure(431, "Validation", 431, "BadRequestError"),
    OverloadError: Failure(429, "Overloaded", 429, "RateLimitError"),
    LoadingError: Failure(503, "Unhealthy", 503, "ServiceUnavailableError"),
    UnavailableError: Failure(503, "Unhealthy", 503, "ServiceUnavailableError"),
    DeadlineError: Failure(504, "Backend", 504, "GatewayTimeoutError"),
    RemoteModelError: Failure(424, "Backend", 502, "InternalServerError"),
}
"""The statuses of TEI are those of its ``router/src/http/server.rs``: 422 for a request, 424 for its backend.
The others are those that Cohere, Jina, Voyage, vLLM and infinity share."""


def failure_of(error: EsRerankError) -> Failure:
    """Return the row of the error's class, or of its nearest base class in the table."""
    return next(FAILURES[cls] for cls in type(error).__mro__ if cls in FAILURES)
