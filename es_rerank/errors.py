"""The errors of this project, as one tree of classes.

    EsRerankError
    ├── RequestError                 the caller's mistake
    │   ├── RetrieverParsingError    a retriever tree that Elasticsearch's grammar does not allow
    │   ├── InvalidSearchError       parts of a search that contradict each other, all of them listed
    │   ├── UnknownModelError        a model name that is not served
    │   ├── AmbiguousRequestError    a rerank request with the keys of two formats
    │   ├── TooLargeError            a request over a limit of the sidecar
    │   ├── MediaTypeError           a search in a format that the sidecar does not read or write
    │   ├── UnauthorizedError        a request to the sidecar whose key is missing or wrong
    │   ├── SlowClientError          a request that arrives too slowly
    │   ├── LargeHeadersError        a request with too many or too long headers
    │   ├── SettingsError            a setting or option that cannot be used
    │   └── SourceError              a file or folder of documents that cannot be read
    ├── ModelError                   the model's fault
    │   ├── LoadingError             the models of a sidecar that just started are still loading
    │   ├── ModelFolderError         an exported folder that is missing, incomplete or changed
    │   ├── ScoreError               a score that is not a finite number
    │   ├── ParityError              an exported model whose scores differ from its original's
    │   ├── RemoteModelError         a rerank service that refuses, fails or cannot be reached
    │   │   └── RemoteScoreError     a rerank service whose scores cannot be used; also a ScoreError
    │   ├── GenerationError          a language model that gave no answer or an incomplete one
    │   └── MissingExtraError        an optional dependency that is not installed
    ├── SearchError                  Elasticsearch cannot give what is needed
    │   ├── UnreachableError         no Elasticsearch answers at the address
    │   ├── IndexMismatchError       the index lacks what the request needs
    │   └── NodeError                a local node cannot be found, started or stopped
    ├── IngestError                  documents that were not indexed
    │   └── IngestStoppedError       an ingest that ended early because somebody stopped it
    ├── DeadlineError                the deadline passed and a partial answer is not allowed
    ├── OverloadError                the queue of waiting work is full
    └── UnavailableError             the sidecar stops, or all of its connections are busy

A table maps each class to an HTTP status and an exit code (``OUTCOMES``).
Errors of the elasticsearch client (``elasticsearch.ApiError``) are not wrapped: they reach the caller
unchanged. Every class can be pickled: its constructor takes the message, and all other data as keywords with
defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class EsRerankError(Exception):
    """Base class of all errors of this project. The message names the thing, the value and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(EsRerankError):
    """The request has a mistake. The same request will fail again until the mistake is corrected."""


class RetrieverParsingError(RequestError):
    """A retriever tree has an unknown key, a wrong type or a value out of range.

    ``path`` is the position in the tree. ``kind`` is the name that Elasticsearch gives to this type of error.
    ``cause`` is the (type, reason) that Elasticsearch reports in ``caused_by``, None where it reports no
    cause.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        kind: str = "parsing_exception",
        cause: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.kind = kind
        self.cause = cause


class InvalidSearchError(RequestError):
    """Parts of a search contradict each other.

    ``faults`` lists every contradiction, in Elasticsearch's words.
    """

    def __init__(self, message: str, *, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)

    @classmethod
    def of(cls, faults: Sequence[str]) -> InvalidSearchError:
        """Return the error whose message lists all ``faults`` with numbers, as Elasticsearch writes them."""
        return cls(
            "Validation Failed: " + "".join(f"{number}: {fault};" for number, fault in enumerate(faults, 1)),
            faults=faults,
        )


class UnknownModelError(RequestError):
    """The model ``name`` is not among the models that are served."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class AmbiguousRequestError(RequestError):
    """A rerank request holds the keys of two formats, so that it is not known how to answer it."""


class TooLargeError(RequestError):
    """A request body is too large or holds too many documents. The message names the setting of the limit."""


class MediaTypeError(RequestError):
    """A search, or the answer that is asked for, is in YAML, CBOR or SMILE. The sidecar has JSON only."""


class UnauthorizedError(RequestError):
    """A rerank, embedding or inference request to the sidecar has no key or a wrong key."""


class SlowClientError(RequestError):
    """A request to the sidecar arrives too slowly. The message names the setting of the limit."""


class LargeHeadersError(RequestError):
    """The request line and headers of a request to the sidecar are too many or too long."""


class SettingsError(RequestError):
    """A setting or command-line option has a value that cannot be used."""


class SourceError(RequestError):
    """A file or folder of documents cannot be read.

    ``path`` names it. ``line`` is the number of the line (from 1), None where the line is not known.
    """

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class ModelError(EsRerankError):
    """A model cannot be loaded, or it does not behave as its manifest says."""


class LoadingError(ModelError):
    """The models are still loading. The caller may try again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelFolderError(ModelError):
    """A model folder is missing or incomplete, or a file of it differs from its checksum in the manifest."""


class ScoreError(ModelError):
    """A model returned a score that is not a finite number, or a wrong number of scores."""


class ParityError(ModelError):
    """The outputs of an exported model differ from those of the model that it was exported from."""


class GenerationError(ModelError):
    """The server of a language model gave no answer, or stopped in the middle of an answer.

    ``status`` is the HTTP status of the server's error, None where the server sent no error.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RemoteModelError(ModelError):
    """A rerank service on the network refused a request, failed or cannot be reached.

    ``service`` is the name of the service. ``status`` is its HTTP status, None where the service sent none.
    ``retry_after_s``: the service is asked again after so many seconds, None where the next request asks it.
    """

    def __init__(
        self,
        message: str,
        *,
        service: str = "",
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.service = service
        self.status = status
        self.retry_after_s = retry_after_s


class RemoteScoreError(RemoteModelError, ScoreError):
    """A rerank service on the network returned scores that cannot be used: too few, twice, or no numbers."""


class MissingExtraError(ModelError):
    """An optional dependency is not installed. ``extra`` names the extra of this package that installs it."""

    def __init__(self, message: str, *, extra: str = "") -> None:
        super().__init__(message)
        self.extra = extra


class SearchError(EsRerankError):
    """Elasticsearch cannot give what the request needs."""


class UnreachableError(SearchError):
    """No Elasticsearch answers at the address ``url``."""

    def __init__(self, message: str, *, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class IndexMismatchError(SearchError):
    """The index ``index`` lacks what the request needs.

    That may be vectors, a field, or vectors of the same embedding model.
    """

    def __init__(self, message: str, *, index: str = "") -> None:
        super().__init__(message)
        self.index = index


class NodeError(SearchError):
    """A local Elasticsearch node cannot be found, started or stopped."""


class IngestError(EsRerankError):
    """Some documents were not indexed. ``failed`` is their number."""

    def __init__(self, message: str, *, failed: int = 0) -> None:
        super().__init__(message)
        self.failed = failed


class IngestStoppedError(IngestError):
    """Somebody stopped the ingest before it was done. ``failed``: how many documents had failed by then."""


class DeadlineError(EsRerankError):
    """The deadline passed before the answer was complete, and the request does not allow a partial answer."""


class OverloadError(EsRerankError):
    """The queue is full. The caller may try again after ``retry_after_s`` seconds.

    It is None where the request alone is too much for its deadline, so that no wait helps.
    """

    def __init__(self, message: str, *, retry_after_s: int | None = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(EsRerankError):
    """The sidecar takes no new request: it stops, or all of its connections are busy.

    The caller may try again after ``retry_after_s`` seconds, at another sidecar if there is one.
    """

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Outcome(NamedTuple):
    """What callers see of an error class: HTTP status, process exit code, and Elasticsearch's ``type``."""

    status: int
    exit_code: int
    type: str


OUTCOMES: dict[type[EsRerankError], Outcome] = {
    EsRerankError: Outcome(500, 1, "es_rerank_exception"),
    RequestError: Outcome(400, 2, "illegal_argument_exception"),
    RetrieverParsingError: Outcome(400, 2, "parsing_exception"),
    InvalidSearchError: Outcome(400, 2, "action_request_validation_exception"),
    UnknownModelError: Outcome(404, 2, "resource_not_found_exception"),
    AmbiguousRequestError: Outcome(400, 2, "illegal_argument_exception"),
    TooLargeError: Outcome(413, 2, "content_too_long_exception"),
    MediaTypeError: Outcome(415, 2, "media_type_header_exception"),
    UnauthorizedError: Outcome(401, 2, "security_exception"),
    SlowClientError: Outcome(408, 2, "timeout_exception"),
    LargeHeadersError: Outcome(431, 2, "too_long_http_header_exception"),
    SettingsError: Outcome(400, 2, "settings_exception"),
    SourceError: Outcome(400, 3, "source_exception"),
    ModelError: Outcome(500, 4, "model_exception"),
    LoadingError: Outcome(503, 4, "loading_exception"),
    ModelFolderError: Outcome(500, 4, "model_folder_exception"),
    ScoreError: Outcome(500, 4, "score_exception"),
    ParityError: Outcome(500, 4, "parity_exception"),
    RemoteModelError: Outcome(502, 4, "remote_model_exception"),
    RemoteScoreError: Outcome(502, 4, "remote_score_exception"),
    GenerationError: Outcome(502, 4, "generation_exception"),
    MissingExtraError: Outcome(500, 4, "missing_extra_exception"),
    SearchError: Outcome(502, 5, "search_exception"),
    UnreachableError: Outcome(503, 5, "unreachable_exception"),
    IndexMismatchError: Outcome(400, 5, "index_mismatch_exception"),
    NodeError: Outcome(503, 5, "node_exception"),
    IngestError: Outcome(500, 6, "ingest_exception"),
    IngestStoppedError: Outcome(503, 6, "ingest_stopped_exception"),
    DeadlineError: Outcome(504, 7, "deadline_exception"),
    OverloadError: Outcome(429, 8, "es_rejected_execution_exception"),
    UnavailableError: Outcome(503, 8, "unavailable_exception"),
}
"""The only table from error class to outcome. A test checks that it holds every class of the tree."""


def outcome_of(error: EsRerankError) -> Outcome:
    """Return the outcome of the error's class, or of its nearest base class in the table."""
    return next(OUTCOMES[cls] for cls in type(error).__mro__ if cls in OUTCOMES)


_MOST_CHARACTERS = 4_000
"""Most characters of a message in an answer: a message may repeat a text of the caller of many megabytes."""


def message_of(error: EsRerankError) -> str:
    """Return the message of an error for an answer. Of a very long one the middle is left out."""
    return _shortened(error.message)


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def error_body(error: EsRerankError) -> dict[str, Any]:
    """Return the JSON body of an error response in Elasticsearch's form.

    The form is ``{"error": {"root_cause", "type", "reason"}, "status"}``, and ``caused_by`` in ``error``
    where the error has a cause.
    """
    outcome = outcome_of(error)
    fault = {"type": getattr(error, "kind", outcome.type), "reason": message_of(error)}
    cause = getattr(error, "cause", None)
    caused_by = {"caused_by": {"type": cause[0], "reason": _shortened(cause[1])}} if cause else {}
    return {"error": {"root_cause": [fault], **fault, **caused_by}, "status": outcome.status}
