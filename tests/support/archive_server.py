"""A web server that stands in for Elastic's. It has archives with their SHA-512, and breaks off when told."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from http_servers import Quiet, serving_in_thread


class ArchiveServer:
    """Files by name. ``asked`` are the paths with the ranges that were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Path] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.breaks: list[int] = []
        """After how many bytes each of the next answers breaks off."""
        self.ranges = True
        """Whether the server knows ranges."""
        self.url = ""

    def add(self, name: str, content: bytes | Path) -> None:
        """Serve ``content`` and its SHA-512, as Elastic writes it."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        self.files[name] = content
        self.files[name + ".sha512"] = f"{hashlib.sha512(data).hexdigest()}  {name}\n".encode()


@contextmanager
def archive_server() -> Iterator[ArchiveServer]:
    """Serve on a free port of 127.0.0.1."""
    shared = ArchiveServer()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            wanted = self.headers.get("range")
            shared.asked.append((name, wanted))
            if name not in shared.files:
                self.send_error(404)
                return
            content = shared.files[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and shared.ranges else 0
            if start and start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("content-length", str(len(data) - start))
            self.end_headers()
            breaks = shared.breaks.pop(0) if shared.breaks and not name.endswith(".sha512") else None
            self.wfile.write(data[start:] if breaks is None else data[start : start + breaks])

    with serving_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        shared.url = f"{url}/downloads/elasticsearch"
        yield shared


def packed(files: dict[str, bytes], folder: str = "elasticsearch-x") -> bytes:
    """Return an archive of ``files`` in one folder. What lies in a ``bin`` can be executed."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            entry.mode = 0o750 if "bin/" in name else 0o640
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()
