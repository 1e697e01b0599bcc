"""The deadline of a request counts from its head, so that a slow body takes a part of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from fastapi import Request
from starlette.types import Message

from es_rerank.observation import OBSERVER
from es_rerank.sidecar.messages.wire import ClientLeftError, parsed
from es_rerank.sidecar.record import Record
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker


def service() -> Service:
    model = WordOverlapReranker()
    elasticsearch = AsyncElasticsearch("http://127.0.0.1:9", max_retries=0)
    return Service(elasticsearch, lambda: ({model.name: model}, None), Limits(timeout_s=8.0, longest_s=60.0))


@pytest.fixture
def elapsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds since the head of the request that is served."""
    seconds = [0.0]
    monkeypatch.setattr(Record, "elapsed_s", lambda _: seconds[0])
    token = OBSERVER.set(Record("POST", {}))
    yield seconds
    OBSERVER.reset(token)


def test_what_the_body_took_is_missing_from_the_deadline(elapsed: list[float]) -> None:
    served = service()
    assert served.allowed_s(None) == 8.0
    elapsed[0] = 3.0
    assert (served.allowed_s(None), served.allowed_s(5.0), served.allowed_s(1.0)) == (5.0, 2.0, 0.0)
    assert served.longest_s(None) == 60.0  # Elasticsearch begins when the body is there


async def test_a_body_that_came_too_late_is_answered_as_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Record, "elapsed_s", lambda _: 3.0)
    async with app_client(service()) as caller:
        texts = ["peace " * 9_000]  # parsed beside the event loop
        for timeout, status in ("2000", 504), ("60000", 200):
            answer = await caller.post(
                "/_inference/rerank/word-overlap",
                json={"query": "peace", "input": texts},
                headers={"x-rerank-timeout-ms": timeout},
            )
            assert answer.status_code == status, answer.text


async def test_the_body_of_a_caller_who_left_is_not_parsed() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    app = SimpleNamespace(state=SimpleNamespace(service=service()))
    request = Request({"type": "http", "method": "POST", "headers": [], "app": app}, receive)
    read: list[bytes] = []
    with pytest.raises(ClientLeftError):
        await parsed(request, b" " * 100_000, read.append)
    assert read == []


def test_serve_lets_threads_take_turns_often() -> None:
    code = """
import sys
from types import SimpleNamespace
sys.path[:0] = ["tests/support", "tests/unit"]
from es_rerank.cli.listening import listen
from es_rerank.cli.serve import run_server
from es_rerank.settings import Settings
from es_rerank.sidecar import life
from test_deadline_of_request import service
run = lambda *_, **__: print(sys.getswitchinterval())
life.Server = lambda *_: SimpleNamespace(run=run)
run_server(service(), listen("127.0.0.1", 0), "tests", Settings())
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert float(ended.stdout) == pytest.approx(0.0005)
