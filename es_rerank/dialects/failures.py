"""How clients are told of errors: the words of each format, and the statuses of TEI that are its own."""

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
    RequestError,
    SlowClientError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    outcome_of,
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

    def status_in(self, *, tei: bool) -> int:
        """Return the status with which the error is answered, in the format of TEI or in another one."""
        return self.tei_status if tei else self.status


class _Words(NamedTuple):
    """The words for a class of errors, and the status in the format of TEI where that is another one."""

    tei_type: str
    type: str
    tei_status: int | None = None


_WORDS: dict[type[EsRerankError], _Words] = {
    EsRerankError: _Words("Backend", "InternalServerError", 424),
    RequestError: _Words("Validation", "BadRequestError", 422),
    AmbiguousRequestError: _Words("Validation", "BadRequestError"),
    UnknownModelError: _Words("Validation", "NotFoundError", 422),
    TooLargeError: _Words("Validation", "BadRequestError"),
    MediaTypeError: _Words("Validation", "BadRequestError"),
    UnauthorizedError: _Words("Unauthorized", "AuthenticationError"),
    SlowClientError: _Words("Validation", "BadRequestError"),
    LargeHeadersError: _Words("Validation", "BadRequestError"),
    OverloadError: _Words("Overloaded", "RateLimitError"),
    LoadingError: _Words("Unhealthy", "ServiceUnavailableError"),
    UnavailableError: _Words("Unhealthy", "ServiceUnavailableError"),
    DeadlineError: _Words("Backend", "GatewayTimeoutError"),
}
"""The statuses of TEI are those of its ``router/src/http/server.rs``: 422 for a request, 424 for its backend.
The others are those of ``OUTCOMES``, which Cohere, Jina, Voyage, vLLM and infinity share."""


def failure_of(error: EsRerankError) -> Failure:
    """Return how an error is told: in the words of its class, or of its nearest base class in the table."""
    words = next(_WORDS[cls] for cls in type(error).__mro__ if cls in _WORDS)
    status = outcome_of(error).status
    return Failure(words.tei_status or status, words.tei_type, status, words.type)
