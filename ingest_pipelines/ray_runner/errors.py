"""Errors on their way from a task of Ray to the program that started it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from es_rerank import errors
from es_rerank.errors import EsRerankError, IngestError

_RAISED = re.compile(r"^es_rerank\.errors\.(\w+): (.+)$", re.MULTILINE)
"""Our error in the text of an error of Ray's, where an actor could not be made."""


@contextmanager
def told() -> Iterator[None]:
    """Turn any error of a task into one of ours, which can be sent to another process.

    Errors of the elasticsearch client cannot: they hold the whole answer.
    """
    try:
        yield
    except EsRerankError:
        raise
    except Exception as error:  # noqa: BLE001 it is told with its type
        raise IngestError(f"{type(error).__name__}: {error}") from None


def first_cause(error: BaseException) -> EsRerankError:
    """Return our error within an error of Ray's, else one that tells what Ray says."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for each in (cause, seen):
            if isinstance(each, EsRerankError) and not hasattr(each, "traceback_str"):
                each.args = (each.message,)  # Ray adds advice to programmers
                return each
        seen = cause if isinstance(cause, BaseException) else seen.__cause__
    if found := _RAISED.findall(str(error)):
        name, message = found[-1]
        kind = getattr(errors, name, IngestError)
        return kind(message) if issubclass(kind, EsRerankError) else IngestError(message)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return IngestError(
        f"Ray could not run the ingest: {type(error).__name__}: {lines[-1] if lines else ''}; what is "
        "indexed stays, and the same run goes on where this one ended"
    )
