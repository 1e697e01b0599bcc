"""What is large leaves the event loop: pieces of searches, answers of Elasticsearch and of the sidecar."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import pytest
from elastic_transport import ApiResponse, ApiResponseMeta, HttpHeaders, NodeConfig, SerializationError
from elasticsearch import ApiError
from hypothesis import given
from hypothesis import strategies as st
from scripted_elasticsearch import Reply, Script
from starlette.types import Message

from es_rerank import off_loop as module
from es_rerank.off_loop import LARGE_CHARACTERS, LARGE_VALUES, is_large, off_loop, off_loop_if
from es_rerank.retrievers.execution.commands import Context, EsRequest
from es_rerank.retrievers.execution.run import Connection, arun
from es_rerank.retrievers.execution.served import ServedModels
from es_rerank.retrievers.execution.unread import JSON_TYPES, LateSerializer, Unread, as_bytes, whole
from es_rerank.retrievers.response.answer import SearchStats
from es_rerank.sidecar.messages import large_answer
from es_rerank.sidecar.messages.large_answer import LargeAnswer, written

META = ApiResponseMeta(200, "1.1", HttpHeaders({}), 0.0, NodeConfig("http", "here", 1))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
)
CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


@pytest.mark.parametrize(
    ("value", "large"),
    [
        ([0] * LARGE_VALUES, False),
        ([0] * (LARGE_VALUES + 1), True),
        ({"a": [[{}] * 2_000]}, True),
        ({"a": "x" * LARGE_CHARACTERS}, False),
        ([{"a": "x" * (LARGE_CHARACTERS // 2)}] * 3, True),
        (None, False),
    ],
)
def test_values_are_large_by_their_number_and_their_texts(value: Any, large: bool) -> None:
    assert is_large(value) is large


async def test_work_off_the_loop_has_the_callers_context_and_threads_of_its_own() -> None:
    CALLER.set("me")
    name, caller = await off_loop(lambda: (threading.current_thread().name, CALLER.get()))
    assert (name.startswith("es-rerank-off-loop"), caller) == (True, "me")
    assert await off_loop_if(False, threading.current_thread) is threading.main_thread()
    assert await off_loop_if(True, threading.current_thread) is not threading.main_thread()


async def test_work_of_a_caller_who_left_before_it_began_is_not_done() -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def busy() -> None:
        begun.release()
        may_end.wait()

    first = [asyncio.ensure_future(off_loop(busy)) for _ in range(2)]
    for _ in first:
        await asyncio.to_thread(begun.acquire)
    left = asyncio.ensure_future(off_loop(done.append, 1))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await asyncio.sleep(0)  # the event loop tells the threads
    may_end.set()
    await asyncio.gather(*first)
    await off_loop(lambda: None)
    assert done == []


def context() -> Context:
    return Context(None, {}, ServedModels({}), SearchStats())


@pytest.mark.parametrize(("hits", "large"), [(10, False), (2_001, True)])
async def test_the_steps_after_a_large_answer_leave_the_loop(hits: int, large: bool) -> None:
    def steps() -> Generator[EsRequest, Any, list[bool]]:
        before = threading.current_thread() is threading.main_thread()
        answer = yield EsRequest("page", "GET", "/a")
        assert len(answer["hits"]) == hits
        return [before, threading.current_thread() is threading.main_thread()]

    script = Script(lambda *_: Reply(body={"hits": [{}] * hits}))
    async with script.async_client() as client:
        where = await arun(steps(), Connection(client), context())
    assert where == [True, not large]


async def test_a_search_that_ends_while_a_piece_of_it_runs_closes_its_point_in_time() -> None:
    opening, may_open, now = asyncio.Event(), threading.Event(), context()
    loop = asyncio.get_running_loop()

    def steps() -> Generator[EsRequest, Any, None]:
        loop.call_soon_threadsafe(opening.set)
        may_open.wait()
        now.opened = "the-pit"
        yield EsRequest("page", "GET", "/a")

    script = Script(lambda *_: Reply(body={}))
    async with script.async_client() as client:
        search = asyncio.ensure_future(arun(steps(), Connection(client), now, large=True))
        await opening.wait()
        search.cancel()
        await asyncio.sleep(0)
        may_open.set()
        with pytest.raises(asyncio.CancelledError):
            await search
    assert script.asked == [("DELETE /_pit", {"id": "the-pit"})]


async def test_large_answers_of_elasticsearch_are_parsed_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = {"hits": [{"n": number} for number in range(5_000)]}
    data = json.dumps(value).encode()
    late = LateSerializer()
    assert late.loads(b'{"a": 1}') == {"a": 1}
    unread = late.loads(data)
    assert isinstance(unread, Unread)
    loads, threads = json.loads, list[threading.Thread]()

    def told(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread())
        return loads(*args, **kwargs)

    monkeypatch.setattr(json, "loads", told)
    answer, size = await whole(ApiResponse(body=unread, meta=META))
    assert (answer.body, size) == (value, len(data))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    with pytest.raises(SerializationError):
        await whole(ApiResponse(body=Unread(data[:-1]), meta=META))


@given(VALUES)
def test_what_is_sent_is_what_the_client_would_send(value: Any) -> None:
    client = Script(lambda *_: Reply()).client()
    dumps = client.transport.serializers.dumps
    assert as_bytes({"a": value}) == dumps({"a": value}, "application/json")
    assert as_bytes([{"a": value}, {}]) == dumps([{"a": value}, {}], "application/x-ndjson")


@given(VALUES, st.sampled_from([None, 2]))
def test_an_answer_in_pieces_is_the_answer(value: Any, indent: int | None) -> None:
    whole_text = json.dumps(value, ensure_ascii=False, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGE_VALUES", 2)
        patch.setattr(large_answer, "LARGE_VALUES", 2)
        assert written(value, indent) == whole_text.encode("utf-8", "surrogatepass")


def test_half_a_surrogate_pair_is_an_escape_in_an_answer_and_nan_is_none() -> None:
    assert written({"a": ["\ud800"] * 3_000}, None) == json.dumps({"a": ["\ud800"] * 3_000}).encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        written([float("nan")] * 3_000, None)


async def test_a_large_answer_is_sent_in_pieces_with_its_length() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    value = ["x" * 1_000] * 1_000
    answer = LargeAnswer(value, None, 200, {"x-elastic-product": "Elasticsearch"}, "application/json")
    await answer({"type": "http"}, receive, send)
    start, *pieces = sent
    body = b"".join(piece["body"] for piece in pieces)
    assert json.loads(body) == value
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode()
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert len(pieces) > 2


async def test_a_large_error_of_elasticsearch_is_an_error_as_a_small_one() -> None:
    body = {"error": {"type": "too_long", "reason": "x" * 100_000}, "status": 400}
    script = Script(lambda path, _: Reply(400, body) if path.startswith("POST") else Reply(body={}))
    async with script.async_client() as client:
        for media in JSON_TYPES:
            client.transport.serializers.serializers[media] = LateSerializer()
        with pytest.raises(ApiError) as caught:
            await client.search(index="a", retriever={"rrf": {"retrievers": [{"standard": {}}]}})
    assert caught.value.body["error"]["type"] == "too_long"
