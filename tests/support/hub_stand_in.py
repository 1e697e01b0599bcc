"""A stand-in for the Hugging Face Hub: the requests that huggingface_hub sends to list and fetch files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from http_servers import EveryMethod, serving_in_thread
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http


@dataclass
class Hub:
    """Repositories by their ids, each a folder.

    ``faults``: the status with which a request is answered whose path ends so. ``halved``: files of which
    only the first half arrives. ``asked``: method and path of each request.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    halved: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def commit(self, repository: str) -> str:
        """Return the commit of a repository: a hash of its files."""
        digest = hashlib.sha1(repository.encode())
        for name in self.files(repository):
            digest.update(name.encode() + (self.repositories[repository] / name).read_bytes())
        return digest.hexdigest()

    def files(self, repository: str) -> list[str]:
        """Return the names of a repository's files."""
        folder = self.repositories[repository]
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def fetched(self) -> set[str]:
        """Return the files whose content was asked for."""
        return {
            path.partition("/resolve/")[2].partition("/")[2]
            for method, path in self.asked
            if method == "GET" and "/resolve/" in path
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process asks here."""
        return {"HF_ENDPOINT": self.url}


class _Handler(EveryMethod):
    """Answers as the Hub does."""

    hub: Hub

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        fault = next((fault for end, fault in self.hub.faults.items() if path.endswith(end)), None)
        if fault is not None:
            self._send(fault[0], b"", {"X-Error-Code": fault[1]} if fault[1] else {})
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/").partition("/revision/")[0])
        else:
            repository, _, rest = path.removeprefix("/").partition("/resolve/")
            self._file(repository, rest.partition("/")[2])

    def _list(self, repository: str) -> None:
        if repository not in self.hub.repositories:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        files = [{"rfilename": name} for name in self.hub.files(repository)]
        body = {"id": repository, "sha": self.hub.commit(repository), "siblings": files}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, name: str) -> None:
        if repository not in self.hub.repositories:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        commit = self.hub.commit(repository)
        if name not in self.hub.files(repository):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = (self.hub.repositories[repository] / name).read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {"X-Repo-Commit": commit, "ETag": etag}, half=name in self.hub.halved)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, half: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True


@contextmanager
def serving_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """Let huggingface_hub in this process ask a stand-in, with an empty ``cache`` of its own."""
    hub = Hub()
    with serving_in_thread(
        ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    ) as hub.url:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        # What fails is asked for again, but not seconds later.
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        _http.reset_sessions()
        try:
            yield hub
        finally:
            _http.reset_sessions()
