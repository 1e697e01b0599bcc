"""The record of a request that ends in another way than by its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from observed_apps import TREE, KeptRecords, answering
from scripted_elasticsearch import Script

from es_rerank.observation import OBSERVER, stage
from es_rerank.sidecar.observation.observed import Observed
from es_rerank.sidecar.record import Record
from es_rerank.testing import WordOverlapReranker

SECRET = "attorney-client-privileged"


async def serve(app: Any, messages: Sequence[dict[str, Any]]) -> tuple[Record, list[Any]]:
    """Serve one request whose messages come one after the other. Return its record, and what it sent."""
    sink, sent, waiting = KeptRecords(), [], list(messages)

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        return None

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": ("127.0.0.1", 1)}
    with contextlib.suppress(RuntimeError, asyncio.CancelledError):
        await Observed(app, (sink,))(scope, receive, send)
    (record,) = sink.records
    return record, sent


GONE = {"type": "http.disconnect"}
START = {"type": "http.response.start", "status": 200, "headers": []}


async def test_a_caller_who_leaves_is_recorded_as_499() -> None:
    async def told(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"
        await send(START)
        await send({"type": "http.response.body", "body": b"late"})

    record, _ = await serve(told, [GONE])
    assert (record.status, record.outcome) == (499, "left")

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await receive()

    record, _ = await serve(streaming, [GONE])
    assert (record.status, record.outcome, record.bytes_out) == (499, "left", 1)

    async def complete(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"all"})
        await receive()  # what a server says after each answer

    record, _ = await serve(complete, [GONE])
    assert (record.status, record.outcome) == (200, "answered")


async def test_a_stage_that_is_cancelled_took_its_time() -> None:
    working: list[asyncio.Task[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def work() -> None:
            with stage("rerank"):
                await asyncio.Event().wait()

        working.append(asyncio.ensure_future(work()))
        await asyncio.sleep(0)  # it has begun
        await receive()
        working[0].cancel()  # it ends when the request has ended
        await send({**START, "status": 499})
        await send({"type": "http.response.body", "body": b""})

    record, _ = await serve(app, [GONE])
    told = dict(record.stages)
    assert set(told) == {"rerank"}
    await asyncio.wait(working)
    assert record.stages == told, "it is counted once"


async def test_what_ends_without_an_answer_is_recorded_too() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    async def cut(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise RuntimeError

    for app, status in ((failing, 500), (cut, 503), (broken, 200)):
        record, _ = await serve(app, [])
        assert (record.status, record.outcome) == (status, "failed")


async def test_a_sink_that_fails_breaks_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def write(self, record: Record) -> None:
            raise RuntimeError(SECRET)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    sent: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await Observed(app, (Broken(),))(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert len(sent) == 2
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "async"])
def test_both_clients_tell_the_same_stages(asynchronous: bool) -> None:
    record = Record("POST", {"type": "http", "headers": []})
    before = OBSERVER.set(record)
    try:
        answer = Script(answering).search(asynchronous, TREE, reranker=WordOverlapReranker(), plugin="never")
    finally:
        OBSERVER.reset(before)
    record.end()
    assert set(record.stages) == set(answer["rerank"]["milliseconds"]) - {"total"}
    assert (record.documents, record.passages, record.searches) == (3, 3, {"reranked": 1})


def test_without_an_observer_a_search_tells_nobody() -> None:
    answer = Script(answering).search(False, TREE, reranker=WordOverlapReranker(), plugin="never")
    assert answer["rerank"]["status"] == "reranked"
    assert OBSERVER.get() is None
