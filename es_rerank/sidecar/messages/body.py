"""Reads bodies piece by piece, and counts what is in them before anything is parsed.

A few bytes can stand for much work: 15 MB of brackets, 16 kB of gzip, a million empty objects. So size, depth
and number of values are counted on the bytes as they come, and what is over a limit is refused without
reading the rest. What is within the limits is parsed in a time that is known.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import numpy as np
from fastapi import Request

from ...defaults import MAX_DEPTH, MAX_VALUES
from ...errors import EsRerankError, MediaTypeError, RequestError, TooLargeError
from ...retrievers.grammar.parameters import whole_number

_OPENING, _CLOSING, _COMMA, _QUOTE = b"[{", b"]}", b",", b'"'
_OTHERS = bytes(sign for sign in range(256) if sign not in _OPENING + _CLOSING + _COMMA + _QUOTE)
"""The bytes that say nothing about depth and number of values."""

_STEPS = np.zeros(256, np.int8)
_STEPS[list(_OPENING)], _STEPS[list(_CLOSING)] = 1, -1
_COUNTS = np.zeros(256, np.bool_)
_COUNTS[list(_OPENING + _COMMA)] = True

_PIECE = 1 << 16
"""Most bytes that are inflated or counted before other tasks of the event loop may run: less than a
millisecond of work."""


class Count:
    """Counts levels of brackets and values of JSON in bytes that come in pieces, at most 10 ns a byte.

    ``deepest`` is the largest number of brackets that are open at a time. ``values`` is the number of commas
    and opening brackets: JSON text has at most one scalar more. Both are of what stands outside strings.
    ``lines`` is the number of newlines. Several JSON texts, one on each line, are counted as one: up to the
    first that is not valid that is the same, and no later one is parsed.
    """

    def __init__(self) -> None:
        self.deepest = self.values = self.lines = 0
        self._depth = 0
        self._in_string = False
        self._held = b""

    def add(self, piece: bytes) -> None:
        """Count the next bytes."""
        self.lines += piece.count(b"\n")
        piece, self._held = self._held + piece, b""
        if b"\\" in piece:
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # the byte that it escapes is in the next piece
                piece, self._held = piece[:-1], b"\\"
            # Pairs are taken from the left, so a backslash that stays escapes the byte behind it.
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        signs = np.frombuffer(piece.translate(None, _OTHERS), np.uint8)
        if not len(signs):
            return
        quotes = signs == _QUOTE[0]
        if self._in_string or quotes.any():
            inside = np.bitwise_xor.accumulate(quotes) ^ self._in_string
            self._in_string = bool(inside[-1])
            signs = signs[~(inside | quotes)]
            if not len(signs):
                return
        levels = np.cumsum(_STEPS[signs], dtype=np.int32)
        self.deepest = max(self.deepest, self._depth + int(levels.max()))
        self._depth += int(levels[-1])
        self.values += int(np.count_nonzero(_COUNTS[signs]))


@dataclass(frozen=True, slots=True)
class Counted:
    """Limits for the JSON in a body: levels of brackets, values, and lines where each is a JSON text."""

    depth: int = MAX_DEPTH
    values: int = MAX_VALUES
    lines: int | None = None

    def fault(self, count: Count) -> EsRerankError | None:
        """Return the error for what is over a limit, None if nothing is."""
        if count.deepest > self.depth:
            return RequestError(
                f"the request body has over {self.depth} levels of brackets; send it with fewer levels"
            )
        if count.values > self.values:
            return TooLargeError(f"the request body has over {self.values} values; send it in parts")
        if self.lines is not None and count.lines > self.lines:
            return TooLargeError(f"the request body has over {self.lines} lines; send it in parts")
        return None

    def check(self, data: bytes) -> None:
        """Count bytes that are there as a whole. Raises the error for what is over a limit."""
        count = Count()
        for piece in _pieces(data):
            count.add(piece)
            if fault := self.fault(count):
                raise fault


@dataclass(slots=True)
class Body:
    """A body: ``data`` as it was sent, ``plain`` without its content-encoding. ``fault``: why it may not be
    parsed, if so.
    """

    data: bytes
    plain: bytes
    fault: EsRerankError | None = None

    def check(self) -> None:
        """Raise the error of a body that may not be parsed."""
        if self.fault is not None:
            raise self.fault


def check_length(request: Request, limit: int) -> None:
    """Check the content-length header before the body is read.

    Raises TooLargeError when it is over ``limit`` bytes or not a number, RequestError when the body is said
    to be chunked as well (RFC 9112 section 6.1: such a request may be an attempt at request smuggling).
    """
    if "content-length" in request.headers and "transfer-encoding" in request.headers:
        raise RequestError("the request has both content-length and transfer-encoding; send one of them")
    declared = whole_number(request.headers.get("content-length", "0"))
    if declared is None or declared > limit:
        raise _too_large(limit)


def _too_large(limit: int, when: str = "") -> TooLargeError:
    return TooLargeError(f"the request body is over {limit} bytes{when} (setting max_body_bytes)")


async def read_body(
    request: Request,
    limit: int,
    counted: Counted | None = None,
    needs_parsing: Callable[[bytes], bool] = lambda _: True,
) -> Body:
    """Return the body of a request, decompressed if its content-encoding is gzip (``x-gzip``, RFC 9110).

    ``counted``: limits for the JSON in it; None for a body that is not parsed. ``needs_parsing``: whether a
    body that begins with these bytes is certainly parsed. If so, it is refused where it passes a limit, else
    the fault is noted and the rest is read. Raises TooLargeError when the body is over ``limit`` bytes as it
    comes or when it is decompressed. Raises RequestError when it is not one whole stream of gzip although its
    content-encoding says so. Another content-encoding is a fault as well: MediaTypeError.
    """
    check_length(request, limit)
    encoding = _encoding_of(request)
    zipped = encoding in _GZIP
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if zipped else None
    data, plain = bytearray(), bytearray()
    count, fault = Count(), None if counted is None or zipped else _unread(encoding)
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
        if isinstance(fault, MediaTypeError) and chunk and len(data) == len(chunk) and needs_parsing(chunk):
            raise fault  # at the first bytes: without any, nothing need be read
        async for piece in _in_turn(_pieces(chunk) if inflate is None else _inflated(inflate, chunk)):
            if inflate is not None:
                plain += piece
                if len(plain) > limit:
                    raise _too_large(limit, " when decompressed")
            if counted is None or fault is not None:
                continue
            count.add(piece)
            fault = counted.fault(count)
            if fault is not None and needs_parsing(bytes(plain if zipped else data)):
                raise fault
    if inflate is not None and data and not inflate.eof:
        raise RequestError("the request body ends within its gzip data; send all of it")
    sent = bytes(data)
    return Body(sent, bytes(plain) if zipped else sent, fault)


_GZIP = frozenset({"gzip", "x-gzip"})
_SHOWN = 40
"""Most characters of a content-encoding that an error message repeats."""


def _encoding_of(request: Request) -> str:
    """Return the content-encoding of a request, empty for none."""
    named = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    return ", ".join(name for each in named if (name := each.strip()) not in {"", "identity"})


def _unread(encoding: str) -> EsRerankError | None:
    """Return the error of a content-encoding that is not read, None for none."""
    if not encoding:
        return None
    return MediaTypeError(
        f"the content-encoding [{encoding[:_SHOWN]}] is not read here; send the body as gzip, or as it is"
    )


async def _in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces; other tasks of the event loop run between two of them."""
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(0)
        yield piece


def _pieces(data: bytes) -> Iterator[bytes]:
    if len(data) <= _PIECE:
        return iter((data,))
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))


def _inflated(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield what compressed bytes stand for, in pieces.

    Raises RequestError when they are not gzip, or go on behind its end: a second stream would be read by some
    servers and left out by others.
    """
    while data:
        if inflate.eof:
            raise RequestError(
                "the request body goes on behind the end of its gzip data; send one gzip stream"
            )
        try:
            piece = inflate.decompress(data, _PIECE)
        except zlib.error as error:
            raise RequestError(
                f"the request body is not gzip, though its content-encoding says so: {error}"
            ) from error
        data = inflate.unused_data or inflate.unconsumed_tail
        yield piece
