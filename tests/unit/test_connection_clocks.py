"""How long a connection may take for headers, body and answer, by a script with a clock that is set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from scripted_connections import (
    LIMITS,
    Script,
    answered,
    begun,
    ending_tasks,
    parsed,
    reads_all,
    refused,
    settle,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from es_rerank.dialects.failures import failure_of
from es_rerank.dialects.paths import spoken_at
from es_rerank.dialects.table import PATHS, dialect_on
from es_rerank.errors import LargeHeadersError, SlowClientError
from es_rerank.sidecar.server.progress import BodyClock, ConnectionLimits, WriteClock


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    async with ending_tasks():
        yield


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


@pytest.mark.parametrize("path", [*PATHS, "/v1/embeddings", "/embed", "//v1/rerank/?x=1"])
@pytest.mark.parametrize("length", [17_000, 100_000])
async def test_large_headers_are_refused_in_the_format_of_the_path(path: str, length: int) -> None:
    spoken = spoken_at(path.partition("?")[0], "POST")
    assert spoken is not None
    for before in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
        script = Script(reads_all)
        connection, transport = script.connection()
        connection.data_received(before)
        await settle()
        transport.written = b""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nlong: {'y' * length}"
        connection.data_received(head.encode())
        await settle()
        script.after(11)
        status, _, body = parsed(transport.written)
        expected = spoken.error("why", failure_of(LargeHeadersError("why")), 431)
        assert (status, json.loads(body).keys()) == (431, expected.keys())


@pytest.mark.parametrize("path", [*PATHS, "/v1/embeddings", "/embed"])
async def test_a_body_that_is_not_http_is_refused_in_the_format_of_the_path(path: str) -> None:
    """Its head comes in the same packet."""
    spoken = spoken_at(path, "POST")
    assert spoken is not None
    for before in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
        script = Script(reads_all)
        connection, transport = script.connection()
        connection.data_received(before)
        await settle()
        transport.written = b""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n"
        connection.data_received(head.encode())
        await settle()
        status, _, body = parsed(transport.written)
        expected = spoken.error("why", failure_of(LargeHeadersError("why")), 400)
        assert (status, json.loads(body).keys()) == (400, expected.keys())


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


@pytest.mark.parametrize("path", [*PATHS, "/rerank/", "/v1/rerank?model=a"])
async def test_a_body_that_stops_is_refused_in_the_format_of_its_path(path: str) -> None:
    script = Script(reads_all)
    connection, transport = script.connection()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
    connection.data_received(head.encode())
    await settle()
    script.after(21)
    status, headers, body = parsed(transport.written)
    spoken = dialect_on(path.partition("?")[0].rstrip("/"))
    assert spoken is not None
    told, expected = json.loads(body), spoken.error("why", failure_of(SlowClientError("why")), 408)
    assert (status, headers["connection"], told.keys()) == (408, "close", expected.keys())
    assert "body_timeout_ms" in body.decode()


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


def reads_after(go_on: asyncio.Event) -> ASGIApp:
    """Return an application that reads the body when it may go on."""

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await reads_all(scope, receive, send)

    return waits


async def test_the_time_in_which_the_sidecar_does_not_read_is_not_the_callers() -> None:
    go_on = asyncio.Event()
    script = Script(reads_after(go_on))
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
    script = Script(reads_after(go_on))
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
