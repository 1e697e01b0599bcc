"""Bodies that are parsed are refused where they pass a limit, and the rest of them is not read."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER
from elasticsearch import AsyncElasticsearch

from es_rerank.defaults import MAX_DEPTH, MAX_KEYS, MAX_QUERY_CHARACTERS, MAX_TEXT_CHARACTERS, MAX_VALUES
from es_rerank.off_loop import off_loop
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker

LIMIT = 8_000_000
MODEL_PATHS = [
    "/rerank",
    "/rescore",
    "/_inference/rerank/any",
    "/_inference/text_embedding/any",
    *(f"/_rerank/v1/{name}" for name in ("score", "embed", "passages")),
]
SEARCH_PATHS = ["/any/_search", "/_search", "/any/_msearch", "/_msearch"]
SOME_PATHS = ["/rerank", "/rescore", "/any/_search", "/_msearch"]
JSON = {"content-type": "application/json"}
GZIP = {**JSON, "content-encoding": "gzip"}


class Counting:
    """A body that begins with some bytes, goes on with a chunk, and counts how much was asked for."""

    def __init__(self, start: bytes, chunk: bytes, chunks: int) -> None:
        self.start, self.chunk, self.chunks, self.sent = start, chunk, chunks, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in (self.start, *(self.chunk for _ in range(self.chunks))):
            self.sent += len(piece)
            yield piece


@pytest.fixture
async def caller() -> AsyncIterator[httpx.AsyncClient]:
    """A sidecar whose Elasticsearch does not answer: what is refused does not get so far."""
    model = WordOverlapReranker()
    service = Service(
        AsyncElasticsearch("http://127.0.0.1:9", max_retries=0),
        lambda: ({model.name: model}, EMBEDDER),
        Limits(body_bytes=LIMIT),
        pass_through=True,
    )
    async with app_client(service, headers=JSON) as client:
        yield client


@pytest.mark.parametrize("path", [*MODEL_PATHS, *SEARCH_PATHS])
@pytest.mark.parametrize(
    ("chunk", "limit", "status"),
    [
        (b"[" * 1_000, f"{MAX_DEPTH} levels", 400),
        (b"{}" * 100_000, f"{MAX_VALUES} values", 413),
    ],
)
async def test_what_is_parsed_is_refused_at_the_limit(
    caller: httpx.AsyncClient, path: str, chunk: bytes, limit: str, status: int
) -> None:
    body = Counting(b'{"retriever": ', chunk, LIMIT // len(chunk))
    answer = await caller.post(path, content=body)
    assert answer.status_code in (status, 422 if path == "/rerank" and status == 400 else status)
    assert limit in answer.text
    needed = 1 if "levels" in limit else MAX_VALUES // chunk.count(b"{}") + 1
    assert body.sent <= len(body.start) + (needed + 1) * len(chunk)


@pytest.mark.parametrize("path", SEARCH_PATHS)
async def test_a_search_without_a_retriever_is_passed_on_whatever_is_in_it(
    caller: httpx.AsyncClient, path: str
) -> None:
    body = Counting(b'{"query": ', b"[" * 1_000, 1_000)
    answer = await caller.post(path, content=body)
    assert answer.status_code == 503  # Elasticsearch was asked
    assert body.sent == 1_000_010


@pytest.mark.parametrize("path", SEARCH_PATHS)
async def test_a_retriever_behind_too_many_values_is_refused_too(
    caller: httpx.AsyncClient, path: str
) -> None:
    content = b'{"x": [' + b"[]," * (MAX_VALUES // 2) + b'1], "retriever": {}}\n'
    answer = await caller.post(path, content=content)
    assert (answer.status_code, "1000000 values" in answer.text) == (413, True)


@pytest.mark.parametrize("path", SOME_PATHS)
async def test_gzip_is_counted_while_it_is_inflated(caller: httpx.AsyncClient, path: str) -> None:
    bomb = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    start = bomb.compress(b'{"retriever": ') + bomb.flush(zlib.Z_SYNC_FLUSH)
    chunk = bomb.compress(b"[" * LIMIT) + bomb.flush(zlib.Z_SYNC_FLUSH)
    body = Counting(start, chunk, 3)
    answer = await caller.post(path, content=body, headers=GZIP)
    assert (answer.status_code in (400, 422), f"{MAX_DEPTH} levels" in answer.text) == (True, True)
    assert body.sent <= len(start) + len(chunk)


@pytest.mark.parametrize("path", SOME_PATHS)
async def test_inflated_bytes_are_limited(caller: httpx.AsyncClient, path: str) -> None:
    answer = await caller.post(path, content=gzip.compress(b'"' + b"a" * 2 * LIMIT), headers=GZIP)
    assert (answer.status_code, "bytes when decompressed" in answer.text) == (413, True), answer.text


async def test_a_compressed_body_is_read_on_every_path(caller: httpx.AsyncClient) -> None:
    content = gzip.compress(json.dumps({"query": "a b", "texts": ["a", "c"]}).encode())
    answer = await caller.post("/rerank", content=content, headers=GZIP)
    assert [row["index"] for row in answer.json()] == [0, 1]


SCORED = json.dumps({"query": "a b", "texts": ["a", "c"]}).encode()


@pytest.mark.parametrize("encoding", ["x-gzip", "GZIP", "identity, gzip"])
async def test_gzip_has_two_names(caller: httpx.AsyncClient, encoding: str) -> None:
    headers = {**JSON, "content-encoding": encoding}
    answer = await caller.post("/rerank", content=gzip.compress(SCORED), headers=headers)
    assert [row["index"] for row in answer.json()] == [0, 1]


@pytest.mark.parametrize("path", MODEL_PATHS)
@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "utf-8"])
async def test_an_encoding_that_is_not_read_is_named_with_the_one_that_is(
    caller: httpx.AsyncClient, path: str, encoding: str
) -> None:
    headers = {**JSON, "content-encoding": encoding}
    answer = await caller.post(path, content=SCORED, headers=headers)
    assert answer.status_code == 415
    assert f"[{encoding}]" in answer.text
    assert "gzip" in answer.text


async def test_a_search_goes_to_elasticsearch_in_encodings_that_it_reads_alone(
    caller: httpx.AsyncClient,
) -> None:
    headers = {**JSON, "content-encoding": "deflate"}
    passed = await caller.post("/any/_search", content=zlib.compress(b'{"size": 1}'), headers=headers)
    assert passed.status_code == 503  # Elasticsearch was asked
    named = await caller.post("/any/_search", content=b'{"retriever": {}}', headers=headers)
    assert (named.status_code, "[deflate]" in named.text) == (415, True)


@pytest.mark.parametrize("path", ["/rerank", "/rescore", "/any/_search"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(SCORED) + gzip.compress(b" "), "behind the end"),
        (gzip.compress(SCORED[:9]) + gzip.compress(SCORED[9:]), "behind the end"),
        (gzip.compress(SCORED) + b"{}", "behind the end"),
        (gzip.compress(SCORED)[:-1], "ends within"),
        (gzip.compress(SCORED)[:5], "ends within"),
    ],
)
async def test_gzip_is_never_read_in_part(
    caller: httpx.AsyncClient, path: str, content: bytes, why: str
) -> None:
    for parts in (content, Counting(content[:-1], content[-1:], 1)):
        answer = await caller.post(path, content=parts, headers=GZIP)
        assert answer.status_code == (422 if path == "/rerank" else 400)
        assert why in answer.text


async def test_a_body_in_the_url_is_counted(caller: httpx.AsyncClient) -> None:
    source = {"source": '{"retriever":' + "[" * 1_000, "source_content_type": "application/json"}
    answer = await caller.get("/any/_search", params=source)
    assert (answer.status_code, f"{MAX_DEPTH} levels" in answer.text) == (400, True)


async def test_an_msearch_is_counted_over_all_its_lines(caller: httpx.AsyncClient) -> None:
    line = b'{"retriever": 1, "x": [' + b"1," * 100_000 + b"1]}\n"
    answer = await caller.post("/_msearch", content=b"{}\n" + line * 11)
    assert (answer.status_code, f"{MAX_VALUES} values" in answer.text) == (413, True)
    deep = b'{"retriever": 1, "x": ' + b"[" * 150 + b"]" * 150 + b"}\n"
    answer = await caller.post("/_msearch", content=(b"{}\n" + deep) * 3)
    assert answer.status_code == 503  # each line is within the limit


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
async def test_only_utf_8_is_parsed(caller: httpx.AsyncClient, encoding: str) -> None:
    """In UTF-16 the bytes of a quote may be half of another sign, and hide brackets from the count."""
    answer = await caller.post("/rerank", content='{"query": "\u2230", "texts": ["a"]}'.encode(encoding))
    assert (answer.status_code, "is not JSON" in answer.text) == (422, True)


TOO_LONG: dict[str, tuple[str, Any]] = {
    "query": ("/rerank", {"query": "x" * (MAX_QUERY_CHARACTERS + 1), "texts": ["a"]}),
    "query of inference": (
        "/_inference/rerank/any",
        {"query": "x" * (MAX_QUERY_CHARACTERS + 1), "input": ["a"]},
    ),
    "text": ("/rerank", {"query": "a", "texts": ["x" * (MAX_TEXT_CHARACTERS + 1)]}),
    "text to embed": ("/_inference/text_embedding/any", {"input": "x" * (MAX_TEXT_CHARACTERS + 1)}),
    "passage": (
        "/_rerank/v1/score",
        {"query": "a", "documents": [{"passages": [{"text": "x" * (MAX_TEXT_CHARACTERS + 1)}]}]},
    ),
}


@pytest.mark.parametrize("name", TOO_LONG)
async def test_texts_are_limited(caller: httpx.AsyncClient, name: str) -> None:
    path, body = TOO_LONG[name]
    answer = await caller.post(path, json=body)
    assert answer.status_code == 413
    assert "are read; " in answer.text


async def test_an_object_with_too_many_keys_is_refused(caller: httpx.AsyncClient) -> None:
    source = {f"k{number}": 1 for number in range(MAX_KEYS + 1)}
    body = {"query": "a", "field": "text", "response": {"hits": {"hits": [{"_id": "1", "_source": source}]}}}
    answer = await caller.post("/rescore", json=body)
    assert (answer.status_code, "10001 keys, at most 10000" in answer.text) == (400, True)
    assert "not JSON" not in answer.text


async def test_the_first_fault_of_a_large_body_is_told_as_that_of_a_small_one(
    caller: httpx.AsyncClient,
) -> None:
    told = []
    for count in (1, 900):
        documents = [{"passages": [{"text": 1}] * 3}] * count
        answer = await caller.post("/_rerank/v1/score", json={"query": "a", "documents": documents})
        told.append((answer.status_code, answer.json()["error"]["reason"]))
    assert told[0] == told[1] == (400, "[documents.0.passages.0.text] input should be a valid string")


async def test_a_body_that_waits_for_a_thread_ends_at_its_deadline(caller: httpx.AsyncClient) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def busy() -> None:
        begun.release()
        may_end.wait()

    others = [asyncio.ensure_future(off_loop(busy)) for _ in range(2)]
    for _ in others:
        await asyncio.to_thread(begun.acquire)
    body = {"query": "a", "texts": ["a" * 100_000]}
    late = await caller.post("/rerank", json=body, headers={"x-rerank-timeout-ms": "1"})
    small = await caller.post("/rerank", json={"query": "a", "texts": ["a"]})
    may_end.set()
    await asyncio.gather(*others)
    assert (late.status_code, small.status_code) == (504, 200)
    assert "before the request body was parsed" in late.text
