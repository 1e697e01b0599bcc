"""A stand-in for a rerank server, in a process of its own: it counts characters, refuses, fails or dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from es_rerank.research.bench.servers import TEI_DIALECT, Server, free_port

FAKE = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
behaviour, port = sys.argv[1], int(sys.argv[sys.argv.index("--port") + 1])
if behaviour == "ends":
    sys.exit("no such model\\nRuntimeError: the weights are gone")
class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["documents"] if "documents" in body else body["texts"]
        scores = [len(body["query"]) - len(text) / 10 + (behaviour == "is wrong") for text in texts]
        order = sorted(range(len(texts)), key=lambda place: -scores[place])
        name, started = "relevance_score" if "documents" in body else "score", body["query"] == "ready"
        found = [{"index": place, name: scores[place]} for place in order]
        status = 200 if started else {"refuses": 429, "is late": 504, "fails": 500}.get(behaviour, 200)
        if behaviour == "needs a deadline" and not started and self.headers["X-Rerank-Timeout-Ms"] != "1500":
            status = 400
        sent = json.dumps({"results": found} if "documents" in body else found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)
        if behaviour == "dies" and not started:
            os._exit(3)
ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""

Start = Callable[[str], Server]
"""Starts a stand-in by its behaviour."""


@contextmanager
def stand_ins(folder: Path) -> Iterator[Start]:
    """Yield what starts stand-ins, and close these when the block ends. Their files lie in ``folder``."""
    with ExitStack() as started:

        def start(behaviour: str) -> Server:
            server = _stand_in(behaviour, folder)
            started.callback(server.close)
            return server

        yield start


def _stand_in(behaviour: str, folder: Path) -> Server:
    path, port = folder / "fake.py", free_port()
    path.write_text(FAKE, encoding="utf-8")
    command = [sys.executable, str(path), behaviour, "--port", str(port)]
    log = folder / f"stand-in-{port}.log"
    return Server(command, port, TEI_DIALECT, log, env=dict(os.environ), timeout_s=60)
