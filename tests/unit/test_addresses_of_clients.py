"""What clients of other servers get at addresses that were written in another way than the sidecar's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch

from es_rerank.dialects.paths import meant_by
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker

ASKED = {"query": "who signed", "documents": ["the king signed"], "input": "a", "inputs": "a"}


def service(*, pass_through: bool = False) -> Service:
    """Return a sidecar whose Elasticsearch does not answer."""
    model = WordOverlapReranker()
    return Service(
        AsyncElasticsearch("http://127.0.0.1:9", max_retries=0),
        lambda: ({model.name: model}, HashEmbedder()),
        pass_through=pass_through,
    )


@pytest.fixture
async def caller() -> AsyncIterator[httpx.AsyncClient]:
    async with app_client(service()) as client:
        yield client


GETS = (
    "/weaviate/.well-known/ready",
    "/weaviate/meta",
    "/v1/models",
    "/v1/models/word-overlap",
    "/info",
    "/health",
)


@pytest.mark.parametrize("path", GETS)
async def test_slashes_of_paths_that_are_read_may_be_doubled_too(
    caller: httpx.AsyncClient, path: str
) -> None:
    """A client puts them behind an address that ends with a slash, as it does with paths that it posts to."""
    model = (await caller.get("/v1/models")).json()["data"][0]["id"]
    path = path.replace("word-overlap", model)
    plain = await caller.get(path)
    assert plain.status_code == 200
    for written in (f"/{path}", path.replace("/", "//"), f"{path}/", f"{path}//"):
        answer = await caller.get(f"http://sidecar{written}")
        assert (answer.status_code, answer.content) == (200, plain.content), written


async def test_a_path_that_no_index_can_have_answers_head_as_it_answers_get(
    caller: httpx.AsyncClient,
) -> None:
    model = (await caller.get("/v1/models")).json()["data"][0]["id"]
    paths = ("/weaviate/.well-known/ready", "/weaviate/meta", "/v1/models", f"/v1/models/{model}")
    for path in (*paths, "/_rerank/status", "/_rerank/metrics", "/healthz", "/readyz"):
        got, head = await caller.get(path), await caller.head(path)
        assert (head.status_code, head.headers["content-type"]) == (
            got.status_code,
            got.headers["content-type"],
        ), path
    assert (await caller.head("/v1/models/other")).status_code == 404
    assert (await caller.head("/health")).status_code == 503  # an index may have this name
    assert (await caller.delete("/v1/models")).headers["allow"] == "GET, HEAD"
    assert (await caller.delete("/health")).headers["allow"] == "GET"


WRONG = [
    ("/v3/rerank", "/v1/rerank"),
    ("/v1/v1/rerank", "/v1/rerank"),
    ("/v1/v2/rerank", "/v2/rerank"),
    ("/v1/rerank/v1/rerank", "/v1/rerank"),
    ("/api/rerank", "/v1/rerank"),
    ("/rerank/v1", "/v1/rerank"),
    ("/v1/rerank/v1", "/v1/rerank"),
    ("/V3/Rerank", "/v1/rerank"),
    ("/weaviate/weaviate/rerank", "/weaviate/rerank"),
    ("/rerankings/reranking", "/v1/reranking"),
    ("/v1/retrieval/nvidia/reranking", "/v1/reranking"),
    ("/ranking", "/v1/ranking"),
    ("/api/v1/score", "/v1/score"),
    ("/v3/embeddings", "/v1/embeddings"),
    ("/infinity/v1/embeddings", "/v1/embeddings"),
    ("/api/embed", "/embed"),
    ("/v3/embed", "/v1/embed"),
    ("/v1/v2/embed", "/v2/embed"),
    ("/v3/models", "/v1/models"),
    ("/v1/health", "/health"),
    ("/v1/info", "/info"),
]


@pytest.mark.parametrize(("path", "meant"), WRONG)
async def test_a_wrong_path_of_a_client_of_models_is_told_the_right_one(
    caller: httpx.AsyncClient, path: str, meant: str
) -> None:
    for written in (path, f"{path}/", f"/{path}"):
        answer = await caller.post(f"http://sidecar{written}", json=ASKED)
        assert answer.status_code == 404
        assert f"did you mean [{meant}]?" in answer.text
        assert "--pass-through" not in answer.text
    right = await caller.put(meant)  # an error in the format of the right path
    assert _keys(answer.json()) == _keys(right.json())


def _keys(value: Any) -> Any:
    return {key: _keys(part) for key, part in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_client_of_elasticsearch_is_never_told_that_its_index_is_missing(method: str) -> None:
    for name in ("models", "ranking"):
        meant = meant_by(f"/{name}", method)
        assert meant is not None
        assert meant.status == 501
    for path in ("/models/_doc/rerank", "/_ml/rerank", "/%5fsearch/score", "/models/other", "/", "/a/b"):
        assert meant_by(path, method) is None


async def test_with_pass_through_wrong_paths_go_to_elasticsearch() -> None:
    async with app_client(service(pass_through=True)) as caller:
        for path, _ in WRONG:
            answer = await caller.post(path, json=ASKED)
            assert answer.status_code == 503  # Elasticsearch was asked
            assert "did you mean" not in answer.text


async def test_teis_path_for_every_model_gives_scores_and_vectors(caller: httpx.AsyncClient) -> None:
    """text-embeddings-inference answers at ``/`` as at ``/rerank`` or ``/embed``, by what its model does."""
    scores = {"query": "who signed", "texts": ["it rained", "who signed it"], "return_text": True}
    answer, same = await caller.post("/", json=scores), await caller.post("/rerank", json=scores)
    assert [row["index"] for row in answer.json()] == [1, 0]
    assert (answer.status_code, answer.content) == (200, same.content)
    vectors, same = (
        await caller.post("/", json={"inputs": "a"}),
        await caller.post("/embed", json={"inputs": "a"}),
    )
    assert (vectors.status_code, vectors.content) == (200, same.content)
    for body, status, said in (
        ({**scores, "inputs": ["a"]}, 400, "send one of them"),
        ({"query": "a"}, 422, "[texts] field required"),
        ({"texts": ["a"]}, 422, "[query] field required"),
        ({}, 422, "[inputs] field required"),
    ):
        wrong = await caller.post("/", json=body)
        assert (wrong.status_code, set(wrong.json())) == (status, {"error", "error_type"})
        assert said in wrong.json()["error"]


@pytest.mark.parametrize("path", ["/info", "/v1/embeddings", "/embed"])
async def test_an_empty_name_of_a_model_in_the_address_is_none(caller: httpx.AsyncClient, path: str) -> None:
    method = "GET" if path == "/info" else "POST"
    answer = await caller.request(
        method, path, params={"model": ""}, json={"input": "a"} if path[1] == "v" else {"inputs": "a"}
    )
    assert answer.status_code == 200


async def test_an_image_beside_a_text_to_embed_is_named(caller: httpx.AsyncClient) -> None:
    body = {"input": [{"text": "a", "image": "http://x"}]}
    answer = await caller.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.headers["x-rerank-ignored"]) == (200, "input.image")
    answer = await caller.post("/v1/embeddings", json={"input": [{"text": None, "content": "a"}]})
    assert answer.status_code == 200  # a null is the same as no value


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v1/embeddings", ("input", "texts")),
        ("/embed", ("inputs", "input")),
        ("/v2/embed", ("texts", "input")),
    ],
)
async def test_texts_to_embed_of_two_formats_are_refused(
    caller: httpx.AsyncClient, path: str, keys: tuple[str, str]
) -> None:
    answer = await caller.post(path, json={key: ["a"] for key in keys})
    assert (answer.status_code, "send one of them" in answer.text) == (400, True)
