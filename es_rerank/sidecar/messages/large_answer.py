"""Writes large JSON answers piece by piece, beside the event loop."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from ...off_loop import LARGE_VALUES, is_large, off_loop

_SENT_BYTES = 1 << 18
"""Most bytes of an answer that are given to the web server at a time. It waits until the caller reads."""


class LargeAnswer(Response):
    """A JSON response whose body is written in a thread when it is sent, and sent in pieces."""

    def __init__(
        self,
        value: Any,  # noqa: ANN401 any JSON value
        indent: int | None,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(None, status, headers, media_type)
        self._value, self._indent = value, indent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 ASGI
        """Send the response. Raises what ``written`` raises, before anything is sent."""
        self.body = await off_loop(written, self._value, self._indent)
        self._value = None
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        view = memoryview(self.body)
        for start in range(0, len(view), _SENT_BYTES):
            piece, more = bytes(view[start : start + _SENT_BYTES]), start + _SENT_BYTES < len(view)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


def written(value: Any, indent: int | None) -> bytes:  # noqa: ANN401 any JSON value
    """Return a JSON value as bytes. Half a surrogate pair, which UTF-8 cannot hold, becomes an escape.

    Raises ValueError for NaN and infinities.
    """
    try:
        return b"".join(piece.encode() for piece in _pieces(value, indent, ascii_only=False))
    except UnicodeEncodeError:
        return b"".join(piece.encode() for piece in _pieces(value, indent, ascii_only=True))


def _pieces(value: Any, indent: int | None, *, ascii_only: bool) -> Iterator[str]:  # noqa: ANN401
    """Yield the parts of a JSON text, as ``json.dumps`` writes it, each in a call that takes no long time.

    With ``indent``, ``json.dumps`` is Python code, which other threads interrupt. Without, it is C code,
    which keeps the interpreter's lock.
    """
    encoder = json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False, indent=indent)
    if indent is not None:
        yield from encoder.iterencode(value)
    else:
        yield from _parts(value, encoder)


def _parts(value: Any, encoder: json.JSONEncoder) -> Iterator[str]:  # noqa: ANN401
    is_object = isinstance(value, dict) and all(type(key) is str for key in value)
    if not (is_object or isinstance(value, (list, tuple))) or not is_large(value):
        yield encoder.encode(value)
        return
    opened, closed = "{}" if is_object else "[]"
    yield opened
    for place, part in enumerate(value.items() if is_object else _batches(value)):
        yield ", " if place else ""
        if is_object:
            yield f"{encoder.encode(part[0])}: "
            yield from _parts(part[1], encoder)
        elif len(part) > 1:
            yield encoder.encode(part)[1:-1]
        else:
            yield from _parts(part[0], encoder)
    yield closed


def _batches(values: Any) -> Iterator[list[Any]]:  # noqa: ANN401 a list or a tuple
    """Yield the entries of a list: numbers and the like many at a time, all others alone."""
    batch: list[Any] = []
    for value in values:
        if isinstance(value, (str, dict, list, tuple)):
            if batch:
                yield batch
                batch = []
            yield [value]
            continue
        batch.append(value)
        if len(batch) == LARGE_VALUES:
            yield batch
            batch = []
    if batch:
        yield batch
