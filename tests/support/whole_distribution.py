"""What Elastic's distribution has and the tests' node lacks, put before the node by a proxy.

The node of the tests may be a distribution without the modules that answer ``GET /`` and
``_delete_by_query``. Stores of frameworks ask for both. All else goes to the node unchanged, and nothing is
put before a node that has these modules.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from http_servers import EveryMethod, serving_in_thread

_ALL = 10_000
_OF_THE_CONNECTION = frozenset({"content-length", "transfer-encoding", "connection"})
_JSON = {"content-type": "application/json"}


@contextmanager
def whole(url: str, version: str) -> Iterator[str]:
    """Yield the address of the node at ``url`` with the modules that stores of frameworks need."""
    if httpx.get(url, timeout=60).status_code == 200:
        yield url
        return
    server = _Server(url, version)
    with serving_in_thread(server) as address:
        yield address


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url: str, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node, self.version = urlsplit(url), version


class _Handler(EveryMethod):
    server: _Server

    def answer(self) -> None:
        body = self._body()
        path = urlsplit(self.path)
        if path.path == "/" and self.command in {"GET", "HEAD"}:
            version = {"number": self.server.version, "build_flavor": "default"}
            self._send_json({"cluster_name": "tests", "version": version, "tagline": "You Know, for Search"})
        elif path.path.endswith("/_delete_by_query"):
            index = path.path.removesuffix("/_delete_by_query")
            self._send_json(self._deleted(index, json.loads(body), parse_qs(path.query)))
        else:
            own = _OF_THE_CONNECTION | {"host"}
            sent = {name: value for name, value in self.headers.items() if name.lower() not in own}
            self._send(*self._asked(self.command, self.path, body, sent))

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _deleted(self, index: str, body: Any, parameters: dict[str, list[str]]) -> Any:
        """Delete what a query finds. It is not as fast as the module, and as exact on an index of tests."""
        found = self._json("POST", f"{index}/_search", {**body, "size": _ALL, "_source": False})
        hits = found["hits"]["hits"]
        lines = [json.dumps({"delete": {"_index": hit["_index"], "_id": hit["_id"]}}) for hit in hits]
        if lines:
            refresh = (parameters.get("refresh") or ["false"])[0] or "true"
            self._asked("POST", f"/_bulk?refresh={refresh}", ("\n".join(lines) + "\n").encode(), _JSON)
        return {"took": 1, "timed_out": False, "total": len(hits), "deleted": len(hits), "failures": []}

    def _json(self, method: str, path: str, body: Any) -> Any:
        return json.loads(self._asked(method, path, json.dumps(body).encode(), _JSON)[2])

    def _asked(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        where = self.server.node
        node = http.client.HTTPConnection(str(where.hostname), where.port or 80, timeout=60)
        try:
            node.request(method, path, body, headers)
            answer = node.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            node.close()

    def _send_json(self, body: Any) -> None:
        as_asked = self.headers.get("accept", "").partition(",")[0]
        kind = as_asked if "json" in as_asked else "application/json"
        headers = [("content-type", kind), ("X-elastic-product", "Elasticsearch")]
        self._send(200, headers, json.dumps(body).encode())

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
