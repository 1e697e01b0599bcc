"""The formats in which vectors are asked for: every path, key and error, on a real model."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import pytest_asyncio
from app_client import app_client
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import load_embedder
from es_rerank.cli.serve import build_service
from es_rerank.dialects.vectors import Embedded
from es_rerank.errors import DeadlineError, EsRerankError, OverloadError, ScoreError
from es_rerank.models import Embedder
from es_rerank.settings import Settings
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder

TEXTS = ["the king signed", "it rained", "Ünïcödé 王"]
LONG = "word " * 200
PATHS = {
    "/v1/embeddings": "input",
    "/embeddings": "input",
    "/infinity/embeddings": "input",
    "/embed": "inputs",
    "/": "inputs",
    "/v1/embed": "texts",
    "/v2/embed": "texts",
}
KEY = "secret"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [
        tiny_cross_encoder(folder / "reranker"),
        reseal(tiny_bi_encoder(folder / "a", dims=8, max_length=32, query_prefix="query: "), name="first"),
        reseal(tiny_bi_encoder(folder / "b", dims=6, seed=1), name="BAAI/second"),
    ]


@pytest.fixture(scope="module")
def first(folders: list[Path]) -> Embedder:
    return load_embedder(folders[1])


@pytest.fixture(scope="module")
def second(folders: list[Path]) -> Embedder:
    return load_embedder(folders[2])


def service_of(folders: list[Path], **changes: Any) -> Service:
    reranker, one, two = map(str, folders)
    changes |= {"threads": 2, "log_requests": False}
    settings = Settings(reranker=reranker, embedder=one, more_embedders=(f"b={two}",), **changes)
    return build_service(settings, "http://127.0.0.1:9")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(folders: list[Path]) -> AsyncIterator[httpx.AsyncClient]:
    async with app_client(service_of(folders)) as client:
        yield client


def vectors_in(path: str, answer: Any) -> Any:
    """Return the vectors of an answer without options."""
    if path.endswith("embeddings"):
        return [row["embedding"] for row in answer["data"]]
    if path in ("/embed", "/"):
        return answer
    return answer["embeddings"]["float"] if path == "/v2/embed" else answer["embeddings"]


def message_in(answer: Any) -> str:
    """Return the message of an error in any of the formats."""
    error = answer["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_gives_the_vectors_of_passages(
    caller: httpx.AsyncClient, first: Embedder, path: str
) -> None:
    for given in (TEXTS, TEXTS[0]):
        answer = await caller.post(path, json={PATHS[path]: given})
        assert answer.status_code == 200
        wanted = first.embed([given] if isinstance(given, str) else given)
        assert np.array_equal(np.asarray(vectors_in(path, answer.json()), dtype=np.float32), wanted)
        assert answer.headers["x-rerank-model"] == "first"
        assert answer.headers["x-rerank-truncated"] == "0"
        assert "warning" not in answer.headers
        assert "x-rerank-ignored" not in answer.headers


QUERIES: list[dict[str, Any]] = [
    {"input_type": "query"},
    {"input_type": "search_query"},
    {"input_type": "search"},
    {"task": "retrieval.query"},
    {"task": "nl2code.query"},
    {"task_type": "RETRIEVAL_QUERY"},
    {"prompt_name": "query"},
    {"prompt_name": "Query", "input_type": "search_query"},
    {"model": "first-query"},
    {"model": "another", "input_type": "query"},
]
PASSAGES: list[dict[str, Any]] = [
    {"input_type": "document"},
    {"input_type": "passage"},
    {"input_type": "search_document"},
    {"input_type": "ingest"},
    {"input_type": "classification"},
    {"input_type": None},
    {"task": "retrieval.passage"},
    {"task": "text-matching"},
    {"task_type": "RETRIEVAL_DOCUMENT"},
    {"prompt_name": "document"},
    {"model": "first-passage"},
]


@pytest.mark.parametrize("path", PATHS)
async def test_the_words_of_every_service_tell_queries_from_passages(
    caller: httpx.AsyncClient, first: Embedder, path: str
) -> None:
    for purpose, several in (("query", QUERIES), ("passage", PASSAGES)):
        wanted = first.embed([TEXTS[0]], purpose=purpose)  # type: ignore[arg-type]
        for more in several:
            answer = await caller.post(path, json={PATHS[path]: [TEXTS[0]], **more})
            assert np.allclose(vectors_in(path, answer.json()), wanted), more
    other = await caller.post(path, json={PATHS[path]: TEXTS[0], "prompt_name": "s2s"})
    assert np.allclose(vectors_in(path, other.json()), first.embed([TEXTS[0]]))
    assert other.headers["x-rerank-ignored"] == "prompt_name"
    torn = {PATHS[path]: TEXTS[0], "prompt_name": "query", "input_type": "document"}
    assert (await caller.post(path, json=torn)).status_code in (400, 422)


@pytest.mark.parametrize("path", PATHS)
async def test_a_model_is_chosen_by_name_and_an_unknown_one_is_answered_by_the_default(
    caller: httpx.AsyncClient, first: Embedder, second: Embedder, path: str
) -> None:
    body = {PATHS[path]: TEXTS}
    for name in ("b", "BAAI/second", "b-passage", "BAAI/second-passage"):
        answer = await caller.post(path, json={**body, "model": name})
        assert np.allclose(vectors_in(path, answer.json()), second.embed(TEXTS))
        assert answer.headers["x-rerank-model"] == "b"
        assert "warning" not in answer.headers
    named = await caller.post(path, params={"model": "b"}, json={**body, "model": "first"})
    assert np.allclose(vectors_in(path, named.json()), second.embed(TEXTS))
    for name in ("text-embedding-3-small", "gpt-query", "x" * 5_000, "ü\n"):
        answer = await caller.post(path, json={**body, "model": name})
        assert np.allclose(vectors_in(path, answer.json()), first.embed(TEXTS))
        assert "is not served here; [first] answered" in answer.headers["warning"]
    for empty in ("", None):
        assert "warning" not in (await caller.post(path, json={**body, "model": empty})).headers
    unknown = await caller.post(path, params={"model": "other"}, json=body)
    assert unknown.status_code in (404, 422)
    assert "[other] is not served here" in message_in(unknown.json())


@pytest.mark.parametrize("path", PATHS)
async def test_leaving_out_or_adding_keys_never_changes_the_format(
    caller: httpx.AsyncClient, path: str
) -> None:
    body = {PATHS[path]: TEXTS}
    plain = (await caller.post(path, json=body)).json()
    more = {
        "model": "first",
        "user": "me",
        "truncate": True,
        "normalize": True,
        "dimensions": 8,
        "late_chunking": False,
        "query": "x",
        "documents": ["y"],
        "priority": 1,
    }
    answer = await caller.post(path, json={**body, **more})
    assert np.allclose(vectors_in(path, answer.json()), vectors_in(path, plain))
    ignored = answer.headers["x-rerank-ignored"].split(",")
    assert ignored == ["documents", "late_chunking", "priority", "query", "user"]
    unlike = await caller.post(path, json={**body, "normalize": "false"})
    assert unlike.headers["x-rerank-ignored"] == "normalize"
    assert np.allclose(np.linalg.norm(vectors_in(path, unlike.json()), axis=1), 1)


@pytest.mark.parametrize("path", PATHS)
async def test_texts_are_cut_unless_the_caller_forbids_it(caller: httpx.AsyncClient, path: str) -> None:
    key = PATHS[path]
    for more in ({}, {"truncate": True}, {"truncate": "END"}, {"truncation": "true"}):
        answer = await caller.post(path, json={key: [TEXTS[0], LONG], **more})
        assert answer.status_code == 200
        assert answer.headers["x-rerank-truncated"] == "1"
        assert answer.headers["x-rerank-truncated-at"] == "1"
    refusing: list[dict[str, Any]] = [
        {"truncate": False},
        {"truncate": "NONE"},
        {"truncation": "no"},
        {"truncate": "START"},
        {"truncate": True, "truncation_direction": "left"},
    ]
    for more in refusing:
        assert (await caller.post(path, json={key: TEXTS[0], **more})).status_code == 200
        long = await caller.post(path, json={key: [TEXTS[0], LONG], **more})
        assert long.status_code in (400, 422)
        assert "text 1 is longer" in message_in(long.json())


NO_TEXTS: list[tuple[Any, str]] = [
    (None, "field required"),
    ([], "at least one entry"),
    ([None], "must be a text"),
    ([["a", "b"]], "must be a text"),
    ([{"image": "http://x"}], "must be a text"),
    (True, "must be a text"),
    ([1, 2, 3], "ids of tokens"),
    ([[1, 2], [3]], "ids of tokens"),
    (7, "ids of tokens"),
]


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_text_is_refused_in_the_format_of_the_path(
    caller: httpx.AsyncClient, path: str
) -> None:
    for value, said in NO_TEXTS:
        answer = await caller.post(path, json={PATHS[path]: value})
        assert answer.status_code == (422 if path in ("/embed", "/") else 400)
        assert said in message_in(answer.json())
        assert f"[{PATHS[path]}" in message_in(answer.json())


@pytest.mark.parametrize("path", PATHS)
async def test_objects_with_a_text_are_read(caller: httpx.AsyncClient, first: Embedder, path: str) -> None:
    parts = {"content": [{"type": "text", "text": TEXTS[0]}]}
    for entry in ({"text": TEXTS[0]}, {"content": TEXTS[0]}, parts):
        answer = await caller.post(path, json={PATHS[path]: [entry]})
        assert np.allclose(vectors_in(path, answer.json()), first.embed([TEXTS[0]]))
    cohere = await caller.post("/v2/embed", json={"inputs": [parts], "input_type": "search_document"})
    assert np.allclose(cohere.json()["embeddings"]["float"], first.embed([TEXTS[0]]))
    both = await caller.post("/v2/embed", json={"inputs": [parts], "texts": TEXTS})
    assert (both.status_code, "send one of them" in both.json()["message"]) == (400, True)


@pytest.mark.parametrize("path", PATHS)
async def test_other_dimensions_and_other_types_are_refused(caller: httpx.AsyncClient, path: str) -> None:
    body = {PATHS[path]: TEXTS}
    for name in ("dimensions", "output_dimension"):
        for right in (8, 8.0, "8", 0, "0"):
            assert (await caller.post(path, json={**body, name: right})).status_code == 200
        for wrong in (4, 16, -8, 8.5, True, "many", "9" * 5_000, [8]):
            assert (await caller.post(path, json={**body, name: wrong})).status_code in (400, 422)
    fitting = await caller.post(path, json={**body, "dimensions": 6, "model": "b"})
    assert fitting.status_code == 200


async def test_openais_encodings(caller: httpx.AsyncClient, first: Embedder) -> None:
    wanted = first.embed(TEXTS)
    written: list[dict[str, Any]] = [
        {"encoding_format": "base64"},
        {"encoding_format": "base64", "output_dtype": "float"},
        {"encoding_format": "base64", "embedding_type": ["float"]},
        {"embedding_type": "base64"},
    ]
    for more in written:
        rows = (await caller.post("/v1/embeddings", json={"input": TEXTS, **more})).json()["data"]
        read = [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in rows]
        assert np.array_equal(read, wanted)
    for more in ({"encoding_format": "float"}, {"encoding_format": None}, {"output_dtype": "float"}):
        rows = (await caller.post("/v1/embeddings", json={"input": TEXTS, **more})).json()["data"]
        assert np.array_equal(np.asarray([row["embedding"] for row in rows], dtype=np.float32), wanted)
    wrong: list[dict[str, Any]] = [
        {"encoding_format": "int8"},
        {"encoding_format": 7},
        {"output_dtype": "binary"},
        {"embedding_type": ["float", "base64"]},
        {"encoding_format": ["float", "base64"]},
    ]
    for more in wrong:
        answer = await caller.post("/v1/embeddings", json={"input": TEXTS, **more})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == next(iter(more))


async def test_cohere_has_vectors_by_type(caller: httpx.AsyncClient, first: Embedder) -> None:
    wanted = first.embed(TEXTS)
    for version in ("1", "2"):
        body = {"texts": TEXTS, "input_type": "search_document", "embedding_types": ["float", "base64"]}
        answer = (await caller.post(f"/v{version}/embed", json=body)).json()
        assert answer["response_type"] == "embeddings_by_type"
        assert set(answer["embeddings"]) == {"float", "base64"}
        read = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in answer["embeddings"]["base64"]]
        assert np.array_equal(read, wanted)
        assert answer["texts"] == TEXTS
        assert answer["meta"]["api_version"] == {"version": version}
        assert answer["meta"]["billed_units"]["input_tokens"] > 0
        wrong = await caller.post(f"/v{version}/embed", json={**body, "embedding_types": ["int8"]})
        assert (wrong.status_code, "int8" in wrong.json()["message"]) == (400, True)
    assert (await caller.post("/v1/embed", json={"texts": TEXTS})).json()["response_type"] == (
        "embeddings_floats"
    )


async def test_usage_counts_the_tokens_that_the_model_read(
    caller: httpx.AsyncClient, first: Embedder
) -> None:
    tokenizer = first.tokenizer  # type: ignore[attr-defined]
    usage = (await caller.post("/v1/embeddings", json={"input": TEXTS})).json()["usage"]
    tokens = sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    assert usage == {"prompt_tokens": tokens, "total_tokens": tokens}
    long = (await caller.post("/v1/embeddings", json={"input": [LONG]})).json()["usage"]
    assert long["total_tokens"] == 32


async def test_a_large_answer_is_the_same_as_a_small_one(caller: httpx.AsyncClient, first: Embedder) -> None:
    texts = [f"text {number}" for number in range(600)]
    wanted = first.embed(texts)
    for path, key in PATHS.items():
        answer = await caller.post(path, json={key: texts})
        assert np.array_equal(np.asarray(vectors_in(path, answer.json()), dtype=np.float32), wanted)


@pytest.mark.parametrize("path", [*PATHS, "/v1/models", "/v1/models/first", "/info"])
async def test_errors_are_in_the_format_of_the_path(folders: list[Path], path: str) -> None:
    service = service_of(folders, api_key_hashes=(hashlib.sha256(KEY.encode()).hexdigest(),), max_documents=3)
    is_tei = path in ("/embed", "/", "/info")

    def shape(answer: httpx.Response) -> tuple[int, Any]:
        body = answer.json()
        if is_tei:
            assert set(body) == {"error", "error_type"}
            return answer.status_code, body["error_type"]
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["message"] == body["detail"] == body["error"]["message"]
        return answer.status_code, (body["error"]["type"], body["error"]["code"])

    async with app_client(service) as caller:
        method, key = ("GET", None) if path not in PATHS else ("POST", PATHS[path])
        body = None if key is None else {key: TEXTS}
        bare = await caller.request(method, path, json=body)
        assert shape(bare) == (
            401,
            "Unauthorized" if is_tei else ("invalid_request_error", "invalid_api_key"),
        )
        assert bare.headers["www-authenticate"] == "Bearer"
        caller.headers["Authorization"] = f"Bearer {KEY}"
        assert (await caller.request(method, path, json=body)).status_code == 200
        other = await caller.request("PATCH", path)
        if path != "/":  # other methods are those of Elasticsearch's own path
            assert shape(other)[0] == 405
            assert other.headers["allow"] == ("GET, HEAD" if path.startswith("/v1/models") else method)
        if key is None:
            return
        refused: list[tuple[int, dict[str, Any]]] = [
            (422 if is_tei else 400, {"content": b"{"}),
            (422 if is_tei else 400, {"content": b""}),
            (422 if is_tei else 400, {"json": []}),
            (413, {"json": {key: ["a"] * 4}}),
            (422 if is_tei else 400, {"json": {key: TEXTS}, "headers": {"X-Rerank-Timeout-Ms": "soon"}}),
        ]
        for status, request in refused:
            assert shape(await caller.post(path, **request))[0] == status
        late = await caller.post(path, json={key: TEXTS}, headers={"X-Rerank-Timeout-Ms": "1"})
        assert late.status_code == 200 or shape(late)[0] in (429, 504)


@pytest.mark.parametrize("path", PATHS)
async def test_the_models_are_not_there_yet(folders: list[Path], path: str) -> None:
    service = service_of(folders)
    async with app_client(service) as caller:
        service._models = None  # noqa: SLF001 as it is while they load
        answer = await caller.post(path, json={PATHS[path]: TEXTS})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "still loading" in message_in(answer.json())


class Failing:
    """An embedder of a user that fails, with what ``fault`` holds."""

    name, dims, fault = "failing", 4, EsRerankError("")

    def embed(self, texts: Any, *, purpose: str = "passage") -> Any:
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "status", "tei_status", "tei_type", "kind"),
    [
        (OverloadError("much waits", retry_after_s=7), 429, 429, "Overloaded", "requests"),
        (DeadlineError("it came"), 504, 504, "Backend", "server_error"),
        (ScoreError("not finite"), 500, 424, "Backend", "server_error"),
        (ValueError("secret text"), 500, 424, "Backend", "server_error"),
    ],
)
async def test_failures_of_a_model_are_told_in_the_format_of_the_path(
    folders: list[Path], fault: Exception, status: int, tei_status: int, tei_type: str, kind: str
) -> None:
    service = service_of(folders)
    load = service.load
    embedder = Failing()
    embedder.fault = fault  # type: ignore[assignment]
    service.load = lambda: (service_rerankers(load), embedder)
    async with app_client(service, raise_app_exceptions=False) as caller:
        for path, key in PATHS.items():
            answer = await caller.post(path, json={key: TEXTS})
            is_tei = path in ("/embed", "/")
            assert answer.status_code == (tei_status if is_tei else status)
            assert "secret" not in answer.text
            said = answer.json()["error_type"] if is_tei else answer.json()["error"]["type"]
            assert said == (tei_type if is_tei else kind)
            if status == 429:
                assert answer.headers["retry-after"] == "7"


async def test_a_users_own_embedder_answers(folders: list[Path]) -> None:
    service, own = service_of(folders), HashEmbedder()
    load = service.load
    service.load = lambda: (service_rerankers(load), {"own": own})
    async with app_client(service) as caller:
        for path, key in PATHS.items():
            answer = await caller.post(path, json={key: TEXTS, "truncate": False})
            assert np.allclose(vectors_in(path, answer.json()), own.embed(TEXTS))
            assert answer.headers["x-rerank-model"] == "own"
        about = (await caller.get("/info", params={"model": "own"})).json()
        assert (about["model_id"], "max_input_length" in about) == (own.name, False)


async def test_a_sidecar_without_an_embedder_says_so(folders: list[Path]) -> None:
    service = service_of(folders)
    load, service.load = service.load, lambda: (service_rerankers(load), None)
    async with app_client(service) as caller:
        for path, key in PATHS.items():
            answer = await caller.post(path, json={key: TEXTS})
            assert answer.status_code in (400, 422)
            assert "embedder" in message_in(answer.json())
        assert [each["type"] for each in (await caller.get("/v1/models")).json()["data"]] == ["rerank"]


def service_rerankers(load: Any) -> Any:
    rerankers, _ = load()
    return rerankers


async def test_large_answers_are_made_beside_the_event_loop(
    caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[bool] = []
    written = Embedded.written

    def noted(made: Embedded, encoding: Any) -> list[Any]:
        here.append(threading.current_thread() is loop)
        return written(made, encoding)

    loop = threading.current_thread()
    monkeypatch.setattr(Embedded, "written", noted)
    more = {"encoding_format": "base64", "embedding_types": ["base64"]}
    for path, key in PATHS.items():
        for options in ({}, more):
            body = {key: [f"text {number}" for number in range(40)], **options}
            assert (await caller.post(path, json=body)).status_code == 200
    assert here == [False] * 2 * len(PATHS)
    await caller.post("/embed", json={"inputs": "a"})
    assert here[-1]


async def test_the_models_are_listed_as_openai_lists_them(caller: httpx.AsyncClient) -> None:
    listed = (await caller.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [(each["id"], each["type"], each["max_model_len"]) for each in listed["data"]] == [
        ("tiny-cross-encoder", "rerank", 128),
        ("first", "embedding", 32),
        ("b", "embedding", 128),
    ]
    for each in listed["data"]:
        assert (each["object"], each["owned_by"]) == ("model", "es-rerank")
        assert isinstance(each["created"], int)
        assert (await caller.get(f"/v1/models/{each['id']}")).json() == each
    for path in ("/v1/models/other", "/v1/models/BAAI%2Fx", "/v1/models/BAAI/x"):
        unknown = await caller.get(path)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_info_tells_what_tei_tells(caller: httpx.AsyncClient) -> None:
    about = (await caller.get("/info")).json()
    assert (about["model_id"], "reranker" in about["model_type"]) == ("tiny-cross-encoder", True)
    assert about["served_by"] == "es-rerank"
    named = [("first", "first", 32), ("b", "BAAI/second", 128), ("BAAI/second", "BAAI/second", 128)]
    for name, own, length in named:
        told = (await caller.get("/info", params={"model": name})).json()
        assert told["model_type"] == {"embedding": {"pooling": "mean"}}
        assert (told["model_id"], told["max_input_length"], told["model_dtype"]) == (own, length, "float32")
        assert told["max_client_batch_size"] == 1_000
        assert told["max_batch_tokens"] >= length
        assert told["tokenization_workers"] == 2
        assert (told["auto_truncate"], told["model_sha"]) == (True, None)
        assert told["version"]
    unknown = await caller.get("/info", params={"model": "other"})
    assert (unknown.status_code, unknown.json()["error_type"]) == (422, "Validation")


async def test_health_is_about_the_models_and_not_about_elasticsearch(folders: list[Path]) -> None:
    service = service_of(folders, api_key_hashes=(hashlib.sha256(KEY.encode()).hexdigest(),))
    async with app_client(service) as caller:
        good = await caller.get("/health")  # nobody answers at the address of Elasticsearch
        assert (good.status_code, good.content) == (200, b"")
        assert (await caller.get("/readyz")).status_code == 503
        service.stopping = True
        assert (await caller.get("/health")).status_code == 503
        service.stopping = False
        service._models = None  # noqa: SLF001 as it is while they load
        loading = await caller.get("/health")
        assert loading.status_code == 503
        assert loading.json() == {"error": "the model is still loading", "error_type": "Unhealthy"}
        assert loading.headers["retry-after"] == "1"


async def test_the_sdk_of_openai_reads_all_of_it(caller: httpx.AsyncClient, second: Embedder) -> None:
    http: Any = caller
    async with openai.AsyncOpenAI(
        base_url="http://sidecar/v1", api_key="any", http_client=http, max_retries=0
    ) as client:
        for given in (TEXTS, TEXTS[0]):
            for options in ({}, {"encoding_format": "float"}, {"dimensions": 6, "user": "me"}):
                answer = await client.embeddings.create(model="b", input=given, **dict[str, Any](options))
                wanted = second.embed([given] if isinstance(given, str) else given)
                assert np.allclose([row.embedding for row in answer.data], wanted, atol=1e-7)
                assert [row.index for row in answer.data] == list(range(len(wanted)))
                assert (answer.model, answer.usage.total_tokens > 0) == ("b", True)
        assert [each.id async for each in client.models.list()] == ["tiny-cross-encoder", "first", "b"]
        assert (await client.models.retrieve("first")).owned_by == "es-rerank"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.models.retrieve("BAAI/other")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.embeddings.create(model="b", input=[[1, 2, 3]])
        assert (wrong.value.param, wrong.value.type) == ("input", "invalid_request_error")
