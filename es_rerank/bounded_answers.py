"""Bounds the answers of other servers, in bytes, before they are held: what is inflated is counted too.

It works in the response hooks of a client of httpx, so that a vendor's SDK which is given that client is
bounded as well. httpx itself would inflate a whole piece of gzip at once, a thousand times its size.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import httpx

ERROR_BYTES = 65_536
"""Most bytes of an answer that is an error: the rest is not read. A gateway may send a page of HTML."""

HEADERS = {"Accept-Encoding": "gzip"}
"""What such a client sends: gzip is the only compression that is read here."""

_GZIP = 16 + zlib.MAX_WBITS
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""What ends an event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""


class LongAnswerError(ValueError):
    """An answer has over ``most`` bytes."""

    def __init__(self, most: int, what: str = "the answer") -> None:
        super().__init__(f"{what} has over {most:,} bytes")
        self.most = most


class Bound(NamedTuple):
    """How much of an answer is read.

    ``most``: most bytes, inflated. ``cut``: whether the rest is left out; otherwise a longer answer raises
    LongAnswerError. ``event``: most bytes of one event of a stream. Errors are always cut, at
    ``ERROR_BYTES``.
    """

    most: int
    cut: bool = False
    event: int | None = None


def bounded(bound: Callable[[], Bound]) -> dict[str, list[Callable[..., Any]]]:
    """Return the ``event_hooks`` of a blocking client of httpx; ``bound`` is asked for each answer."""

    def hook(response: Any) -> None:  # noqa: ANN401 httpx's, or that of a library with its interface
        _bind(response, bound())

    return {"response": [hook]}


def bounded_async(bound: Callable[[], Bound]) -> dict[str, list[Callable[..., Any]]]:
    """Return the ``event_hooks`` of an asynchronous client of httpx, as ``bounded`` does."""

    async def hook(response: Any) -> None:  # noqa: ANN401 see ``bounded``
        _bind(response, bound())

    return {"response": [hook]}


def is_cut(response: httpx.Response) -> bool:
    """Whether the end of an answer was not read."""
    meter = response.extensions.get(_METER)
    return isinstance(meter, _Meter) and meter.full


_METER = "es_rerank.meter"


def _bind(response: Any, bound: Bound) -> None:  # noqa: ANN401 see ``bounded``
    if response.status_code >= 300:
        bound = Bound(min(bound.most, ERROR_BYTES), cut=True)
    # Without this header, httpx takes the bytes as they are.
    coding = response.headers.pop("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise httpx.DecodingError(f"the answer has the content encoding {coding[:100]}, which is not gzip")
    meter = _Meter(bound, zipped=coding.endswith("gzip"))
    response.extensions[_METER] = meter
    library = type(response).__module__.partition(".")[0]
    response.stream = _stream_of(library)(response.stream, meter)


class _Meter:
    """Inflates and counts the bytes of one answer."""

    def __init__(self, bound: Bound, *, zipped: bool) -> None:
        self._bound, self._left = bound, bound.most
        self._inflater = zlib.decompressobj(_GZIP) if zipped else None
        self._event, self._last = 0, b""
        self.full = False

    def take(self, piece: bytes) -> bytes:
        """Return a piece, inflated, up to the bound. Raises LongAnswerError, and DecodingError of httpx."""
        taken = piece if self._inflater is None else self._inflated(piece)
        if len(taken) > self._left:
            self.full = True
            if not self._bound.cut:
                raise LongAnswerError(self._bound.most)
            taken = taken[: self._left]
        self._left -= len(taken)
        if self._bound.event is not None:
            self._check_event(taken, self._bound.event)
        return taken

    def _inflated(self, piece: bytes) -> bytes:
        found = b""
        while piece and len(found) <= self._left:
            assert self._inflater is not None  # noqa: S101 the caller looked
            try:
                found += self._inflater.decompress(piece, self._left + 1 - len(found))
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
            if not self._inflater.eof:
                break
            # A file of gzip may have several members.
            piece = self._inflater.unused_data
            self._inflater = zlib.decompressobj(_GZIP)
        return found

    def _check_event(self, taken: bytes, most: int) -> None:
        seen = self._last + taken  # an end may be in two pieces
        self._last = seen[-3:]
        ended = any(end in seen for end in _ENDS)
        self._event = len(taken) if ended else self._event + len(taken)
        if not ended and self._event > most:
            raise LongAnswerError(most, "an event of the answer")


class _Stream:
    """The bytes of an answer, up to the bound."""

    def __init__(self, inner: Any, meter: _Meter) -> None:  # noqa: ANN401 see ``bounded``
        self._inner, self._meter = inner, meter

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            yield self._meter.take(piece)
            if self._meter.full:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            yield self._meter.take(piece)
            if self._meter.full:
                return

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def _stream_of(library: str) -> type[_Stream]:
    """Return the class of a stream that ``library`` takes: httpx, or the one that an SDK has instead."""
    names = import_module(library)
    return type("_BoundStream", (_Stream, names.SyncByteStream, names.AsyncByteStream), {})
