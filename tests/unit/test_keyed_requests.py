"""What a key of the sidecar lets its requests do, and whose share of the models they take."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from app_client import app_client, state_of
from elasticsearch import AsyncElasticsearch

from es_rerank.caller import CALLER, Caller
from es_rerank.sidecar.access.keys import KEY, key_hash
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Scores

FILE = f"""
[small]
sha256 = "{key_hash("small-key")}"
most_waiting_seconds = 2.5
most_documents = 2
max_timeout_ms = 700

[free]
sha256 = "{key_hash("ключ")}"

[old]
sha256 = "{key_hash("old-key")}"
expires = 1999-12-31
"""
PATHS = {
    "/rerank": {"query": "q", "texts": ["a", "b", "c"]},
    "/_inference/rerank/word-overlap": {"query": "q", "input": ["a", "b", "c"]},
    "/rescore": {
        "query": "q",
        "field": "t",
        "response": {
            "hits": {"hits": [{"_index": "i", "_id": "1", "_score": 1.0, "_source": {"t": "a"}}] * 3}
        },
    },
    "/_rerank/v1/score": {"query": "q", "documents": [{"passages": [{"text": "a"}]}] * 3},
}


class Asked(WordOverlapReranker):
    """Notes for each request its caller, its key and the seconds until its deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Caller, str | None, float]] = []

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        key = KEY.get()
        left = -1.0 if deadline is None else deadline - time.monotonic()
        self.asked.append((CALLER.get(), key.name if key else None, left))
        return await super().ascore(query, passages, deadline=deadline)


@asynccontextmanager
async def sidecar(reranker: Asked, file: Path | None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar whose models are loaded. No Elasticsearch is there, and none is needed."""
    service = Service(
        AsyncElasticsearch("http://127.0.0.1:9"),
        lambda: ({reranker.name: reranker}, None),
        api_keys_file=file,
    )
    async with app_client(service) as client:
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(FILE, encoding="utf-8")
    path.chmod(0o600)
    return path


def key(plain: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + plain.encode()}


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_bounds_documents_and_deadline_of_its_requests_alone(path: str, file: Path) -> None:
    reranker = Asked()
    async with sidecar(reranker, file) as caller:
        refused = await caller.post(path, json=PATHS[path], headers=key("small-key"))
        assert refused.status_code == 413, refused.text
        assert "(2, of key [small])" in refused.text
        assert not reranker.asked
        long = {b"x-rerank-timeout-ms": b"60000"}
        free = await caller.post(path, json=PATHS[path], headers=key("ключ") | long)
        assert free.status_code == 200, free.text
        if path != "/_inference/rerank/word-overlap":
            assert (await caller.post("/rerank", json={"query": "q", "texts": ["a"]})).status_code == 401
        less = {"query": "q", "texts": ["a"]}
        for more in ({}, long):
            assert (await caller.post("/rerank", json=less, headers=key("small-key") | more)).is_success
    assert [asked[:2] for asked in reranker.asked] == [
        (Caller("key free"), "free"),
        *[(Caller("key small", 2.5), "small")] * 2,
    ]
    assert reranker.asked[-1][0].limit == "most_waiting_seconds of key [small]"
    assert reranker.asked[0][2] > 8
    assert all(0 < left <= 0.7 for _, _, left in reranker.asked[1:])


async def test_one_key_is_one_caller_in_whatever_way_it_is_written(file: Path) -> None:
    reranker = Asked()
    async with sidecar(reranker, file) as caller:
        for written in (
            b"Bearer small-key",
            b"ApiKey small-key",
            b"bearer   small-key ",
            b"APIKEY small-key",
            b"small-key",
        ):
            answer = await caller.post(
                "/rerank", json={"query": "q", "texts": ["a"]}, headers={b"authorization": written}
            )
            assert answer.is_success
    assert {asked[0] for asked in reranker.asked} == {Caller("key small", 2.5)}
    assert KEY.get() is None


async def test_a_key_that_expired_or_went_is_refused_at_once(file: Path) -> None:
    reranker = Asked()
    body = {"query": "q", "texts": ["a"]}
    async with sidecar(reranker, file) as caller:
        old = await caller.post("/rerank", json=body, headers=key("old-key"))
        assert old.status_code == 401
        assert "the key [old] of the sidecar has expired" in old.text
        assert (await caller.post("/rerank", json=body, headers=key("small-key"))).is_success
        file.write_text(  # noqa: ASYNC240 a test may wait for its file
            FILE.replace(key_hash("small-key"), key_hash("new-key")), encoding="utf-8"
        )
        assert state_of(caller).service.keys.read_again() == ([], ["small"], [])
        for plain, status in (("small-key", 401), ("new-key", 200)):
            assert (await caller.post("/rerank", json=body, headers=key(plain))).status_code == status


async def test_the_batch_that_info_tells_is_that_of_the_key(file: Path) -> None:
    async with sidecar(Asked(), file) as caller:
        told = [(await caller.get("/info", headers=key(plain))).json() for plain in ("small-key", "ключ")]
    assert [each["max_client_batch_size"] for each in told] == [2, 1000]
