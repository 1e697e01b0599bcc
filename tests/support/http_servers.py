"""Servers of ``http.server`` that run in a thread of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Quiet:
    """Lets a ``BaseHTTPRequestHandler`` print nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class EveryMethod(Quiet, BaseHTTPRequestHandler):
    """A handler whose ``answer`` gets requests of every method, on connections that are kept."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return the method for requests of every kind, which ``http.server`` asks for by its name."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        """Answer the request ``self.command``."""
        raise NotImplementedError


@contextmanager
def serving_in_thread(server: HTTPServer) -> Iterator[str]:
    """Let a server serve until the block ends; yields its address."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
