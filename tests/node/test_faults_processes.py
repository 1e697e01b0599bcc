"""A sidecar that is ended, killed, or left without its models or its remote reranker: real processes."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from beside import THERE
from commands import run
from fault_table import fault
from scripted_node import ScriptedNode, scripted_node
from server import reserved_port, sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

pytestmark = pytest.mark.long

PATIENCE_S = 60.0
TEXTS = {"query": "q", "texts": ["a b", "b c"]}
AT_ONCE = {"ES_RERANK_DRAIN_DELAY_MS": "0"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with scripted_node() as node:
        yield node


class Waiting:
    """A search that waits in a thread for an Elasticsearch that does not answer."""

    def __init__(self, url: str, node: ScriptedNode, timeout_ms: int) -> None:
        self.answer: httpx.Response | None = None
        self._arguments: dict[str, Any] = {"json": THERE, "headers": {"X-Rerank-Timeout-Ms": str(timeout_ms)}}
        self._url = url
        node.behave("mute")
        self._thread = threading.Thread(target=self._search)
        self._thread.start()
        until(node.waiting.is_set)

    def _search(self) -> None:
        self.answer = httpx.post(f"{self._url}/a/_search", timeout=PATIENCE_S, **self._arguments)

    def ended(self) -> httpx.Response:
        self._thread.join(PATIENCE_S)
        assert self.answer is not None
        return self.answer


@fault(
    "SIGTERM while requests run",
    caller="its answer, if it comes within the drain time; else 503",
    log="the requests",
    after="the process ends with code 0; Elasticsearch's connections are closed",
)
@pytest.mark.parametrize(("timeout_ms", "status"), [(1_000, 504), (200_000, 503)])
def test_sigterm_answers_those_who_wait(
    node: ScriptedNode, models: tuple[Path, Path], tmp_path: Path, timeout_ms: int, status: int
) -> None:
    drain = AT_ONCE | ({} if status == 504 else {"ES_RERANK_DRAIN_MS": "300"})
    with sidecar(node.url, *models, tmp_path / "log", environment=drain) as (url, process):
        waiting = Waiting(url, node, timeout_ms)
        process.send_signal(signal.SIGTERM)
        answer = waiting.ended()
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["type"]
        assert process.wait(PATIENCE_S) == 0
    until(node.left.is_set)
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@fault(
    "`kill -9` of the sidecar, and a start at the same port",
    caller="a closed connection; then its answers again",
    log="the start",
    after="nothing is left behind: no lock, no file, no process",
)
def test_a_killed_sidecar_starts_again_at_its_port(
    node: ScriptedNode, models: tuple[Path, Path], tmp_path: Path
) -> None:
    with reserved_port() as port:
        for attempt in range(2):
            with (
                sidecar(node.url, *models, tmp_path / f"log{attempt}", port) as (url, process),
                socket.create_connection(("127.0.0.1", port)) as held,
            ):
                held.sendall(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
                assert httpx.post(f"{url}/rerank", json=TEXTS, timeout=PATIENCE_S).status_code == 200
                process.kill()
                assert process.wait(PATIENCE_S) == -signal.SIGKILL
                assert held.recv(100) == b""


@fault(
    "the folder of a model is removed or replaced while it is served",
    caller="the same scores as before",
    log="the requests",
    after="the next start says what is wrong with the folder, with exit code 4",
)
@pytest.mark.parametrize("how", ["removed", "emptied", "replaced"])
def test_a_model_is_served_from_memory(node: ScriptedNode, tmp_path: Path, how: str) -> None:
    models = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")

    def scores(url: str, count: int) -> Any:
        texts = {"query": "q", "texts": [f"{how} {number}" for number in range(count)]}
        return httpx.post(f"{url}/rerank", json=texts, timeout=PATIENCE_S).json()

    with sidecar(node.url, *models, tmp_path / "log", environment={"ES_RERANK_SCORE_CACHE": "0"}) as (url, _):
        before = scores(url, 2)
        for file in sorted(models[0].rglob("*")):
            if how == "emptied" and file.is_file():
                file.write_bytes(b"")
        if how != "emptied":
            shutil.rmtree(models[0])
        if how == "replaced":
            tiny_bi_encoder(models[0])
        assert scores(url, 2) == before
        assert len(scores(url, 40)) == 40  # other runs of the graph than before
        assert httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200
    named = ["--reranker", str(models[0]), "--embedder", str(models[1])]
    done = run("serve", "--port", "0", "--elasticsearch-url", node.url, *named)
    assert done.returncode == 4, done.stderr
    assert str(models[0]) in done.stderr
    assert "Traceback" not in done.stderr


@fault(
    "a `remote:` reranker does not answer, or answers too slowly",
    caller="504 `deadline_exception` at the deadline; with `allow_rerank_failures` the first stage's order",
    log="the request",
    after="the connection to it is closed; other models are not held up",
)
@pytest.mark.parametrize("behaviour", ["mute", "trickle"])
def test_a_remote_reranker_that_is_late_costs_the_deadline(
    node: ScriptedNode, models: tuple[Path, Path], tmp_path: Path, behaviour: Any
) -> None:
    with scripted_node(lambda *_: behaviour) as remote:
        more = ["--reranker", f"far=remote:{remote.url}"]
        with sidecar(node.url, *models, tmp_path / "log", extra=more) as (url, _):

            def answer(name: str, timeout_ms: int) -> httpx.Response:
                return httpx.post(
                    f"{url}/_inference/rerank/{name}",
                    json={"query": "q", "input": ["a", "b"]},
                    headers={"X-Rerank-Timeout-Ms": str(timeout_ms)},
                    timeout=PATIENCE_S,
                )

            while not remote.waiting.is_set():  # on a busy machine a deadline may come before the request
                late = answer("far", 700)
                assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline_exception")
            assert answer("tiny-cross-encoder", 60_000).status_code == 200
            until(remote.left.is_set)
        assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@fault(
    "a caller sends nothing, or its request does not come to an end",
    caller="408 `timeout_exception`, or a closed connection, after 20 seconds",
    log="the requests of others",
    after="others are served meanwhile; the connection is closed",
)
def test_mute_and_slow_callers_are_cut_off_by_default(
    node: ScriptedNode, models: tuple[Path, Path], tmp_path: Path
) -> None:
    begun = [
        b"",
        b"POST /rer",
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /a/_search HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ]
    with sidecar(node.url, *models, tmp_path / "log") as (url, _):
        where = httpx.URL(url)
        callers = [socket.create_connection((where.host, where.port or 80)) for _ in begun]
        for caller, beginning in zip(callers, begun, strict=True):
            caller.settimeout(2 * PATIENCE_S)
            caller.sendall(beginning)
        assert httpx.post(f"{url}/rerank", json=TEXTS, timeout=PATIENCE_S).status_code == 200
        for caller in callers:
            said = b""
            while part := caller.recv(65536):
                said += part
            caller.close()
            assert said == b"" or said.split(b" ", 2)[1] == b"408", said
        assert httpx.post(f"{url}/rerank", json=TEXTS, timeout=PATIENCE_S).status_code == 200
