"""What a sidecar answers while its models are loading, and after they could not be loaded."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import AsyncElasticsearch
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Host, tei_app
from tiny_models import tiny_cross_encoder

from es_rerank import load_reranker
from es_rerank.errors import ModelFolderError
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

LOADING = "the model is still loading"
RERANKED = {
    "retriever": {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match_all": {}}}},
            "field": "text",
            "inference_text": "q",
        }
    }
}
DOCUMENT = {"context": "", "passages": [{"text": "x"}]}
CALLS: dict[str, Any] = {
    "/any/_search": RERANKED,
    "/_search": RERANKED,
    "/any/_msearch": RERANKED,
    "/_inference/rerank/any": {"query": "q", "input": ["x"]},
    "/_inference/text_embedding/any": {"input": ["x"]},
    "/rescore": {"query": "q", "response": {"hits": {"hits": []}}, "field": "text"},
    "/_rerank/v1/score": {"query": "q", "documents": [DOCUMENT]},
    "/_rerank/v1/embed": {"texts": ["x"], "purpose": "query"},
    "/_rerank/v1/passages": {"documents": [{"text": "x"}]},
    "/_rerank/v1/info": {},
}
"""A request to each path that needs the models; ``/rerank`` and GET requests have tests of their own."""


@asynccontextmanager
async def sidecar(load: Callable[[], Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar whose Elasticsearch nobody reaches."""
    app = create_app(Service(AsyncElasticsearch("http://127.0.0.1:9", max_retries=0), load))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sidecar") as caller,
    ):
        yield caller


@pytest.fixture
async def loading() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar that loads until the test ends."""
    end = threading.Event()

    def load() -> Any:
        end.wait()
        return {"word-overlap": WordOverlapReranker()}, None

    async with sidecar(load) as caller:
        try:
            yield caller
        finally:
            end.set()


async def called(caller: httpx.AsyncClient, path: str) -> httpx.Response:
    if path.endswith("_msearch"):
        lines = f"{{}}\n{json.dumps(CALLS[path])}\n"
        return await caller.post(path, content=lines, headers={"content-type": "application/x-ndjson"})
    return await caller.post(path, json=CALLS[path])


async def failed(caller: httpx.AsyncClient) -> None:
    """Return when the sidecar has tried to load its models."""
    while LOADING in (await caller.get("/readyz")).json()["reasons"]:
        pass


@pytest.mark.parametrize("path", CALLS)
async def test_each_path_says_that_it_may_be_asked_again(loading: httpx.AsyncClient, path: str) -> None:
    answer = await called(loading, path)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    error = answer.json()["error"]
    assert (error["type"], error["reason"]) == ("loading_exception", f"no model is served: {LOADING}")


async def test_lists_of_models_and_tei_say_so_too(loading: httpx.AsyncClient) -> None:
    for path in ("/_inference", "/_inference/any"):
        answer = await loading.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
    scores = await loading.post("/rerank", json={"query": "q", "texts": ["x"]})
    for answer in (await loading.get("/info"), scores):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
    assert scores.json() == {"error": f"no model is served: {LOADING}", "error_type": "Unhealthy"}


@pytest.mark.parametrize("path", CALLS)
async def test_a_model_that_did_not_load_is_not_asked_for_again(path: str) -> None:
    def load() -> Any:
        raise ModelFolderError("/models/gone is not there")

    async with sidecar(load) as caller:
        await failed(caller)
        answer = await called(caller, path)
    assert answer.status_code == 500, answer.text
    assert "retry-after" not in answer.headers
    error = answer.json()["error"]
    assert (error["type"], error["reason"]) == (
        "model_exception",
        "no model is served: /models/gone is not there",
    )


async def test_an_unexpected_error_of_a_model_ends_its_loading() -> None:
    def load() -> Any:
        raise RuntimeError("a value that may be private")

    async with sidecar(load) as caller:
        await failed(caller)
        answer = await called(caller, "/_rerank/v1/info")
    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == (
        "no model is served: unexpected RuntimeError while the model was loading; the log has the details"
    )


async def test_a_sidecar_says_which_models_are_services(tmp_path: Path, host: Host) -> None:
    """What ``GET /_es_rerank`` repeats: a service gets the texts over the network."""
    host.app = tei_app(FakeService(), batch=32)
    folder = tiny_cross_encoder(tmp_path)
    with load_reranker(folder) as local, RemoteReranker(host.url, api_key=SecretStr(KEY)) as service:
        async with sidecar(lambda: ({"local": local, "far": service}, None)) as caller:
            await failed(caller)
            said = await caller.post("/_rerank/v1/info", json={})
    assert (said.json()["models"], said.json()["sends_texts_onward"]) == (["local", "far"], ["far"])
