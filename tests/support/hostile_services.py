"""Servers that answer to do harm: without an end, as a bomb of gzip, in thousands of levels.

They count the bytes that they could send, so that a test says how much was read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from http_servers import EveryMethod, serving_in_thread

MOST = 1 << 28
"""What "without an end" sends at most: were it all read, the test would fail and not run for ever."""

UNREAD = 1 << 25
"""More than what the buffers of a connection hold: a server that sent no more was not read to its end."""


def bomb(size: int) -> bytes:
    """Return gzip that is inflated to ``size`` blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + packer.flush()


def rows(count: int, score: Callable[[int], Any] = lambda index: 0.9 - index / 1000) -> bytes:
    """Return an answer in the format ``results``."""
    return json.dumps(
        {"results": [{"index": index, "relevance_score": score(index)} for index in range(count)]}
    ).encode()


@dataclass
class Hostile:
    """What the server answers with next: ``plan`` writes the answer to a request with so many documents.

    ``sent`` are the bytes of the last endless answer, ``asked`` the paths of the requests.
    """

    plan: Callable[[Answering, int], None]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    broken_off: bool = False


class Answering(EveryMethod, BaseHTTPRequestHandler):
    """Answers ``GET`` with 404, everything else as planned."""

    hostile: Hostile
    protocol_version = "HTTP/1.0"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = json.loads(body) if body else {}
        self.hostile.asked.append(f"{self.command} {self.path}")
        self.hostile.plan(self, len(asked.get("documents") or asked.get("texts") or ()))

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def without_end(self, first: bytes, piece: bytes, status: int = 200, **headers: str) -> None:
        """Send ``first``, then ``piece`` again and again until the caller closes the connection."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.hostile.sent, self.hostile.broken_off = 0, False
        try:
            self.wfile.write(first)
            while self.hostile.sent < MOST:
                self.wfile.write(piece)
                self.hostile.sent += len(piece)
        except OSError:
            self.hostile.broken_off = True


class _Awaited(ThreadingHTTPServer):
    """Its end waits for the answers: after it, what was sent is known."""

    daemon_threads = False


@contextmanager
def hostile(plan: Callable[[Answering, int], None]) -> Iterator[Hostile]:
    """Serve as planned until the block ends."""
    state = Hostile(plan)
    handler = type("_Answering", (Answering,), {"hostile": state})
    with serving_in_thread(_Awaited(("127.0.0.1", 0), handler)) as url:
        state.url = url
        yield state
