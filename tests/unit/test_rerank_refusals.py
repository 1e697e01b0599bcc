"""What the rerank paths refuse, and how their callers are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_paths import OBJECT, TEXTS, body_for, sidecar
from tiny_models import tiny_cross_encoder

from es_rerank.dialects.table import PATHS
from es_rerank.errors import OverloadError, RemoteModelError
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.service import Limits
from es_rerank.testing import WordOverlapReranker


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"first": tiny_cross_encoder(tmp_path_factory.mktemp("models") / "first")}


@pytest.fixture
async def caller(folders: dict[str, Path]) -> AsyncIterator[httpx.AsyncClient]:
    async with sidecar(folders) as client:
        yield client


async def test_one_pair_that_fails_ends_all_pairs_of_its_request() -> None:
    class Full(WordOverlapReranker):
        begun = ended = 0

        async def ascore(self, query: str, *texts: Any, **options: Any) -> Any:
            if query == "q 20":
                raise OverloadError("full", retry_after_s=7)
            if query.startswith("q"):
                self.begun += 1
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.ended += 1
                    raise
            return await super().ascore(query, *texts, **options)

    reranker = Full()
    async with sidecar({"full": reranker}) as caller:
        queries = [f"q {number}" for number in range(17, 30)]
        answer = await caller.post("/v1/score", json={"queries": queries, "documents": ["a"] * 13})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert 0 < reranker.begun == reranker.ended < 12


async def test_pairs_that_come_too_late_are_counted_together() -> None:
    class Slow(WordOverlapReranker):
        async def ascore(self, query: str, *texts: Any, **options: Any) -> Any:
            scores = self.score(query, *texts)
            return replace(scores, done=scores.done & (query != "late"))

    async with sidecar({"slow": Slow()}) as caller:
        body = {"queries": ["a", "a", "b", "late"], "documents": ["c"] * 4}
        answer = await caller.post("/score", json=body)
        assert (answer.status_code, "when 3 of 4 texts were scored" in answer.text) == (504, True)


@pytest.mark.parametrize("path", [*PATHS, "/v1/embeddings", "/embed"])
async def test_no_web_page_can_ask_behind_its_readers_back(caller: httpx.AsyncClient, path: str) -> None:
    body = body_for(path, TEXTS) if path in PATHS else {"input": TEXTS, "inputs": TEXTS}
    of_a_page = {"origin": "https://evil.example"}
    for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
        named = {} if kind is None else {"content-type": kind}
        asked = await caller.post(path, content=json.dumps(body), headers={**named, **of_a_page})
        assert (asked.status_code, "application/json" in asked.text) == (415, True)
        if path in PATHS:
            assert (await caller.post(path, content=json.dumps(body), headers=named)).status_code == 200
    if path in PATHS:  # a browser asks first whether it may send JSON, and is not answered that it may
        assert (await caller.post(path, json=body, headers=of_a_page)).status_code == 200
        assert "access-control-allow-origin" not in (await caller.options(path, headers=of_a_page)).headers


def message_in(path: str, answer: httpx.Response) -> str:
    """Return the message of an error, and check that it stands wherever a client of the path looks for it."""
    told = answer.json()
    if path == "/rerank":
        assert set(told) == {"error", "error_type"}
        return str(told["error"])
    if path == "/weaviate/rerank":
        assert set(told) == {"error"}
        return str(told["error"])
    assert set(told) == {"id", "message", "detail", "error"}
    assert told["message"] == told["detail"] == told["error"]["message"]
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert told["error"]["code"] == str(answer.status_code)
    return str(told["message"])


BAD: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{", 400, "not JSON"),
    "a value twice": (b'{"query": "a", "query": "b"}', 400, "not JSON"),
    "no object": (b"[]", 400, "JSON object"),
    "nothing": (b"", 400, "JSON object"),
    "no keys": (b"{}", 400, "["),
    "too large": (b'{"query": "%s"}' % (b"x" * 3_000), 413, "2000"),
    "too deep": (b"[" * 500, 400, "levels"),
}


@pytest.mark.parametrize("path", PATHS)
async def test_errors_are_told_in_the_format_of_the_path(path: str, folders: dict[str, Path]) -> None:
    async with sidecar(folders, limits=Limits(body_bytes=2_000, documents=6)) as caller:
        for kind, (content, status, words) in BAD.items():
            answer = await caller.post(path, content=content)
            expected = 422 if path == "/rerank" and status == 400 else status
            assert answer.status_code == expected, (kind, answer.text)
            assert words in message_in(path, answer), kind
        many = await caller.post(path, json=body_for(path, ["a"] * 7))
        assert (many.status_code, "6" in message_in(path, many)) == (413, True)
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            wrong = await caller.request(method, path)
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
            assert f"[{method}]" in message_in(path, wrong)
        if path in ("/rerank", *OBJECT):
            both = await caller.post(path, json={"query": "q", "texts": ["a"], "documents": ["a"]})
            assert (both.status_code, "send one" in message_in(path, both)) == (400, True)
    async with sidecar(folders, api_key_hashes=(key_hash("k"),)) as caller:
        for authorization in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer wrong"}):
            refused = await caller.post(path, json=body_for(path, TEXTS), headers=authorization)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "key of the sidecar" in message_in(path, refused)


@pytest.mark.parametrize(
    "wrong", [{"query": "q" * 70_000}, {"more": ["a"] * 7}, {f"key {number}": 1 for number in range(60)}]
)
async def test_a_body_that_is_over_a_limit_is_refused_in_its_own_format(
    folders: dict[str, Path], wrong: dict[str, Any]
) -> None:
    """Its limits are checked before its format is read. Its keys tell the format all the same."""
    async with sidecar(folders, limits=Limits(body_bytes=200_000, documents=6)) as caller:
        for path, other in (
            ("/rerank", "/v1/rerank"),
            ("/v1/rerank", "/rerank"),
            ("/v1/reranking", "/rerank"),
        ):
            answer = await caller.post(path, json={**body_for(other, TEXTS), **wrong})
            assert answer.status_code in (400, 413, 422)
            message_in(other, answer)


@pytest.mark.parametrize(
    ("error", "tei", "others"),
    [
        (OverloadError("full", retry_after_s=7), (429, "Overloaded"), (429, "RateLimitError")),
        (RemoteModelError("gone"), (424, "Backend"), (502, "InternalServerError")),
        (ValueError("broken"), (424, "Backend"), (500, "InternalServerError")),
    ],
)
async def test_what_the_model_cannot_do_is_told_in_the_callers_format(
    error: Exception, tei: tuple[int, str], others: tuple[int, str]
) -> None:
    class Fails(WordOverlapReranker):
        async def ascore(self, query: str, *_: Any, **__: Any) -> Any:
            if query != "ready":
                raise error
            return super().score(query, *_)

    async with sidecar({"fails": Fails()}) as caller:
        for path in PATHS:
            answer = await caller.post(path, json=body_for(path, TEXTS))
            assert answer.status_code == (tei if path == "/rerank" else others)[0], path
            message_in(path, answer)
            assert answer.headers.get("retry-after") == ("7" if answer.status_code == 429 else None)
        told = (await caller.post("/v1/rerank", json={"query": "q", "texts": TEXTS})).json()
        assert told["error_type"] == tei[1]
        told = (await caller.post("/rerank", json={"query": "q", "documents": TEXTS})).json()
        assert told["error"]["type"] == others[1]


async def test_a_bare_authorization_is_taken_where_no_key_is_set(caller: httpx.AsyncClient) -> None:
    for value in (b"", b"Bearer", b"Bearer ", b"Bearer fake-api-key", b"anything"):
        for path in PATHS:
            answer = await caller.post(path, json=body_for(path, TEXTS), headers={b"authorization": value})
            assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"text": "x" * 70_000}, "documents": ["a"]},
        {"query": "q", "documents": [{"a": "x" * 600_000, "b": "y" * 600_000}]},
        {"query": "q", "documents": {"content": [{"type": "text", "text": "a"}] * 1_001}},
    ],
)
async def test_objects_do_not_pass_the_limits_of_texts(
    caller: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await caller.post("/v1/rerank", json=body)
    assert answer.status_code == 413, answer.text
