"""Standard error as a log and messages are written to it."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any


class Stderr:
    """Standard error for a log and for messages. A closed pipe or a full disk fails nothing else.

    Whatever else is asked of it, such as whether it is a terminal, is that of ``sys.stderr``.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever a stream has
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        """Write a text. The text is lost if stderr cannot be written."""
        try:
            return sys.stderr.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write the buffered text. It is lost if stderr cannot be written."""
        try:
            sys.stderr.flush()
        except OSError:
            return


def plain_retry(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an event of the log. That of stamina for a request that is sent again is put in plain words.

    A processor of structlog. Requests to services with models are tried again by stamina, and those to
    Elasticsearch by an ingest.
    """
    if event.get("event") != "stamina.retry_scheduled":
        return event
    return {
        "event": "a request failed and is sent again",
        "reason": event["caused_by"],
        "attempt": event["retry_num"] + 1,
        "wait_s": event["wait_for"],
    }
