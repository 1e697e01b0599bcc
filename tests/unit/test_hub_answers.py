"""A server in the Hub's place whose answers are not the Hub's: told in words, in bounded time and memory."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from http_servers import EveryMethod, serving_in_thread
from hub_stand_in import serving_hub
from huggingface_hub import constants
from huggingface_hub.utils._http import reset_sessions
from ready_made import repository

from es_rerank.errors import ModelFolderError
from es_rerank.models.load import model_folder
from es_rerank.models.ready_made import hub as hub_module
from es_rerank.models.ready_made import hub_files
from es_rerank.models.ready_made.importing import import_model

NAME = "owner/reranker"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_module, "_unreached", {})
    reset_sessions()
    return tmp_path / "cache/es-rerank/imported"


class _Odd(EveryMethod):
    """Answers every request with ``content``, and after it with ``content`` again and again or with nothing,
    until ``ended`` is set. A path that holds ``turned`` is redirected to itself.
    """

    content = b""
    status = 200
    turned = "no path"
    endless = drips = False
    ended: threading.Event

    def answer(self) -> None:
        turned = self.turned in self.path
        self.send_response(302 if turned else self.status)
        if turned:
            self.send_header("Location", self.path)
        if not (self.endless or self.drips):
            self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.close_connection = self.endless or self.drips
        with contextlib.suppress(OSError):
            self.wfile.write(self.content)
            while self.endless and not self.ended.is_set():
                self.wfile.write(self.content)
            if self.drips:
                self.ended.wait(60)


@contextlib.contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Iterator[None]:
    ended = threading.Event()
    handler = type("Handler", (_Odd,), {"ended": ended, **how})
    with serving_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        try:
            yield
        finally:
            ended.set()
            reset_sessions()


NO_HUB: dict[str, Any] = {
    "a list": [],
    "nothing": {},
    "null": None,
    "a login": {"error": "login"},
    "files without names": {"sha": "1", "siblings": [{}]},
    "null as a name": {"sha": "1", "siblings": [{"rfilename": None}]},
    "a number of files": {"sha": "1", "siblings": 5},
    "a path out of the repository": {"sha": "1", "siblings": [{"rfilename": "onnx/../../model.onnx"}]},
    "a commit that is a path": {"sha": "../other", "siblings": []},
}


@pytest.mark.parametrize("what", NO_HUB)
def test_json_that_is_no_list_of_files_is_told(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    with (
        answering(monkeypatch, content=json.dumps(NO_HUB[what]).encode()),
        pytest.raises(ModelFolderError, match=r"127\.0\.0\.1 does not answer as the Hub does; check HF_ENDP"),
    ):
        model_folder(NAME)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"content": b"["}, "does not answer as"),
        ({"content": b"[" * 100_000}, "does not answer as"),
        ({"content": b" " * 1000, "endless": True}, "does not answer as"),
        ({"content": b" ", "drips": True}, "does not answer; check the network"),
        ({"content": b" " * 1000, "endless": True, "status": 503}, "answers 503"),
        ({"turned": "/api/"}, "answers 302"),
    ],
    ids=["half", "deep", "endless", "dripping", "an endless fault", "redirects"],
)
def test_an_answer_without_end_ends(monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], said: str) -> None:
    monkeypatch.setattr(hub_files, "_MOST_BYTES", 1 << 18)
    if "drips" in how:
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    with answering(monkeypatch, **how), pytest.raises(ModelFolderError, match=rf"127\.0\.0\.1 {said}"):
        model_folder(NAME)


def test_a_mirror_that_states_no_commit_is_imported_by_hand_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    """An import that is kept by its commit would be taken for ever, whatever the mirror holds then."""
    listing = hub_files.list_files
    monkeypatch.setattr(hub_module, "list_files", lambda *a: listing(*a)._replace(commit=None))
    with serving_hub(monkeypatch, tmp_path / "hub-cache") as hub:
        hub.repositories[NAME] = repository(tmp_path / "remote/repo")
        with pytest.raises(ModelFolderError, match=rf"no commit.*run: es-rerank import {NAME} OUT"):
            model_folder(NAME)
        assert import_model(NAME, tmp_path / "out").revision is None
    assert not cache.exists()
