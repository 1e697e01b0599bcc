"""Connections by a script: what arrives, when, and what is answered. No network, and a clock that is set."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from es_rerank.sidecar.connections import Connections
from es_rerank.sidecar.progress import BodyClock, ConnectionLimits, WriteClock
from es_rerank.sidecar.protocol import Connection

LIMITS = ConnectionLimits(
    connections=40, header_s=10, body_s=20, body_bytes_per_s=1000, write_s=30, idle_s=1_000_000
)


class Transport(asyncio.Transport):
    """What asyncio gives a protocol. ``unread`` bytes of what was written wait for the caller."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 5000), "sockname": ("127.0.0.1", 80)})
        self.written = b""
        self.unread = 0
        self.closed = self.aborted = self.paused = self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Script:
    """Connections of one server, with a clock that stands still until it is moved."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits = LIMITS) -> None:
        self.now = 1000.0
        self.all = Connections(limits, lambda: self.now)
        self._config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off")
        self._config.load()
        self._state = ServerState()

    def connection(self, address: str = "192.0.2.1") -> tuple[Connection, Transport]:
        transport = Transport(address)
        made = Connection(connections=self.all, config=self._config, server_state=self._state, app_state={})
        made.connection_made(transport)
        return made, transport

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.all.look()


def parsed(written: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = written.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def refused(transport: Transport, status: int, kind: str) -> str:
    """Return the reason of an answer in Elasticsearch's format, after which the connection ends."""
    found, headers, body = parsed(transport.written)
    error = json.loads(body)
    assert (found, error["status"], error["error"]["type"]) == (status, status, kind)
    assert headers["connection"] == "close"
    assert headers["x-elastic-product"] == "Elasticsearch"
    assert int(headers["content-length"]) == len(body)
    assert transport.ended or transport.aborted
    return str(error["error"]["reason"])


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the number of bytes in the body."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    await answered(send, str(size).encode())


async def answered(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def settle() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> Any:
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()


# --- headers ------------------------------------------------------------------------------------------------


async def test_a_connection_without_a_byte_is_closed_without_an_answer() -> None:
    script = Script(reads_all)
    _, transport = script.connection()
    script.after(9.9)
    assert not transport.closed
    script.after(0.2)
    assert (transport.closed, transport.written) == (True, b"")


async def test_headers_that_trickle_are_refused_from_the_opening_on() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    for byte in b"GET / HT":
        connection.data_received(bytes([byte]))
        script.after(1.2)
        assert not transport.is_closing()
    script.after(0.5)
    assert "header_timeout_ms" in refused(transport, 408, "timeout_exception")


async def test_headers_of_a_later_request_have_their_time_from_their_first_byte() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    connection.data_received(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
    await settle()
    assert parsed(transport.written)[0] == 200
    script.after(500)  # idle, which is not this clock's affair
    assert not transport.is_closing()
    transport.written = b""
    connection.data_received(b"GET /2 HT")
    script.after(9.9)
    assert not transport.written
    connection.data_received(b"TP/1.1\r\n")
    script.after(0.2)
    refused(transport, 408, "timeout_exception")


async def test_headers_that_came_with_the_request_before_have_their_time_too() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    connection.data_received(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HT")
    await settle()
    transport.written = b""
    script.after(9.9)
    assert not transport.written
    script.after(0.2)
    refused(transport, 408, "timeout_exception")


@pytest.mark.parametrize("pieces", [1, 1000, 16 * 1024, 10**6])
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"y" * 100_000,
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"h%d: 1\r\n" % i for i in range(100)) + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"h%d: 1\r\n" % i for i in range(50_000)) + b"\r\n",
    ],
    ids=["a long header", "a long line", "an endless header", "many headers", "very many headers"],
)
async def test_large_headers_are_refused_however_they_come(head: bytes, pieces: int) -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    step = pieces if pieces > 1 else 7777
    for begin in range(0, len(head), step):
        connection.data_received(head[begin : begin + step])
    await settle()
    refused(transport, 431, "too_long_http_header_exception")


async def test_headers_within_the_limits_are_served() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    lines = b"".join(b"h%d: %s\r\n" % (i, b"v" * 100) for i in range(99))
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")
    await settle()
    assert parsed(transport.written)[0] == 200


async def test_what_is_not_http_is_refused_in_elasticsearchs_format() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    connection.data_received(b"\x16\x03\x01 not HTTP\r\n\r\n")
    refused(transport, 400, "illegal_argument_exception")
    connection.data_received(b"more")  # is dropped
    script.after(3)
    assert transport.aborted


# --- bodies -------------------------------------------------------------------------------------------------


def begun(script: Script, length: int) -> tuple[Connection, Transport]:
    connection, transport = script.connection()
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length)
    return connection, transport


async def test_a_body_that_stops_is_refused() -> None:
    script = Script(reads_all)
    connection, transport = begun(script, 100_000)
    await settle()
    script.after(19.9)
    connection.data_received(b"x" * 50_000)
    await settle()
    script.after(19.9)
    assert not transport.written
    script.after(0.2)
    assert "body_timeout_ms" in refused(transport, 408, "timeout_exception")
    await settle()
    assert script.all.busy == 0


async def test_a_slow_honest_body_of_16_megabytes_is_read() -> None:
    size, step = 16 * 1024 * 1024, 16 * 1024
    script = Script(reads_all, ConnectionLimits(connections=40, idle_s=1_000_000))
    connection, transport = begun(script, size)
    for _ in range(size // step):
        script.after(1.0)
        connection.data_received(b"x" * step)
        await settle()
    status, _, body = parsed(transport.written)
    assert (status, body) == (200, str(size).encode())


async def test_a_body_slower_than_the_least_rate_is_refused() -> None:
    script = Script(reads_all)
    connection, transport = begun(script, 100_000)
    await settle()
    for _ in range(38):
        script.after(1.0)
        assert not transport.written
        connection.data_received(b"x" * 500)  # half the rate: twice the time
        await settle()
    script.after(1.5)
    refused(transport, 408, "timeout_exception")


async def test_the_time_in_which_the_sidecar_does_not_read_is_not_the_callers() -> None:
    go_on = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await reads_all(scope, receive, send)

    script = Script(waits)
    connection, transport = begun(script, 200_000)
    connection.data_received(b"x" * 100_000)
    await settle()
    assert transport.paused
    script.after(10_000)
    assert not transport.written
    go_on.set()
    await settle()
    assert not transport.paused
    script.after(19.9)
    assert not transport.written
    connection.data_received(b"x" * 100_000)
    await settle()
    assert parsed(transport.written)[2] == b"200000"


async def test_a_caller_that_waits_to_be_asked_for_its_body_is_not_late() -> None:
    go_on = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await reads_all(scope, receive, send)

    script = Script(waits)
    connection, transport = script.connection()
    connection.data_received(
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n"
    )
    await settle()
    script.after(10_000)
    assert not transport.written
    go_on.set()
    await settle()
    assert transport.written.startswith(b"HTTP/1.1 100 ")
    script.after(19.9)  # from now on, it is
    assert b"408" not in transport.written
    script.after(20.1)
    assert b"408" in transport.written


async def test_the_rest_of_a_body_that_was_refused_has_an_end() -> None:
    async def too_large(scope: Scope, receive: Receive, send: Send) -> None:
        await answered(send, b"too large")

    script = Script(too_large)
    connection, transport = begun(script, 10**9)
    await settle()
    assert parsed(transport.written)[2] == b"too large"
    for _ in range(19):
        script.after(1.0)
        connection.data_received(b"x" * 50_000)
        assert not transport.closed
    script.after(1.5)
    assert transport.closed


def test_the_clock_of_a_body_counts_bytes() -> None:
    clock = BodyClock(LIMITS, 0.0)
    assert clock.deadline() == 20
    clock.arrived(5000, 10.0)
    assert clock.deadline() == 25  # 20 s and 5 s for 5,000 bytes
    clock.arrived(50_000, 12.0)
    assert clock.deadline() == 32  # 20 s without a byte
    clock.pause(13.0)
    clock.pause(14.0)
    assert clock.deadline() == float("inf")
    clock.go_on(1013.0)
    clock.go_on(1014.0)
    assert clock.deadline() == 1033


# --- answers ------------------------------------------------------------------------------------------------


async def test_a_caller_that_does_not_read_its_answer_is_closed() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    transport.unread = 1000
    await settle()
    for unread in (900, 800, 700):
        script.after(29)
        transport.unread = unread
        script.after(0)
    script.after(29.9)
    assert not transport.aborted
    script.after(0.2)
    assert transport.aborted
    assert script.all.ended["unread"] == 1


async def test_a_caller_that_leaves_its_last_answer_unread_is_closed_too() -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    transport.unread = 1000
    await settle()
    assert transport.closed
    script.after(0)
    script.after(30)
    assert transport.aborted


def test_the_clock_of_an_answer_is_set_back_by_every_byte() -> None:
    clock = WriteClock(LIMITS)
    assert [clock.is_late(waiting, now) for waiting, now in [(0, 0), (9, 1), (9, 30), (9, 31)]] == [
        False,
        False,
        False,
        True,
    ]
    clock.took()
    assert not clock.is_late(9, 32)
    assert not clock.is_late(8, 61.9)
    assert not clock.is_late(8, 62)


async def test_a_large_answer_is_not_given_to_the_transport_at_once() -> None:
    body = bytes(range(256)) * 2000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await answered(send, body)

    script = Script(large)
    connection, transport = script.connection()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    connection.pause_writing()  # the transport has enough
    await settle()
    assert len(transport.written) == 0
    connection.resume_writing()
    connection.pause_writing()
    await settle()
    assert len(transport.written) < 2 * 65536
    connection.resume_writing()
    await settle()
    assert parsed(transport.written)[2] == body


# --- room ---------------------------------------------------------------------------------------------------


async def stays(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers `/work` never."""
    if scope["path"] != "/work":
        await reads_all(scope, receive, send)
        return
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture
def script() -> Script:
    return Script(stays)


def asked(script: Script, path: bytes, address: str = "192.0.2.1", method: bytes = b"GET") -> Transport:
    connection, transport = script.connection(address)
    connection.data_received(method + b" " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    return transport


async def test_the_longest_idle_makes_room_then_the_slowest(script: Script) -> None:
    _, slow = script.connection()
    script.now += 1
    first = asked(script, b"/1")
    await settle()
    script.now += 1
    second = asked(script, b"/2")
    work = asked(script, b"/work")
    await settle()
    for expected in (first, second, slow):
        assert script.all.make_room()
        assert expected.aborted
        lost = next(one for one in script.all.open if one.transport is expected)
        lost.connection_lost(None)
    assert not script.all.make_room()
    assert not work.is_closing()


async def test_who_has_most_connections_makes_room_first(script: Script) -> None:
    script.connection("192.0.2.7")
    script.now += 1
    many = [script.connection(f"2001:db8:1:2::{i}")[1] for i in range(3)]
    assert script.all.make_room()
    assert [transport.aborted for transport in many].count(True) == 1


async def test_a_request_that_is_not_whole_is_told_why_it_makes_room(script: Script) -> None:
    connection, transport = script.connection()
    connection.data_received(b"GET / HT")
    script.all.make_room()
    refused(transport, 503, "unavailable_exception")
    assert parsed(transport.written)[1]["retry-after"] == "1"


async def test_when_all_are_busy_others_are_refused_and_health_is_answered(script: Script) -> None:
    for _ in range(LIMITS.busy):
        asked(script, b"/work")
    await settle()
    assert script.all.figures().busy == LIMITS.busy
    late = asked(script, b"/late")
    probes = [asked(script, path) for path in (b"/healthz", b"/readyz?x=1", b"/metrics", b"/_rerank/status")]
    head = asked(script, b"/late", method=b"HEAD")
    await settle()
    assert "max_connections" in refused(late, 503, "unavailable_exception")
    assert [parsed(probe.written)[0] for probe in probes] == [200] * 4
    status, headers, body = parsed(head.written)
    assert (status, headers["retry-after"], body) == (503, "1", b"")


async def test_a_body_that_is_still_coming_makes_room_for_a_whole_request(script: Script) -> None:
    for _ in range(LIMITS.busy):
        begun(script, 100)
    await settle()
    served = asked(script, b"/now")
    await settle()
    assert parsed(served.written)[0] == 200
    assert script.all.ended["evicted"] == 1


# --- the end ------------------------------------------------------------------------------------------------


async def test_what_is_not_answered_at_the_end_gets_503(script: Script) -> None:
    work, idle = asked(script, b"/work"), asked(script, b"/idle")
    part, half = script.connection()
    part.data_received(b"GET / H")
    _, silent = script.connection()
    await settle()
    idle.written = b""
    script.all.stopping = True
    script.all.end()
    await settle()
    for transport in (work, half):
        assert "stopping" in refused(transport, 503, "unavailable_exception")
    assert [(one.closed, one.written) for one in (idle, silent)] == [(True, b"")] * 2
    assert script.all.busy == 0


async def test_an_answer_that_has_begun_is_cut_at_the_end() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await asyncio.Event().wait()

    script = Script(endless)
    cut = asked(script, b"/")
    await settle()
    script.all.end()
    await settle()
    assert cut.aborted
    assert not cut.written.endswith(b"0\r\n\r\n")
    assert script.all.busy == 0


async def test_new_requests_are_refused_while_it_stops_and_health_is_not(script: Script) -> None:
    connection, transport = script.connection()
    script.all.leaving = script.all.stopping = True
    probe = asked(script, b"/healthz")
    connection.data_received(b"GET /new HTTP/1.1\r\nhost: x\r\n\r\n")
    await settle()
    refused(transport, 503, "unavailable_exception")
    assert parsed(transport.written)[1]["retry-after"] == "5"
    assert parsed(probe.written)[:2] == (200, {"content-length": "1", "connection": "close"})


async def test_a_request_that_ends_its_connection_twice_is_answered_once(script: Script) -> None:
    connection, transport = script.connection()
    connection.data_received(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n")
    await settle()
    script.all.end()
    script.all.end()
    script.all.look()
    connection.data_received(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n")
    await settle()
    assert transport.written.count(b"HTTP/1.1 ") == 1


async def test_a_websocket_is_a_plain_request(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    connection, transport = script.connection()
    connection.data_received(
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    await settle()
    assert parsed(transport.written)[0] == 200
    assert not caplog.records
