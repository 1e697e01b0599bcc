"""Which connections make room for others, and how they end when the sidecar stops, by a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from scripted_connections import (
    LIMITS,
    Script,
    asked,
    begun,
    ending_tasks,
    gone,
    parsed,
    reads_all,
    refused,
    settle,
)
from starlette.types import Receive, Scope, Send


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    async with ending_tasks():
        yield


# --- room ---------------------------------------------------------------------------------------------------


async def stays(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers `/work` never."""
    if scope["path"] != "/work":
        await reads_all(scope, receive, send)
        return
    await gone(receive)


@pytest.fixture
def script() -> Script:
    return Script(stays)


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


async def test_a_connection_makes_room_once(script: Script) -> None:
    """asyncio tells of an aborted connection in the next turn only; until then it is open still."""
    _, silent = script.connection()
    part, half = script.connection()
    part.data_received(b"GET / HT")
    _, body = begun(script, 100)
    idle = asked(script, b"/idle")
    await settle()
    for number in range(1, 5):
        assert script.all.make_room()
        assert [one.aborted for one in (silent, half, body, idle)].count(True) == number
        assert script.all.ended == {"evicted": number}
    assert not script.all.make_room()
    assert script.all.ended == {"evicted": 4}
    assert len(script.all.open) == 4


async def test_work_ends_a_body_once(script: Script) -> None:
    for _ in range(LIMITS.busy):
        begun(script, 100)
    await settle()
    requests = [asked(script, b"/now") for _ in range(3)]
    await settle()
    assert [parsed(one.written)[0] for one in requests] == [200] * 3
    ended = [one for one in script.all.open if one.transport.is_closing()]
    assert script.all.ended == {"evicted": len(ended)}


async def test_the_end_of_a_connection_is_counted_once(script: Script) -> None:
    """By its first reason, also when it makes room while its caller may still read why it ends."""
    _, silent = script.connection()
    part, half = script.connection()
    part.data_received(b"GET / HT")
    script.after(LIMITS.header_s + 1)
    assert silent.closed
    refused(half, 408, "timeout_exception")
    while script.all.make_room():
        pass
    script.all.end()
    assert (silent.aborted, half.aborted) == (True, True)
    assert script.all.ended == {"slow": 2}


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
    paths = (b"/health", b"/healthz", b"/readyz?x=1", b"/metrics", b"/_rerank/status")
    probes = [asked(script, path) for path in paths]
    head = asked(script, b"/late", method=b"HEAD")
    await settle()
    assert "max_connections" in refused(late, 503, "unavailable_exception")
    assert [parsed(probe.written)[0] for probe in probes] == [200] * 5
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
