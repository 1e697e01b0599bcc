"""What the record of a request says when the connection is ended by the sidecar, not by its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from observed_apps import KeptRecords
from scripted_connections import Script, Transport, asked, begun, ending_tasks, gone, parsed, settle
from starlette.types import ASGIApp, Receive, Scope, Send

from es_rerank.errors import UnavailableError
from es_rerank.sidecar.observation.observed import Observed
from es_rerank.sidecar.record import Record


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    async with ending_tasks():
        yield


async def leaves(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers 499 when it is told that its caller left, as the routes do."""
    await gone(receive)
    await send({"type": "http.response.start", "status": 499, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that does not look whether its caller is there."""
    await asyncio.Event().wait()


def is_what_the_caller_got(record: Record, transport: Transport) -> None:
    status, _, body = parsed(transport.written)
    assert (record.status, record.bytes_out, record.outcome) == (status, len(body), "refused")


@pytest.mark.parametrize("app", [leaves, waits])
async def test_the_end_of_the_sidecar_is_recorded_as_the_503_that_it_answers(
    app: ASGIApp,
) -> None:
    kept = KeptRecords()
    script = Script(Observed(app, (kept,)))
    transport = asked(script, b"/work")
    await settle()
    script.all.end()
    await settle()
    (record,) = kept.records
    is_what_the_caller_got(record, transport)
    assert (record.status, record.refusal) == (503, "unavailable_exception")
    assert isinstance(record.error, UnavailableError)


async def test_a_body_that_comes_too_slowly_is_recorded_as_the_408_that_it_is_answered_with() -> None:
    kept = KeptRecords()
    script = Script(Observed(leaves, (kept,)))
    _, transport = begun(script, 100_000)
    await settle()
    script.after(21)
    await settle()
    (record,) = kept.records
    is_what_the_caller_got(record, transport)
    assert record.status == 408


async def test_an_answer_that_the_sidecar_cuts_is_its_failure() -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await gone(receive)
        await send({"type": "http.response.body", "body": b""})

    kept = KeptRecords()
    script = Script(Observed(streams, (kept,)))
    asked(script, b"/work")
    await settle()
    script.all.end()
    await settle()
    (record,) = kept.records
    assert (record.status, record.bytes_out, record.outcome) == (200, 4, "failed")


async def test_a_caller_who_leaves_is_still_recorded_as_one() -> None:
    kept = KeptRecords()
    script = Script(Observed(leaves, (kept,)))
    connection, _ = script.connection()
    connection.data_received(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n")
    await settle()
    connection.connection_lost(None)
    await settle()
    (record,) = kept.records
    assert (record.status, record.outcome) == (499, "left")
