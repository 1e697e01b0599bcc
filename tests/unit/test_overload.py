"""A sidecar that has more to do than it can: what it refuses, to whom, and what stays free."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from app_client import app_client
from elastic_transport import ApiResponseMeta, HttpHeaders
from elasticsearch import ApiError, AsyncElasticsearch
from fastapi import Request
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.caller import CALLER, Caller
from es_rerank.engine.pool import Pool, Rate
from es_rerank.errors import ModelError, OverloadError
from es_rerank.models import AsyncCutting, AsyncEmbedder, Embedder, Vectors
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.unblocked import aembed
from es_rerank.retrievers.response.client_answers import client_error
from es_rerank.sidecar.messages.wire import error_response
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker
from es_rerank.text.pairs import PairEncoder, TextEncoder

ME, OTHER = "127.0.0.1", "192.0.2.1"
"""The address that requests of these tests come from, and another one."""

NOBODY = "http://127.0.0.1:9"
"""No Elasticsearch answers there. A request that needs it gets 503."""

QUERY, TEXTS = "who signed the treaty", ["envoys signed the treaty", "bread rises for an hour"]
RERANK = {"query": QUERY, "texts": TEXTS}
SCORE = {
    "query": QUERY,
    "documents": [{"passages": [{"text": text}], "first_stage_score": 1.0} for text in TEXTS],
}
TREE = {
    "retriever": {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match_all": {}}}},
            "field": "text",
            "inference_text": QUERY,
        }
    }
}
HITS = [
    {"_index": "i", "_id": str(i), "_score": 1.0, "_source": {"text": text}} for i, text in enumerate(TEXTS)
]
FOUND = {
    "took": 1,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {"total": {"value": 2, "relation": "eq"}, "max_score": 1.0, "hits": HITS},
}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/rerank", RERANK),
    ("/_inference/rerank/any", {"query": QUERY, "input": TEXTS}),
    ("/rescore", {"query": QUERY, "response": FOUND, "field": "text"}),
    ("/_rerank/v1/score", SCORE),
    ("/_rerank/v1/score", {**SCORE, "chunk_rescorer": {"size": 1}}),
    ("/score", {"text_1": [QUERY, "how long does bread rise"], "text_2": TEXTS}),
    ("/v1/rerank", {"query": QUERY, "documents": [" ".join(TEXTS * 50)]}),
    ("/_inference/text_embedding/any", {"input": TEXTS}),
    ("/_rerank/v1/embed", {"texts": TEXTS, "purpose": "passage"}),
    ("/_rerank/v1/passages", {"documents": [{"text": text} for text in TEXTS]}),
    ("/v1/embeddings", {"input": TEXTS}),
    ("/embed", {"inputs": TEXTS}),
    ("/v2/embed", {"texts": TEXTS}),
]
"""Every request that uses a model and needs no Elasticsearch."""


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds."""
    while not condition():  # noqa: ASYNC110 a thread makes it hold
        await asyncio.sleep(0)


class Sidecar:
    """A sidecar with tiny models, whose pool has one thread."""

    def __init__(
        self, client: httpx.AsyncClient, service: Service, pool: Pool, model: CrossEncoder, embedder: Embedder
    ) -> None:
        self.client, self.service, self.pool = client, service, pool
        self.model, self.embedder = model, embedder

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.client.post(path.replace("any", self._name(path)), json=body, headers=headers)

    def _name(self, path: str) -> str:
        return self.embedder.name if "embed" in path else self.model.name

    @contextmanager
    def busy(self, caller: str) -> Iterator[threading.Event]:
        """Let the pool run an item that waits for the event, and another one of a caller wait behind it.

        While it waits, its work turns out to take 100 s. Its deadline comes before that of a request.
        """
        begun, free, rate = threading.Event(), threading.Event(), Rate(1.0)

        def work(_: float) -> None:
            begun.set()
            assert free.wait(30)

        def ask(length: float) -> None:
            CALLER.set(Caller(caller))
            self.pool.run(work, [length], length=float, rate=rate, deadline=time.monotonic() + 7)

        with ThreadPoolExecutor(2) as threads:
            running = threads.submit(ask, 0.001)
            assert begun.wait(30)
            waiting = threads.submit(ask, 1.0)
            while not self.pool.waiting:
                pass
            rate.mean = 100.0
            try:
                yield free
            finally:
                free.set()
                running.result()
                waiting.result()


@asynccontextmanager
async def sidecar(tmp_path: Path, embedder: Embedder | None = None) -> AsyncIterator[Sidecar]:
    pool = Pool(1)
    model = CrossEncoder(tiny_cross_encoder(tmp_path / "model"), name="any-model", pool=pool)
    embedder = embedder or BiEncoder(tiny_bi_encoder(tmp_path / "embedder"), pool=pool)
    service = Service(
        AsyncElasticsearch(NOBODY, max_retries=0),
        lambda: ({model.name: model}, embedder),
        Limits(longest_s=60.0),
        pool=pool,
    )
    async with app_client(service) as client:
        yield Sidecar(client, service, pool, model, embedder)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with sidecar(tmp_path) as running:
        yield running


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_request_that_would_be_late_is_refused_at_once(
    served: Sidecar, path: str, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(PairEncoder, "encode", read.append)
    monkeypatch.setattr(TextEncoder, "encode", read.append)
    tokens = served.pool.figures().tokens
    with served.busy(ME):
        answer = await served.post(path, body)
        assert answer.status_code == 429, answer.text
        assert int(answer.headers["retry-after"]) >= 100
    assert served.pool.figures().tokens == tokens
    assert not read, "no text was tokenised"


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_another_caller_is_served_beside_one_who_filled_the_queue(
    served: Sidecar, path: str, body: object
) -> None:
    with served.busy(OTHER) as free:
        asking = asyncio.create_task(served.post(path, body))
        await until(lambda: served.pool.waiting >= 2)
        free.set()
        assert (await asking).status_code == 200


async def test_a_header_that_nobody_checks_makes_no_other_caller(served: Sidecar) -> None:
    with served.busy(ME):
        answer = await served.post("/rerank", RERANK, authorization="Bearer made-up")
        assert answer.status_code == 429


async def test_a_search_is_refused_before_elasticsearch_is_asked(served: Sidecar) -> None:
    with served.busy(ME):
        refused = await served.post("/i/_search", TREE)
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "es_rejected_execution_exception"
        assert int(refused.headers["retry-after"]) >= 1
        reranker = {**TREE["retriever"]["text_similarity_reranker"], "allow_rerank_failures": True}
        allowed = {"retriever": {"text_similarity_reranker": reranker}}
        assert (await served.post("/i/_search", allowed)).status_code == 503, "its first stage is wanted"


async def test_a_search_that_allows_failures_keeps_its_first_stage(served: Sidecar) -> None:
    with served.busy(ME):
        answer = await served.post("/_rerank/v1/score", {**SCORE, "allow_failures": True})
    assert answer.status_code == 200
    assert [document["index"] for document in answer.json()["documents"]] == [0, 1]
    assert "try again later" in answer.json()["warning"]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_no_deadline_is_longer_than_the_longest(served: Sidecar, path: str, body: object) -> None:
    answer = await served.post(path, body, **{"x-rerank-timeout-ms": "60001"})
    assert answer.status_code == (422 if path in ("/rerank", "/embed") else 400)
    assert "max_timeout_ms" in answer.text
    assert (await served.post(path, body, **{"x-rerank-timeout-ms": "60000"})).status_code == 200


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_no_request_waits_for_the_threads_of_asyncio(served: Sidecar, path: str, body: object) -> None:
    free = threading.Event()
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    blocked = asyncio.get_running_loop().run_in_executor(None, free.wait)
    assert (await served.post(path, body)).status_code == 200
    free.set()
    await blocked


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_the_work_of_a_caller_who_left_is_dropped(served: Sidecar, path: str, body: object) -> None:
    with served.busy(OTHER):
        asking = asyncio.create_task(served.post(path, body))
        await until(lambda: served.pool.waiting >= 2)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: served.pool.figures().dropped > 0)
        assert (served.pool.waiting, served.pool.figures().dropped) == (1, 1)


@pytest.mark.parametrize("whose", ["es-rerank", "elasticsearch"])
def test_a_search_that_failed_says_when_to_try_again(whose: str) -> None:
    ours = client_error(OverloadError("too much", retry_after_s=7))
    meta = ApiResponseMeta(429, "1.1", HttpHeaders({"retry-after": "7"}), 0.0, ours.meta.node)
    error = ours if whose == "es-rerank" else ApiError("too much", meta, {"status": 429})
    answer = error_response(Request({"type": "http", "headers": [], "query_string": b""}), error)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_a_sidecar_that_ends_does_no_work_that_waits(tmp_path: Path) -> None:
    ran: list[int] = []
    async with sidecar(tmp_path) as served:
        pool = served.pool

        def work(number: int) -> None:
            ran.append(number)
            begun.set()
            assert free.wait(30)

        begun, free = threading.Event(), threading.Event()
        asking = asyncio.create_task(pool.arun(work, [1] * 100, length=float))
        await until(begun.is_set)
        ended = asyncio.create_task(served.service.close())
        await until(lambda: pool.waiting == 0)
        free.set()
        await ended
    with pytest.raises(ModelError, match="closed"):
        await asking
    assert ran == [1]


class Blocking:
    """A user's embedder, which has ``embed`` alone and waits until it may go on."""

    name, dims = "blocking", 2

    def __init__(self) -> None:
        self.free = threading.Event()
        self.calls: list[int] = []

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        assert purpose == "passage"
        self.calls.append(len(texts))
        assert self.free.wait(30)
        return np.full((len(texts), 2), len(self.calls), dtype=np.float32)


async def test_an_embedder_of_a_user_is_late_and_blocks_nobody(tmp_path: Path) -> None:
    embedder = Blocking()
    async with sidecar(tmp_path, embedder) as served:
        path = "/_inference/text_embedding/any"
        asking = [asyncio.create_task(served.post(path, {"input": TEXTS})) for _ in range(8)]
        await until(lambda: len(embedder.calls) == 8)
        late = await served.post(path, {"input": TEXTS}, **{"x-rerank-timeout-ms": "1"})
        assert (late.status_code, len(embedder.calls)) == (504, 8), "it was not begun"
        assert (await served.post("/rerank", RERANK)).status_code == 200
        embedder.free.set()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200] * 8
        assert (await served.post(path, {"input": TEXTS})).status_code == 200


async def test_a_user_s_embedder_gets_bounded_pieces() -> None:
    embedder = Blocking()
    embedder.free.set()
    assert not isinstance(embedder, AsyncEmbedder)
    vectors = await aembed(embedder, ["text"] * 300)
    assert (vectors.shape, embedder.calls) == ((300, 2), [128, 128, 44])


def test_the_protocols_tell_what_can_be_done_without_blocking(tmp_path: Path) -> None:
    with CrossEncoder(tiny_cross_encoder(tmp_path / "model")) as model:
        assert isinstance(model, AsyncCutting)
    with BiEncoder(tiny_bi_encoder(tmp_path / "embedder")) as embedder:
        assert isinstance(embedder, AsyncEmbedder)
    assert not isinstance(WordOverlapReranker(), AsyncCutting)
