"""A real HTTP proxy before Elasticsearch that refuses requests, closes connections and loses answers."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from http_servers import EveryMethod, serving_in_thread

Outcome = tuple[int, bytes] | Literal["close", "lose"] | None
"""What becomes of a request: an answer of the proxy itself (status and page), a connection that is closed
before the request is read, one that is closed after Elasticsearch executed it, or None: it is forwarded."""

Rule = Callable[[str, str, int], Outcome]
"""Takes method, path without its query, and length of the body in bytes."""

PAGE = b"<html><body><h1>nginx</h1></body></html>"


@dataclass(slots=True)
class Proxy:
    """``seen`` holds (method, path, bytes, outcome) of all requests, ``headers`` their headers, with names in
    lower case.
    """

    url: str
    rule: Rule
    seen: list[tuple[str, str, int, Outcome]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def outcomes(self, part: str) -> list[Outcome]:
        """Return what became of the requests whose path holds ``part``."""
        return [outcome for _, path, _, outcome in self.seen if part in path]


def too_large(limit: int) -> Rule:
    """Refuse requests of more than ``limit`` bytes as nginx does."""
    return lambda _, __, size: (413, PAGE) if size > limit else None


def closes(limit: int) -> Rule:
    """Close the connection of a request of more than ``limit`` bytes."""
    return lambda _, __, size: "close" if size > limit else None


def first_of_each(outcome: Outcome) -> Rule:
    """Let the first request of every method and path end so."""
    seen: set[tuple[str, str]] = set()

    def rule(method: str, path: str, _: int) -> Outcome:
        known = (method, path) in seen
        seen.add((method, path))
        return None if known else outcome

    return rule


@contextmanager
def proxied(url: str, rule: Rule) -> Iterator[Proxy]:
    """Run a proxy before the Elasticsearch at ``url``."""
    server = _Server(url, rule)
    with serving_in_thread(server):
        yield server.proxy


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url: str, rule: Rule) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node = urlsplit(url)
        self.proxy = Proxy(f"http://127.0.0.1:{self.server_port}", rule)
        self.lock = threading.Lock()


class _Handler(EveryMethod):
    server: _Server

    def answer(self) -> None:
        size, path = int(self.headers.get("content-length") or 0), self.path.partition("?")[0]
        proxy = self.server.proxy
        with self.server.lock:
            outcome = proxy.rule(self.command, path, size)
            proxy.seen.append((self.command, path, size, outcome))
            proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
        if outcome == "close":
            self._close()
            return
        body = self.rfile.read(size)
        if isinstance(outcome, tuple):
            self._send(outcome[0], [("content-type", "text/html")], outcome[1])
            return
        status, headers, content = self._executed(body)
        if outcome == "lose":
            self._close()
        else:
            self._send(status, headers, content)

    def _executed(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        where = self.server.node
        sent = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        node = http.client.HTTPConnection(str(where.hostname), where.port or 80, timeout=60)
        try:
            node.request(self.command, self.path, body, sent)
            answer = node.getresponse()
            headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _OF_THE_CONNECTION]
            return answer.status, headers, answer.read()
        finally:
            node.close()

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


_OF_THE_CONNECTION = frozenset({"content-length", "transfer-encoding", "connection"})
