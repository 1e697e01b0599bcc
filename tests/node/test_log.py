"""The log of what nobody expected: where it happened, and nothing that a caller sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER, fill
from elasticsearch import AsyncElasticsearch, Elasticsearch
from server import ready_address
from waiting import until

from es_rerank.node import Node
from es_rerank.sidecar.observation.log import without_values
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

SECRET = "attorney-client privileged"


def plain(query: str) -> None:
    raise RuntimeError(f"cannot score {query}")


def key(query: str) -> None:
    known: dict[str, int] = {}
    known[query]


def chained(query: str) -> None:
    try:
        key(query)
    except KeyError as error:
        raise ValueError(f"no model for {query}") from error


def group(query: str) -> None:
    raise ExceptionGroup(f"all of {query}", [RuntimeError(query), ValueError(query)])


def deep(query: str) -> None:
    deep(query + "x")


FAULTS = [plain, key, chained, group, deep]


class Failing(WordOverlapReranker):
    """Fails in one of many ways, the query in its message and in its variables."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        super().__init__()
        self.fault = fault

    async def ascore(self, query: str, passages: Any, *, deadline: float | None = None) -> Any:
        if query != "ready":
            documents = list(passages)
            assert documents
            self.fault(query)
        return super().score(query, passages, deadline=deadline)


async def caller_of(node: Node, fault: Callable[[str], None]) -> AsyncIterator[httpx.AsyncClient]:
    model = Failing(fault)
    # Were the exception to go on to the server, this transport would raise it.
    async with app_client(
        Service(AsyncElasticsearch(node.url, max_retries=0), lambda: ({model.name: model}, EMBEDDER))
    ) as client:
        yield client


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_500_logs_the_place_and_no_value(
    node: Node, es: Elasticsearch, index: str, fault: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fill(es, index, [("Title", f"{SECRET} text", 2000)])
    tree = {
        "text_similarity_reranker": {"retriever": {"standard": {}}, "field": "text", "inference_text": SECRET}
    }
    async for caller in caller_of(node, fault):
        requests = [
            ("/rerank", {"query": SECRET, "texts": [SECRET]}),
            (f"/{index}/_search", {"retriever": tree}),
        ]
        for path, body in requests:
            capfd.readouterr()
            answer = await caller.post(path, json=body)
            assert answer.status_code in (424, 500)
            printed = capfd.readouterr()
            logged = printed.out + printed.err
            assert "test_log.py" in logged
            assert fault.__name__ in logged
            assert "unexpected" in logged
            assert SECRET not in logged + answer.text
            assert "privileged" not in logged


async def test_what_fails_in_the_background_is_logged_without_values(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    import asyncio  # noqa: PLC0415 the loop of this test

    async def lost() -> None:
        raise RuntimeError(SECRET)

    async for _ in caller_of(node, plain):
        task = asyncio.get_running_loop().create_task(lost())
        await asyncio.wait([task])
        del task  # nobody asks for its exception
        printed = capfd.readouterr()
        assert "unexpected RuntimeError in the background" in printed.out + printed.err
        assert SECRET not in printed.out + printed.err


def test_the_log_of_libraries_has_no_values_either() -> None:
    code = f"""
import logging
from es_rerank.sidecar.observation.log import configure_log
configure_log()
secret = {SECRET!r}
try:
    raise RuntimeError(secret)
except RuntimeError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "uvicorn.error: Exception in ASGI application" in done.stderr
    assert "builtins.RuntimeError" in done.stderr
    assert SECRET not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def served(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A sidecar process whose reranker fails, and its log."""
    log = tmp_path_factory.mktemp("log") / "log"
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "support")!r}]
import test_log
from elasticsearch import AsyncElasticsearch
from es_rerank.cli.listening import listen
from es_rerank.cli.serve import run_server
from es_rerank.settings import Settings
from es_rerank.sidecar.service import Service
model = test_log.Failing(test_log.chained)
service = Service(AsyncElasticsearch({node.url!r}), lambda: ({{model.name: model}}, None))
run_server(service, listen("127.0.0.1", 0), "tests", Settings())
"""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=out, stderr=out, env=os.environ | {"COLUMNS": "200"}
        ) as process,
    ):
        try:
            yield ready_address(process, log), log
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_the_log_of_a_real_sidecar(served: tuple[str, Path]) -> None:
    address, log = served
    text = f"{SECRET} " * 5000
    answer = httpx.post(f"{address}/rerank", json={"query": SECRET, "texts": [text] * 5}, timeout=60)
    assert answer.status_code in (424, 500)
    until(lambda: "unexpected ValueError in POST /rerank" in log.read_text())  # a thread writes the log
    logged = log.read_text()
    assert "builtins.KeyError" in logged
    assert logged.count("Traceback") == 0, "the web server logs it a second time"
    assert "privileged" not in logged
    assert len(logged) < 10_000
    for path in ("/%0aforged%20line", "/rerank%0d%0aforged"):
        httpx.post(address + path, content=json.dumps({"query": SECRET}))
    assert "\nforged" not in log.read_text()


def test_a_traceback_without_values_names_types_and_places() -> None:
    with pytest.raises(ValueError, match="no model") as raised:
        chained(SECRET)
    text = without_values(raised.value)
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "builtins.ValueError",
        "because of",
        "builtins.KeyError",
    ]
    assert f'File "{__file__}"' in text
    assert SECRET not in text
    with pytest.raises(RecursionError) as caught:
        deep(SECRET)
    assert len(without_values(caught.value)) < 10_000
