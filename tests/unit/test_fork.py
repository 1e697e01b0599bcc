"""A model that has scored works in a forked child with threads, locks and connections of its own."""
# ruff: noqa: SLF001 a lock is held, or a thread named, at the moment of the fork: nothing public does that

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import language_model
import numpy as np
import pytest
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Host, cohere_app, tei_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tiny_models import tiny_bi_encoder, tiny_cross_encoder, tiny_monot5
from tls import behind_tls
from waiting import until

from es_rerank import forks
from es_rerank.engine.pool import Pool
from es_rerank.errors import ModelError
from es_rerank.integrations.openai_chat import ChatModel
from es_rerank.models import LoadedReranker
from es_rerank.models.hosted.background import BackgroundLoop
from es_rerank.models.hosted.cohere import CohereReranker
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.load import load_reranker
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.types import Scores

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    # Python 3.12 and later warn of every fork beside threads; these tests show that ours may be there.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

QUERY, OTHER = "who signed the treaty", "how long does bread rise"
PASSAGES = [f"passage {number} of {'many words ' * (number % 7)}" for number in range(40)]
FEW = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]

LONGEST_S = 30.0
"""A child that has not answered by then hangs."""


def in_child(work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` returns in a forked child; one that hangs is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            # Ends also a child whose parent was killed, whatever handles the signal in the tests.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(round(LONGEST_S) + 5)
            os.close(reader)
            answer = b"=" + work()
        except BaseException:  # noqa: BLE001 told to the parent
            answer = b"!" + traceback.format_exc().encode()
        with suppress(BaseException):
            view = memoryview(answer)
            while view:
                view = view[os.write(writer, view) :]
        os._exit(0)
    os.close(writer)
    answer = b""
    try:
        end = time.monotonic() + LONGEST_S
        while True:
            ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the child hangs"
            if not (some := os.read(reader, 1 << 16)):
                break
            answer += some
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert answer[:1] == b"=", answer[1:].decode()
    return answer[1:]


def bits(scores: Scores) -> bytes:
    assert scores.done.all()
    return scores.values.tobytes()


def score(model: LoadedReranker, query: str = QUERY, passages: list[str] = PASSAGES) -> bytes:
    return bits(model.score(query, passages))


def ascore(model: LoadedReranker, query: str = QUERY, passages: list[str] = PASSAGES) -> bytes:
    return bits(asyncio.run(model.ascore(query, passages)))


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[list[object]]:
    """Work in a thread, which the end of the block waits for; the list receives the result or the error."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(LONGEST_S)
        assert not thread.is_alive()


@contextmanager
def held(lock: AbstractContextManager[object]) -> Iterator[None]:
    """Let another thread hold a lock."""
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            let_go.wait(LONGEST_S)

    with in_thread(hold):
        assert taken.wait(LONGEST_S)
        try:
            yield
        finally:
            let_go.set()


# --- models of this machine -------------------------------------------------------------------------------


def _cross_encoder(folder: Path) -> LoadedReranker:
    return load_reranker(tiny_cross_encoder(folder))


def _monot5(folder: Path) -> LoadedReranker:
    return load_reranker(tiny_monot5(folder))


def two_in_a_row(folder: Path) -> str:
    """Write two models, and return the name of their cascade."""
    return f"cascade:0.3+{tiny_cross_encoder(folder / 'first', seed=1)}+{tiny_cross_encoder(folder / 'then')}"


def _cascade(folder: Path) -> LoadedReranker:
    return load_reranker(two_in_a_row(folder))


def _cached(folder: Path) -> LoadedReranker:
    return load_reranker(two_in_a_row(folder), cache=ScoreCache())


LOADS = [_cross_encoder, _monot5, _cascade, _cached]


@pytest.fixture(params=LOADS, ids=lambda load: load.__name__.removeprefix("_"))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoadedReranker]:
    """A model that has scored once."""
    with request.param(tmp_path / "model") as loaded:
        loaded.score(QUERY, PASSAGES)
        yield loaded


@pytest.fixture
def cross_encoder(tmp_path: Path) -> Iterator[CrossEncoder]:
    """A cross-encoder that has scored once."""
    with CrossEncoder(tiny_cross_encoder(tmp_path / "model"), threads=2) as loaded:
        loaded.score(QUERY, PASSAGES)
        yield loaded


def test_a_child_scores_as_its_parent(model: LoadedReranker) -> None:
    # The other query is in no cache.
    found = in_child(lambda: score(model) + score(model, OTHER))
    assert found == score(model) + score(model, OTHER)


def test_a_child_scores_in_an_event_loop_of_its_own(model: LoadedReranker) -> None:
    found = in_child(lambda: ascore(model) + ascore(model, OTHER))
    assert found == score(model) + score(model, OTHER)


def test_a_child_embeds_as_its_parent(tmp_path: Path) -> None:
    with BiEncoder(tiny_bi_encoder(tmp_path / "model")) as embedder:
        embedder.embed(["warm"])
        found = in_child(lambda: embedder.embed(PASSAGES).tobytes())
        assert found == embedder.embed(PASSAGES).tobytes()


def test_a_grandchild_scores_as_well(model: LoadedReranker) -> None:
    found = in_child(lambda: score(model) + in_child(lambda: score(model, OTHER) + ascore(model)))
    assert found == score(model) + score(model, OTHER) + score(model)


def test_closing_in_a_child_leaves_the_parent_its_model(model: LoadedReranker) -> None:
    def closed() -> bytes:
        model.close()
        with pytest.raises(ModelError, match="closed"):
            model.score(OTHER, PASSAGES)
        return b"closed"

    assert in_child(closed) == b"closed"
    with model:
        assert score(model, OTHER) == in_child(lambda: score(model, OTHER))


def test_what_was_closed_is_closed_in_a_child(cross_encoder: CrossEncoder) -> None:
    cross_encoder.close()

    def refused() -> bytes:
        with pytest.raises(ModelError, match="closed"):
            cross_encoder.score(QUERY, PASSAGES)
        cross_encoder.close()
        return b"refused"

    with held(cross_encoder._pool._lock):
        assert in_child(refused) == b"refused"


def test_children_score_while_the_parent_does(cross_encoder: CrossEncoder) -> None:
    expected = score(cross_encoder)
    enough = threading.Event()

    def busy() -> set[bytes]:
        found = set()
        while not enough.is_set():
            found.add(score(cross_encoder))
        return found

    with in_thread(busy) as first, in_thread(busy) as second:
        try:
            assert {in_child(lambda: score(cross_encoder)) for _ in range(30)} == {expected}
        finally:
            enough.set()
    assert first == second == [{expected}]


def test_a_fork_waits_for_runs_and_runs_wait_for_the_fork() -> None:
    """A run that is cut in two leaves locks of ONNX Runtime's behind that nobody in the child can open."""
    ran: list[int] = []
    inside, leave = threading.Event(), threading.Event()
    forking = forks._GATE._forking

    def run(item: int) -> int:
        inside.set()
        assert leave.wait(LONGEST_S)
        ran.append(item)
        return item

    pool = Pool(1)
    try:
        with in_thread(lambda: pool.run(run, [1, 2], length=lambda _: 1)) as results:
            assert inside.wait(LONGEST_S)
            with in_thread(lambda: in_child(lambda: bytes(ran))) as at_the_fork:
                until(lambda: forking)
                leave.set()
    finally:
        pool.close()
    assert at_the_fork == [bytes([1])]
    assert results == [[1, 2]]


def test_locks_that_another_thread_holds_are_open_in_a_child(tmp_path: Path) -> None:
    cache, pool = ScoreCache(), Pool()
    model = load_reranker(two_in_a_row(tmp_path / "model"), pool=pool, cache=cache)
    try:
        score(model)
        with held(pool._lock), held(cache._entries._lock):
            found = in_child(lambda: score(model, OTHER) + ascore(model, OTHER))
        assert found == score(model, OTHER) * 2
    finally:
        pool.close()


async def test_a_child_of_a_running_event_loop_scores(cross_encoder: CrossEncoder) -> None:
    under_way = asyncio.create_task(cross_encoder.ascore(OTHER, PASSAGES))
    await asyncio.sleep(0)
    found = in_child(lambda: ascore(cross_encoder) + ascore(cross_encoder, OTHER))
    assert found == score(cross_encoder) + bits(await under_way)


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_tokenizers_that_were_told_to_use_threads_do_not_wait_for_them(
    cross_encoder: CrossEncoder, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", wanted)
    expected = score(cross_encoder)
    assert in_child(lambda: score(cross_encoder)) == expected
    assert os.environ["TOKENIZERS_PARALLELISM"] == wanted


def test_a_model_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    def made() -> list[weakref.ref[Any]]:
        with load_reranker(two_in_a_row(tmp_path / "model"), cache=ScoreCache()) as model:
            score(model)
        with RemoteReranker("http://127.0.0.1:9") as remote, ChatModel("http://127.0.0.1:9/v1") as chat:
            return [weakref.ref(model), weakref.ref(remote), weakref.ref(chat)]

    gc.collect()
    before = set(forks._RENEWALS)
    found = made()
    gc.collect()
    assert [each() for each in found] == [None] * 3
    assert set(forks._RENEWALS) == before


# --- what forks for a living ------------------------------------------------------------------------------

PRELOADED: dict[str, LoadedReranker] = {}
"""Models that a module holds, as a web application that is loaded before its workers are forked."""


def scored_by_worker(query: str) -> bytes:
    return score(PRELOADED["model"], query)


def ascored_by_worker(query: str) -> bytes:
    return ascore(PRELOADED["model"], query)


@pytest.fixture
def preloaded(model: LoadedReranker) -> Iterator[LoadedReranker]:
    PRELOADED["model"] = model
    yield model
    PRELOADED.clear()


def test_workers_of_a_multiprocessing_pool_score(preloaded: LoadedReranker) -> None:
    # Leaving the block kills the workers, also those that hang.
    with multiprocessing.get_context("fork").Pool(2) as workers:
        found = workers.map_async(scored_by_worker, [QUERY, OTHER]).get(LONGEST_S)
        found += workers.map_async(ascored_by_worker, [QUERY, OTHER]).get(LONGEST_S)
    assert found == [score(preloaded), score(preloaded, OTHER)] * 2


def test_workers_of_a_process_pool_executor_score(preloaded: LoadedReranker) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as workers:
        try:
            assert workers.submit(scored_by_worker, OTHER).result(LONGEST_S) == score(preloaded, OTHER)
            assert workers.submit(ascored_by_worker, OTHER).result(LONGEST_S) == score(preloaded, OTHER)
        finally:
            for worker in multiprocessing.active_children():
                worker.kill()


SERVER = """
import os, socket, sys
from pydantic import SecretStr
from es_rerank import load_reranker
from es_rerank.models.access import Access

model = load_reranker(sys.argv[1], access=Access(remote_api_key=SecretStr("s3cret-key")))
print(model.score("warm", ["up"]).values[0], flush=True)
listening = socket.create_server(("127.0.0.1", 0))
workers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        connection, _ = listening.accept()
        with connection:
            query = connection.recv(1000).decode()
            connection.sendall(model.score(query, ["one", "two words"]).values.tobytes())
        model.close()
        sys.exit(0)
    workers.append(pid)
for query in ("who", "what"):
    with socket.create_connection(listening.getsockname()) as client:
        client.sendall(query.encode())
        answer = client.recv(1000)
    assert answer == model.score(query, ["one", "two words"]).values.tobytes()
for pid in workers:
    assert os.waitpid(pid, 0)[1] == 0
assert model.score("warm", ["up"]).done.all()
model.close()
print("served")
"""


@pytest.mark.parametrize("kind", ["cross-encoder", "remote"])
def test_workers_of_a_preloaded_server_score_and_end_quietly(tmp_path: Path, kind: str, url: str) -> None:
    """As gunicorn does with ``--preload``: each worker is a fork that ends as a process of Python's does."""
    model = f"remote:{url}" if kind == "remote" else str(tiny_cross_encoder(tmp_path / "model"))
    ignored = "ignore:This process:DeprecationWarning"
    command = [sys.executable, "-W", ignored, "-c", SERVER, model]
    settings = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=settings,
        start_new_session=True,
    ) as server:
        try:
            said, complaints = server.communicate(timeout=LONGEST_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
    assert complaints == ""
    assert server.returncode == 0
    assert said.endswith("served\n")


# --- models over the network ------------------------------------------------------------------------------


@pytest.fixture
def service(host: Host) -> FakeService:
    service = FakeService()
    host.app = tei_app(service, batch=32)
    return service


@pytest.fixture
def remote(url: str) -> Iterator[RemoteReranker]:
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
        yield patient(loaded)


def patient(remote: RemoteReranker) -> RemoteReranker:
    """Keep idle connections. httpx closes them after 5 seconds, which children take on a busy machine."""
    remote._http._transport._pool._keepalive_expiry = None  # type: ignore[attr-defined]
    return remote


def both(model: LoadedReranker) -> bytes:
    """Return the scores of two calls, of which the second uses the connection of the first."""
    return score(model, passages=FEW) + ascore(model, passages=FEW)


def test_a_child_of_a_remote_model_opens_its_own_connection(
    remote: RemoteReranker, service: FakeService
) -> None:
    expected = both(remote)
    (mine,) = service.connections
    assert in_child(lambda: both(remote)) == expected
    assert len(service.connections) == 2
    assert in_child(lambda: both(remote) + in_child(lambda: both(remote))) == expected * 2
    assert len(service.connections) == 4
    # The parent's is as it was: nothing was sent over it, and nothing closed it.
    service.connections.clear()
    assert both(remote) == expected
    assert service.connections == {mine}


def test_a_remote_model_that_has_not_scored_works_in_a_child(remote: RemoteReranker) -> None:
    assert in_child(lambda: both(remote)) == both(remote)


def test_closing_a_remote_model_in_a_child_leaves_the_parent_its_connection(
    remote: RemoteReranker, service: FakeService
) -> None:
    def closed(use: Callable[[], bytes]) -> bytes:
        found = use()
        remote.close()
        with pytest.raises(ModelError, match="closed"):
            score(remote, passages=FEW)
        gc.collect()
        return found

    expected = both(remote)
    (mine,) = service.connections
    assert in_child(lambda: closed(bytes)) == b""
    assert in_child(lambda: closed(lambda: remote._loop.run(_at_once))) == b"done"
    assert in_child(lambda: closed(lambda: both(remote))) == expected
    service.connections.clear()
    assert both(remote) == expected
    assert service.connections == {mine}


def test_a_remote_model_that_was_closed_is_closed_in_a_child(remote: RemoteReranker) -> None:
    both(remote)
    remote.close()

    def refused() -> bytes:
        with pytest.raises(ModelError, match="closed"):
            score(remote, passages=FEW)
        return b"refused"

    assert in_child(refused) == b"refused"


def test_a_child_says_nothing_over_the_parents_tls(
    url: str, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any byte of the child's would break the sequence of records, and with it the parent's connection."""
    with behind_tls(url, tmp_path) as (address, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with RemoteReranker(address, api_key=SecretStr(KEY)) as remote:
            expected = both(patient(remote))

            def ended() -> bytes:
                found = both(remote)
                remote.close()
                gc.collect()
                return found

            (mine,) = service.connections
            assert in_child(ended) == expected
            assert len(service.connections) == 2
            service.connections.clear()
            assert both(remote) == expected
            assert service.connections == {mine}


def test_a_fork_while_the_parent_asks_and_locks_are_held(host: Host, service: FakeService) -> None:
    """The parent's first request waits for an answer, and holds what a second call would wait for."""
    asked, go = threading.Event(), threading.Event()
    app = tei_app(service, batch=32)

    async def info(request: Request) -> Response:
        if not asked.is_set():
            asked.set()
            await asyncio.to_thread(go.wait, LONGEST_S)
        return JSONResponse({"max_client_batch_size": 32})

    host.app = Starlette(routes=[Route("/info", info), *app.routes])
    with (
        RemoteReranker(host.url, api_key=SecretStr(KEY)) as remote,
        in_thread(lambda: score(remote, passages=FEW)) as mine,
    ):
        try:
            assert asked.wait(LONGEST_S)
            with held(remote._loop._lock):
                found = in_child(lambda: both(remote))
        finally:
            go.set()
    assert found == mine[0] * 2  # type: ignore[operator] # bytes


def test_a_child_of_a_hosted_model_opens_its_own_connection(host: Host, service: FakeService) -> None:
    host.app = cohere_app(service)
    with CohereReranker("rerank-v3.5", api_key=SecretStr(KEY), base_url=host.url) as model:
        expected = both(model)
        (mine,) = service.connections
        assert in_child(lambda: both(model)) == expected
        assert len(service.connections) == 2
        service.connections.clear()
        assert both(model) == expected
        assert service.connections == {mine}


async def _at_once() -> bytes:
    return b"done"


def test_a_background_loop_runs_in_a_child() -> None:
    loop = BackgroundLoop("test")
    closed: list[str] = []

    async def last() -> None:
        closed.append("closed")

    def work() -> bytes:
        return loop.run(_at_once) + asyncio.run(loop.arun(_at_once))

    def ended() -> bytes:
        loop.close(last)
        unused = len(closed)
        with pytest.raises(ModelError, match="closed"):
            loop.run(_at_once)
        return bytes([unused])

    assert work() == b"donedone"
    assert in_child(work) == b"donedone"
    assert in_child(ended) == b"\x00"  # of the parent's nothing was closed
    assert in_child(lambda: work() + ended()) == b"donedone\x01"
    assert work() == b"donedone"
    loop.close(last)
    assert closed == ["closed"]


def test_a_child_of_a_language_model_opens_its_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[Any] = []
    begin = language_model._Handler.setup

    def setup(self: Any) -> None:
        connections.append(self.client_address)
        begin(self)

    monkeypatch.setattr(language_model._Handler, "setup", setup)
    with language_model.language_model() as said, ChatModel(said.url) as chat:
        # Asking for the models, not for an answer, whose stream leaves no connection behind.
        assert chat._names() == ["parrot"]
        assert len(connections) == 1
        assert in_child(lambda: "".join(chat._names() + chat._names()).encode()) == b"parrot" * 2
        assert len(connections) == 2
        assert chat._names() == ["parrot"]
        assert len(connections) == 2


def test_scores_differ_between_passages(cross_encoder: CrossEncoder) -> None:
    """Otherwise equal bits would say little."""
    assert len(np.unique(cross_encoder.score(QUERY, PASSAGES).values)) > 10
