"""What can go wrong, as one tree; each class is mapped once to an HTTP status and an exit code.

    EsRerankError
    ├── RequestError                 the caller's mistake
    │   ├── RetrieverParsingError    a retriever tree that Elasticsearch's grammar does not allow
    │   ├── InvalidSearchError       parts of a search that do not go together, all of them named
    │   ├── UnknownModelError        a model name that is not served
    │   ├── TooLargeError            a request over a limit of the sidecar
    │   ├── UnauthorizedError        a key of the sidecar that is missing or wrong
    │   ├── SettingsError            a setting or option that cannot be used
    │   └── SourceError              a file or folder of documents that cannot be read
    ├── ModelError                   the model's fault
    │   ├── ModelFolderError         an exported folder that is missing, incomplete or altered
    │   ├── ScoreError               a score that is not a finite number
    │   ├── ParityError              an export that does not agree with its original
    │   ├── RemoteModelError         a rerank service that refuses, fails or cannot be reached
    │   ├── GenerationError          a language model that gave no answer, or not the whole of one
    │   └── MissingExtraError        an optional dependency that is not installed
    ├── SearchError                  Elasticsearch's side
    │   ├── UnreachableError         no Elasticsearch answers at the address
    │   ├── IndexMismatchError       the index does not fit what was asked of it
    │   └── NodeError                a local node cannot be found, started or stopped
    ├── IngestError                  documents that were not indexed
    ├── DeadlineError                time ran out and failures are not allowed
    └── OverloadError                more work than may wait

Errors of the elasticsearch client itself (``elasticsearch.ApiError``) are not wrapped: they pass through unchanged.
Every class pickles: data beyond the message is in keyword attributes with defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class EsRerankError(Exception):
    """Base of every error raised by this project. The message names the thing, the value and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(EsRerankError):
    """The request cannot be served as it stands; sending it again unchanged will fail again."""


class RetrieverParsingError(RequestError):
    """A retriever tree has an unknown key, a wrong type or a value out of range.

    ``path`` is the position in the tree, ``kind`` Elasticsearch's name for the fault, ``cause`` its (type, reason) of
    what lies beneath, where Elasticsearch gives one.
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
    """Parts of a search do not go together; ``faults`` lists every one, worded and numbered as Elasticsearch does."""

    def __init__(self, message: str, *, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)

    @classmethod
    def of(cls, faults: Sequence[str]) -> InvalidSearchError:
        """Return the error that names all ``faults``."""
        return cls(
            "Validation Failed: " + "".join(f"{number}: {fault};" for number, fault in enumerate(faults, 1)),
            faults=faults,
        )


class UnknownModelError(RequestError):
    """``name`` is not among the served models."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class TooLargeError(RequestError):
    """A request body, or the number of its documents, is over a limit; the message names the setting."""


class UnauthorizedError(RequestError):
    """A rerank, embedding or inference request carries no key of the sidecar, or a wrong one."""


class SettingsError(RequestError):
    """A setting or command-line option has a value that cannot be used."""


class SourceError(RequestError):
    """A source of documents cannot be read; ``path`` and, where it is known, ``line`` say where."""

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class ModelError(EsRerankError):
    """A model cannot be loaded or does not do what its manifest says."""


class ModelFolderError(ModelError):
    """A model folder is missing, incomplete, or differs from the checksums in its manifest."""


class ScoreError(ModelError):
    """A model returned a score that is not finite, or not one score per passage."""


class ParityError(ModelError):
    """An exported model does not agree with the model that it was exported from."""


class GenerationError(ModelError):
    """The server of a language model gives no answer, or breaks off in one; ``status`` is its HTTP status, where it answered with a fault."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RemoteModelError(ModelError):
    """A rerank service over the network refused, failed or cannot be reached.

    ``service`` names it, ``status`` is its HTTP status, None where it gave none.
    """

    def __init__(self, message: str, *, service: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.service = service
        self.status = status


class MissingExtraError(ModelError):
    """An optional dependency is not installed; ``extra`` is the extra that brings it."""

    def __init__(self, message: str, *, extra: str = "") -> None:
        super().__init__(message)
        self.extra = extra


class SearchError(EsRerankError):
    """Elasticsearch cannot give what the request needs."""


class UnreachableError(SearchError):
    """Nothing answers at the Elasticsearch address ``url``."""

    def __init__(self, message: str, *, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class IndexMismatchError(SearchError):
    """The index lacks what was asked of it (vectors, a field, the same embedding model); ``index`` names it."""

    def __init__(self, message: str, *, index: str = "") -> None:
        super().__init__(message)
        self.index = index


class NodeError(SearchError):
    """A local Elasticsearch node cannot be found, started or stopped."""


class IngestError(EsRerankError):
    """Some documents were not indexed; ``failed`` counts them."""

    def __init__(self, message: str, *, failed: int = 0) -> None:
        super().__init__(message)
        self.failed = failed


class DeadlineError(EsRerankError):
    """The deadline passed before the answer was complete, and the request does not allow a partial one."""


class OverloadError(EsRerankError):
    """The queue is full; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Outcome(NamedTuple):
    """How an error class leaves the program: HTTP status, process exit code, and Elasticsearch's name for its type."""

    status: int
    exit_code: int
    type: str


OUTCOMES: dict[type[EsRerankError], Outcome] = {
    EsRerankError: Outcome(500, 1, "es_rerank_exception"),
    RequestError: Outcome(400, 2, "illegal_argument_exception"),
    RetrieverParsingError: Outcome(400, 2, "parsing_exception"),
    InvalidSearchError: Outcome(400, 2, "action_request_validation_exception"),
    UnknownModelError: Outcome(404, 2, "resource_not_found_exception"),
    TooLargeError: Outcome(413, 2, "content_too_long_exception"),
    UnauthorizedError: Outcome(401, 2, "security_exception"),
    SettingsError: Outcome(400, 2, "settings_exception"),
    SourceError: Outcome(400, 3, "source_exception"),
    ModelError: Outcome(500, 4, "model_exception"),
    ModelFolderError: Outcome(500, 4, "model_folder_exception"),
    ScoreError: Outcome(500, 4, "score_exception"),
    ParityError: Outcome(500, 4, "parity_exception"),
    RemoteModelError: Outcome(502, 4, "remote_model_exception"),
    GenerationError: Outcome(502, 4, "generation_exception"),
    MissingExtraError: Outcome(500, 4, "missing_extra_exception"),
    SearchError: Outcome(502, 5, "search_exception"),
    UnreachableError: Outcome(503, 5, "unreachable_exception"),
    IndexMismatchError: Outcome(400, 5, "index_mismatch_exception"),
    NodeError: Outcome(503, 5, "node_exception"),
    IngestError: Outcome(500, 6, "ingest_exception"),
    DeadlineError: Outcome(504, 7, "deadline_exception"),
    OverloadError: Outcome(429, 8, "es_rejected_execution_exception"),
}
"""The one table from error class to outcome; a test holds that every class of the tree is in it."""


def outcome_of(error: EsRerankError) -> Outcome:
    """Return the outcome of the nearest class of ``error`` that the table names."""
    return next(OUTCOMES[cls] for cls in type(error).__mro__ if cls in OUTCOMES)


def error_body(error: EsRerankError) -> dict[str, Any]:
    """Return an error as Elasticsearch writes its own: ``{"error": {"root_cause", "type", "reason"}, "status"}``."""
    outcome = outcome_of(error)
    cause = {"type": getattr(error, "kind", outcome.type), "reason": error.message}
    beneath = getattr(error, "cause", None)
    caused_by = {"caused_by": {"type": beneath[0], "reason": beneath[1]}} if beneath else {}
    return {"error": {"root_cause": [cause], **cause, **caused_by}, "status": outcome.status}
