"""A real HTTP server in the place of Elasticsearch, which fails as it is told."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Literal

from http_servers import EveryMethod, serving_in_thread

Behaviour = Mapping[str, Any] | tuple[int, Any] | Literal["mute", "half", "reset", "trickle", "close"]
"""What becomes of a request: a body with status 200; a status and a body; no answer at all; the first half of
an answer and then silence, or a reset connection; a head, then a space now and then; a closed connection."""

LONG = {"hits": {"hits": [{"_id": "a", "_source": {"text": "x" * 200_000}}]}}
"""An answer so long that the sidecar streams it."""


@dataclass
class ScriptedNode:
    """``rule`` takes a method and a path and says what becomes of the request.

    ``asked`` holds the requests. ``left`` is set when a client closes the connection of a request that is not
    answered.
    """

    url: str
    rule: Callable[[str, str], Behaviour]
    asked: list[tuple[str, str]] = field(default_factory=list)
    keeps_connections: bool = True
    waiting: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on, except to those who ask for health and version."""
        self.rule = lambda _, path: healthy(path) or behaviour
        self.waiting.clear()
        self.left.clear()


def healthy(path: str) -> Mapping[str, Any] | None:
    """Return the answer of a healthy node to a question about it; None for another path."""
    if path == "/_cluster/health":
        return {"status": "green", "cluster_name": "scripted"}
    if path == "/":
        return {"version": {"number": "9.5.0"}}
    if path == "/_search":
        return {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": []}}
    return None


@contextmanager
def scripted_node(rule: Callable[[str, str], Behaviour] | None = None) -> Iterator[ScriptedNode]:
    """Run the server until the block ends."""
    server = _Server(rule or (lambda _, path: healthy(path) or {}))
    with serving_in_thread(server):
        try:
            yield server.node
        finally:
            server.node.ended.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, rule: Callable[[str, str], Behaviour]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node = ScriptedNode(f"http://127.0.0.1:{self.server_port}", rule)

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients are cut off on purpose."""


class _Handler(EveryMethod):
    server: _Server

    def answer(self) -> None:
        node, path = self.server.node, self.path.partition("?")[0]
        node.asked.append((self.command, path))
        behaviour = node.rule(self.command, path)
        if behaviour == "mute":
            self._wait()
            return
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if behaviour == "close":
            self.close_connection = True
        elif isinstance(behaviour, str):
            data = json.dumps(LONG).encode()
            self._head(200, len(data))
            self.wfile.write(b" " if behaviour == "trickle" else data[: len(data) // 2])
            if behaviour == "reset":
                linger = struct.pack("ii", 1, 0)  # with no time to linger, closing resets the connection
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True
            else:
                self._wait(b" " if behaviour == "trickle" else b"")
        else:
            status, body = behaviour if isinstance(behaviour, tuple) else (200, behaviour)
            data = json.dumps(body).encode()
            self._head(status, len(data))
            if self.command != "HEAD":
                self.wfile.write(data)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        if not self.server.node.keeps_connections:
            self.send_header("connection", "close")
        self.end_headers()

    def _wait(self, sent_meanwhile: bytes = b"") -> None:
        """Keep silent until the client leaves or the test ends; send something now and then if told so."""
        node = self.server.node
        node.waiting.set()
        self.close_connection = True
        gone = select.poll()
        gone.register(self.connection, select.POLLRDHUP)
        while not node.ended.is_set() and not gone.poll(50):
            if sent_meanwhile:
                try:
                    self.wfile.write(sent_meanwhile)
                except OSError:
                    break
        node.left.set()
