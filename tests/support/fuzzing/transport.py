"""Changes to a request as bytes: the text of its body, its compression, headers, path, parameters, method."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from random import Random

from . import odd_values
from .odd_values import ODD

# -- the body ------------------------------------------------------------------------------------------------

_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00", b"\x1e")
_BROKEN = (
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
    b"\x00",
    b"\x1b",
    b"\r",
)
_WHOLE = (b"", b" ", b"\n", b"\n\n\n", b"\r\n", b"null", b"{}", b"[]", b"0", b'""', b"{}{}", b"{}\n")
_BEHIND = (b"\n", b"\n\n", b"x", b" {}", b",", b"\x00", b"]", b"}")
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1")


def changed_bytes(draw: Random, data: bytes) -> bytes:
    """Return a body that is broken as text."""
    place = draw.randrange(len(data) + 1)
    start, end = data[:place], data[place:]
    kinds: list[Callable[[], bytes]] = [
        lambda: start,
        lambda: data + data,
        lambda: draw.choice(_BOMS) + data,
        lambda: data.decode("utf-8", "replace").encode(draw.choice(_ENCODINGS), "replace"),
        lambda: start + draw.choice(_BROKEN) + end,
        lambda: start + bytes([draw.randrange(256)]) + end[1:],
        lambda: draw.choice(_WHOLE),
        lambda: data + draw.choice(_BEHIND),
        lambda: data.replace(b'"', draw.choice([b"'", b'""', b'\\"']), draw.choice([1, -1])),
        lambda: data.replace(b"\n", draw.choice([b"", b"\r\n", b"\n\n"])),
        lambda: odd_values.nested(draw.choice(odd_values.DEPTHS), b'{"retriever":', b"}", data).data,
    ]
    return draw.choice(kinds)()


def compressed(draw: Random, data: bytes) -> tuple[bytes, bytes]:
    """Return a content-encoding and a body that has it, or is said to have it."""
    packed = gzip.compress(data, 1, mtime=0)
    bomb = (
        gzip.compress(b'{"retriever":"' + b" " * 17_000_000 + b'"}', 9, mtime=0)
        if draw.random() < 0.03
        else packed
    )
    return draw.choice(
        [
            (b"gzip", packed),
            (b"gzip", packed),
            (b"gzip", packed[: draw.randrange(len(packed))]),
            (b"gzip", packed + packed),
            (b"gzip", packed + b"more"),
            (b"gzip", data),
            (b"gzip", bomb),
            (b"gzip", packed[:-8] + b"\x00" * 8),
            (b"gzip", zlib.compress(data)),
            (b"GZIP", packed),
            (b"x-gzip", packed),
            (b"gzip, gzip", gzip.compress(packed, mtime=0)),
            (b"deflate", zlib.compress(data)),
            (b"identity", data),
            (b"br", data),
            (b"", data),
            (b"zstd", packed),
        ]
    )


# -- headers, paths and parameters ---------------------------------------------------------------------------


def _bytes(name: str, *more: bytes) -> tuple[bytes, ...]:
    return (*(text.encode("latin-1") for text in ODD[name]), *more)


_MEDIA = _bytes("media", b"application/vnd.elasticsearch+json; compatible-with=" + b"9" * 30)
_TIMES = _bytes("times", b"9" * 400, b"9" * 5000)
_WORDS = _bytes("words", b"a" * 300, b"a" * 3000)
_KEYS = _bytes("keys", b"Bearer " + b"x" * 5000)
_BAD = _bytes("bad")
"""Values with bytes that no header may hold."""


def header(draw: Random) -> tuple[bytes, bytes, bool]:
    """Return an odd header, and whether HTTP allows its bytes."""
    name, values = draw.choice(
        [
            *[(b"Content-Type", _MEDIA)] * 3,
            *[(b"Accept", _MEDIA)] * 2,
            *[(b"X-Rerank-Timeout-Ms", _TIMES)] * 6,
            *[(b"Authorization", _KEYS)] * 2,
            *[(b"X-Opaque-Id", _WORDS)] * 2,
            *[(b"traceparent", _WORDS)] * 2,
            *(
                (b"tracestate", _WORDS),
                (b"ES-Client-Authentication", _WORDS),
                (b"es-secondary-authorization", _WORDS),
            ),
            *(
                (b"X-Elastic-Client-Meta", _WORDS),
                (b"Cookie", _WORDS),
                (b"Accept-Encoding", _WORDS),
                (b"X-Odd", _WORDS),
            ),
            *(
                (b"Accept-Language", _WORDS),
                (b"Range", (b"bytes=0-1", b"bytes=9-")),
                (b"If-None-Match", _WORDS),
            ),
            *((b"Connection", (b"close", b"upgrade", b"keep-alive, x-opaque-id")), (b"Forwarded", _WORDS)),
            *((b"Upgrade", (b"websocket", b"h2c")), (b"TE", (b"trailers",)), (b"Trailer", (b"X-A",))),
            *(
                (b"Host", (b"", b"a", b"\xff", b"[::1]", b"a:99999", b"[", b"[::1", b"a b")),
                (b"X-Forwarded-Host", _WORDS),
            ),
            *((b"X-HTTP-Method-Override", (b"DELETE",)), (b"Content-Language", _WORDS)),
        ]
    )
    if draw.random() < 0.06:
        return name, draw.choice(_BAD), False
    return name, draw.choice(values), True


_PIECES = (*ODD["pieces"], "a" * 250, "a" * 2000)


_FORMS = (
    "http://evil.example",
    "@evil.example",
    "evil.example:80",
    ":80",
    "//evil.example",
    "http:",
    "?",
    "#",
)
"""What may stand before the path: the forms of a proxy and of CONNECT, and what is none."""


def path(draw: Random, given: str) -> str:
    """Return a path with an odd piece in it."""
    place = draw.randrange(len(given) + 1)
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(
            [given + "/", given + "//", given + "///", *(form + given for form in _FORMS), "*"]
        )
    if kind == 1:
        return given.replace(
            "INDEX", draw.choice([*_PIECES, "INDEX,none", "no-such", "-INDEX", "_all", "x:INDEX", "*:*"])
        )
    if kind == 2:
        return "/" + draw.choice(_PIECES) + given
    return given[:place] + draw.choice(_PIECES) + given[place:]


_VALUES = (*ODD["parameters"], "9" * 5000, "a" * 3000, "*a*b*c*" * 20)


def parameter(draw: Random) -> tuple[str, str]:
    """Return an odd parameter of the URL, as it stands there."""
    return draw.choice(ODD["names"]), draw.choice(_VALUES)


METHODS = (
    *("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"),
    *("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post", "M-X"),
)
"""Methods that a server meets."""
