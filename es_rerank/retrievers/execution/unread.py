"""Writes large requests and reads large answers of Elasticsearch beside the event loop.

The asynchronous client of elasticsearch writes and parses JSON on the event loop. So it gets large bodies as
bytes, and with ``LateSerializer`` it returns large answers as they came.
"""

from __future__ import annotations

import json
from typing import Any

from elastic_transport import ApiResponse, JsonSerializer, ObjectApiResponse, SerializationError
from elasticsearch import ApiError

from ...off_loop import off_loop

_LARGE_BYTES = 1 << 15
"""Answers with more bytes are parsed beside the event loop. To parse as many takes under a millisecond."""

JSON_TYPES = ("application/json", "application/vnd.elasticsearch+json")
"""The media types of Elasticsearch's answers."""


class Unread:
    """A large JSON text that is not parsed yet."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __str__(self) -> str:
        return f"{len(self.data)} bytes of JSON"


class LateSerializer(JsonSerializer):
    """A serializer of the elasticsearch client that leaves large answers to ``whole``."""

    def json_loads(self, data: bytes) -> Any:  # noqa: ANN401 any JSON value
        """Return the value in a small JSON text, and a large one as it is."""
        return Unread(data) if len(data) > _LARGE_BYTES else super().json_loads(data)


async def whole(answer: ApiResponse[Any]) -> tuple[Any, int | None]:
    """Return a response with its body parsed, and the size of the body in bytes, None if it is not known.

    Raises SerializationError for a body that is not JSON.
    """
    body = answer.body
    if not isinstance(body, Unread):
        return answer, None
    value = await off_loop(_parsed, body.data)
    response = ObjectApiResponse if isinstance(value, dict) else ApiResponse
    return response(body=value, meta=answer.meta), len(body.data)


async def whole_error(error: ApiError) -> ApiError:
    """Return an error of Elasticsearch with its body parsed."""
    if isinstance(error.body, Unread):
        error.body = await off_loop(_parsed, error.body.data)
    return error


def _parsed(data: bytes) -> Any:  # noqa: ANN401 any JSON value
    try:
        # The hook is Python code: other threads may run at each object of the text.
        return json.loads(data, object_hook=_same)
    except (ValueError, RecursionError) as error:
        raise SerializationError("the answer cannot be read as JSON", errors=(error,)) from error


def _same(found: dict[str, Any]) -> dict[str, Any]:
    return found


def as_bytes(body: Any) -> bytes:  # noqa: ANN401 plain JSON values
    """Return a body as the client would send it: JSON, or a line of JSON for each entry of a list."""
    if isinstance(body, list):
        return b"".join(_compact(line) + b"\n" for line in body)
    return _compact(body)


def _compact(value: Any) -> bytes:  # noqa: ANN401 any JSON value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
