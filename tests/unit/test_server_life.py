"""The connections and the end of a sidecar that is a process of its own."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from waiting import until
from waiting_sidecar import waiting_sidecar

GUARD_S = 60.0

_FEW = 4
"""Descriptors beyond connections that a request may take: it asks Elasticsearch, or reads a file."""


def connected(url: str, source: str = "127.0.0.1") -> socket.socket:
    where = urlsplit(url)
    assert where.port is not None
    made = socket.create_connection(("127.0.0.1", where.port), timeout=GUARD_S, source_address=(source, 0))
    made.settimeout(GUARD_S)
    return made


def rest_of(connection: socket.socket) -> bytes:
    """Return what comes until the connection ends; a reset is shown as such."""
    said = b""
    try:
        while data := connection.recv(1 << 16):
            said += data
    except ConnectionResetError:
        return said + b"<reset>"
    return said


def refused(said: bytes, status: int) -> dict[str, Any]:
    """Return the error of an answer in Elasticsearch's format, which says that the connection ends."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-elastic-product: Elasticsearch" in head
    found = json.loads(body)
    assert found["status"] == status
    error: dict[str, Any] = found["error"]
    return error


@pytest.fixture
def later() -> Iterator[Callable[..., Future[Any]]]:
    """Run a call in a thread."""
    with ThreadPoolExecutor(32) as threads:
        yield threads.submit


HASTY = {
    f"ES_RERANK_{name}_TIMEOUT_MS": str(value)
    for name, value in {"HEADER": 1_000, "BODY": 1_500, "WRITE": 1_500, "IDLE": 1_000}.items()
}


def test_slow_mute_and_unread_connections_are_closed(tmp_path: Path) -> None:
    """Among them requests of other callers are answered."""
    post = (
        b"POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"
    )
    with waiting_sidecar(tmp_path, HASTY) as sidecar, ExitStack() as stack:

        def opened(begin: bytes) -> socket.socket:
            one = stack.enter_context(connected(sidecar.url))
            one.sendall(begin)
            return one

        mute = [opened(b"") for _ in range(100)]
        slow = [opened(b"GET /healthz HT") for _ in range(100)]
        late = [opened(post) for _ in range(20)]
        idle = opened(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        unread = stack.enter_context(connected(sidecar.url))
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asking = threading.Thread(target=_ask_on, args=(unread,))
        asking.start()
        assert httpx.get(f"{sidecar.url}/healthz").status_code == 200
        assert [rest_of(one) for one in mute] == [b""] * 100
        for one in slow:
            assert "header_timeout_ms" in refused(rest_of(one), 408)["reason"]
        for one in late:
            head, _, body = rest_of(one).partition(b"\r\n\r\n")
            told = json.loads(body)  # in the format of the path
            assert (head[:12], told["error_type"]) == (b"HTTP/1.1 408", "Validation")
            assert "body_timeout_ms" in told["error"]
        assert rest_of(idle).endswith(b'{"status": "alive"}')
        asking.join(GUARD_S)
        assert not asking.is_alive(), "a caller that does not read its answers is not closed"
        assert httpx.get(f"{sidecar.url}/healthz").status_code == 200


def _ask_on(connection: socket.socket) -> None:
    """Ask for the description of the API, and never read it, until the connection is closed."""
    try:
        while True:
            connection.sendall(b"GET /_rerank/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
    except OSError:
        return


def test_sighup_ends_no_sidecar_without_a_file_of_keys(tmp_path: Path) -> None:
    """Neither while it serves nor while it stops."""
    with waiting_sidecar(tmp_path, {"ES_RERANK_DRAIN_DELAY_MS": "60000"}) as sidecar:
        sidecar.process.send_signal(signal.SIGHUP)
        until(lambda: "there is no file of keys" in sidecar.log)
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.process.send_signal(signal.SIGHUP)
        until(lambda: sidecar.log.count("there is no file of keys") == 2)
        assert httpx.get(f"{sidecar.url}/healthz").status_code == 200


def test_a_sidecar_that_stops_is_first_not_ready_then_refuses_then_ends(
    tmp_path: Path, later: Callable[..., Future[Any]]
) -> None:
    """What runs is answered, and so is a request whose headers are only half there."""
    drain = {"ES_RERANK_DRAIN_DELAY_MS": "2000", "ES_RERANK_DRAIN_MS": "60000"}
    with waiting_sidecar(tmp_path, drain) as sidecar, httpx.Client(base_url=sidecar.url) as kept:
        running = later(sidecar.rerank, "q")
        until(lambda: sidecar.is_asked("q"))
        assert "connection" not in kept.get("/healthz").headers
        with connected(sidecar.url) as silent, connected(sidecar.url) as half:
            half.sendall(b"GET /healthz HTT")
            sidecar.process.send_signal(signal.SIGTERM)
            until(lambda: "stopping" in httpx.get(f"{sidecar.url}/readyz", timeout=GUARD_S).text)
            served = httpx.get(f"{sidecar.url}/info", timeout=GUARD_S)
            assert (served.status_code, served.headers["connection"]) == (200, "close")
            until(lambda: not _can_connect(sidecar.url))
            silent.sendall(b"GET /_inference HTTP/1.1\r\nhost: x\r\n\r\n")
            said = rest_of(silent)
            assert refused(said, 503)["type"] == "unavailable_exception"
            assert b"\r\nretry-after: 5" in said
            sidecar.answers("q")
            assert running.result(GUARD_S).status_code == 200
            refused(rest_of(half), 503)
        assert sidecar.process.wait(GUARD_S) == 0


def test_a_request_that_is_not_answered_when_the_sidecar_ends_gets_503(
    tmp_path: Path, later: Callable[..., Future[Any]]
) -> None:
    with waiting_sidecar(tmp_path, {"ES_RERANK_DRAIN_MS": "10"}) as sidecar:
        running = later(sidecar.rerank, "endless")
        until(lambda: sidecar.is_asked("endless"))
        sidecar.process.send_signal(signal.SIGTERM)
        cut = running.result(GUARD_S)
        assert (cut.status_code, cut.headers["retry-after"]) == (503, "5")
        assert cut.json()["error_type"] == "Unhealthy"
        sidecar.answers("endless")
        assert sidecar.process.wait(GUARD_S) == 0
        assert "Exception" not in sidecar.log


@pytest.mark.long
def test_a_thread_that_cannot_be_ended_does_not_keep_the_process(
    tmp_path: Path, later: Callable[..., Future[Any]]
) -> None:
    with waiting_sidecar(tmp_path, {"ES_RERANK_DRAIN_MS": "10"}) as sidecar:
        running = later(sidecar.rerank, "endless")
        until(lambda: sidecar.is_asked("endless"))
        sidecar.process.send_signal(signal.SIGTERM)
        assert running.result(GUARD_S).status_code == 503
        assert sidecar.process.wait(GUARD_S) == 0


def _can_connect(url: str) -> bool:
    try:
        connected(url).close()
    except ConnectionRefusedError:
        return False
    return True


ENDLESS = {"ES_RERANK_DRAIN_DELAY_MS": "600000", "ES_RERANK_DRAIN_MS": "600000"}


@pytest.mark.long
def test_an_interrupt_skips_the_delay(tmp_path: Path, later: Callable[..., Future[Any]]) -> None:
    with waiting_sidecar(tmp_path, ENDLESS) as sidecar:
        running = later(sidecar.rerank, "q")
        until(lambda: sidecar.is_asked("q"))
        sidecar.process.send_signal(signal.SIGINT)
        until(lambda: not _can_connect(sidecar.url))
        sidecar.answers("q")
        assert running.result(GUARD_S).status_code == 200
        assert sidecar.process.wait(GUARD_S) == 0


@pytest.mark.long
def test_a_second_signal_ends_the_sidecar_at_once(tmp_path: Path, later: Callable[..., Future[Any]]) -> None:
    with waiting_sidecar(tmp_path, ENDLESS) as sidecar:
        running = later(sidecar.rerank, "q")
        until(lambda: sidecar.is_asked("q"))
        sidecar.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in httpx.get(f"{sidecar.url}/readyz", timeout=GUARD_S).text)
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(GUARD_S) == -signal.SIGTERM
        with pytest.raises(httpx.TransportError):
            running.result(GUARD_S)


@pytest.mark.long
def test_an_answer_that_is_cut_when_the_sidecar_stops_is_seen_to_be_cut(tmp_path: Path) -> None:
    """The answer is Elasticsearch's, passed through, and has no end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as elasticsearch,
        waiting_sidecar(
            tmp_path,
            {"ES_RERANK_PASS_THROUGH": "true", "ES_RERANK_DRAIN_MS": "100"},
            url=f"http://127.0.0.1:{elasticsearch.getsockname()[1]}",
        ) as sidecar,
        connected(sidecar.url) as caller,
        connected(sidecar.url) as old,
        ExitStack() as stack,
    ):
        for one, version in ((caller, b"1.1"), (old, b"1.0")):
            one.sendall(b"GET /_cat/indices HTTP/" + version + b"\r\nhost: x\r\n\r\n")
            upstream = stack.enter_context(elasticsearch.accept()[0])
            upstream.recv(1 << 16)
            upstream.sendall(
                b"HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ntransfer-encoding: chunked\r\n\r\n"
                b"4\r\nsome\r\n"
            )
            said = b""
            while b"some" not in said:
                said += one.recv(1 << 16)
        sidecar.process.send_signal(signal.SIGTERM)
        assert [rest_of(caller), rest_of(old)] == [b"<reset>", b"<reset>"]
        assert sidecar.process.wait(GUARD_S) == 0


@pytest.mark.long
def test_hundreds_of_slow_connections_and_few_descriptors(
    tmp_path: Path, later: Callable[..., Future[Any]]
) -> None:
    """Health checks and requests are answered; nothing is logged again and again."""
    with waiting_sidecar(tmp_path, prefix=["prlimit", "--nofile=128:128"]) as sidecar, ExitStack() as stack:
        assert "connections=32" in sidecar.log
        most = set()
        for number in range(400):
            one = stack.enter_context(connected(sidecar.url, f"127.0.1.{number % 100 + 1}"))
            one.sendall(b"POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"[: number % 50])
            if number % 20 == 0:
                assert httpx.get(f"{sidecar.url}/healthz", timeout=GUARD_S).status_code == 200
                assert httpx.get(f"{sidecar.url}/readyz", timeout=GUARD_S).status_code == 503
                most.add(len(list(Path(f"/proc/{sidecar.process.pid}/fd").iterdir())))
        assert max(most) < 128
        sidecar.answers("now")
        assert sidecar.rerank("now").status_code == 200
        running = [later(sidecar.rerank, f"busy{number}") for number in range(24)]
        until(lambda: httpx.get(f"{sidecar.url}/info", timeout=GUARD_S).status_code == 503)
        busy = httpx.get(f"{sidecar.url}/info", timeout=GUARD_S)
        assert (busy.headers["retry-after"], busy.json()["error"]["type"]) == ("1", "unavailable_exception")
        assert httpx.get(f"{sidecar.url}/healthz", timeout=GUARD_S).status_code == 200
        for number in range(24):
            sidecar.answers(f"busy{number}")
        assert {one.result(GUARD_S).status_code for one in running} == {200}
        assert sidecar.log.count("all connections are in use") == 1
        assert "descriptor" not in sidecar.log
        assert "Too many open files" not in sidecar.log


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open enough sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(("files", "callers", "most"), [(160, 600, 48), (512, 1500, 224)])
def test_a_flood_from_one_address_leaves_room_for_health_and_requests(
    tmp_path: Path, files: int, callers: int, most: int
) -> None:
    """There are never more connections than said, nor descriptors, and accepting never pauses."""
    said = [b"", b"GET /he", b"POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"]
    with waiting_sidecar(tmp_path, prefix=["prlimit", f"--nofile={files}:{files}"]) as sidecar:
        opened = Path(f"/proc/{sidecar.process.pid}/fd")
        own, found = len(list(opened.iterdir())), set()

        def health() -> None:
            with httpx.Client(base_url=sidecar.url, timeout=GUARD_S) as client:
                assert client.get("/healthz").status_code == 200
                figures = client.get("/_rerank/status").json()["connections"]
            assert figures["most"] == most
            assert figures["open"] <= most
            found.add(len(list(opened.iterdir())))

        with ExitStack() as stack:
            for number in range(callers):
                one = stack.enter_context(connected(sidecar.url))
                with suppress(ConnectionError):  # it made room already
                    one.sendall(said[number % 3])
                if number % 10 == 0:
                    found.add(len(list(opened.iterdir())))
                if number % 300 == 299:
                    health()
            health()
            sidecar.answers("now")
            assert sidecar.rerank("now").status_code == 200
            health()
        assert max(found) <= own + most + _FEW
        assert "no connection can be accepted" not in sidecar.log


@pytest.mark.long
def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with waiting_sidecar(tmp_path, prefix=["prlimit", f"--nofile=128:{hard}"]) as sidecar:
        limits = Path(f"/proc/{sidecar.process.pid}/limits").read_text()
        found = re.search(r"Max open files\s+(\d+)", limits)
        assert found is not None
        assert int(found[1]) == min(hard, 65_536)
        assert "fewer connections" not in sidecar.log
