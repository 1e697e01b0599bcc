"""The sidecar: a real process behind the official client, and its error shapes in this one."""

from __future__ import annotations

import gzip
import json
import re
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import httpx
import pytest
from app_client import app_client
from corpus import ARTICLES, EMBEDDER, Broken, Late, fill
from elastic_transport import AiohttpHttpNode, HttpHeaders, TransportError
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch, NotFoundError
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.errors import ModelFolderError
from es_rerank.models import Reranker
from es_rerank.models.load import local_reranker
from es_rerank.node import Node
from es_rerank.retrievers.response.inside_answer import warnings_in
from es_rerank.scores import logistic, ranked
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"

JSON = {"content-type": "application/json"}


def body(**changes: Any) -> dict[str, Any]:
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": QUESTION,
            **changes,
        }
    }


# --- a real process, the official client --------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture(scope="module")
def address(node: Node, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sidecar(node.url, *models, tmp_path_factory.mktemp("log") / "sidecar.log") as (url, _):
        yield url


@pytest.fixture
def official(address: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(address, request_timeout=30, max_retries=0) as client:
        yield client


def test_the_official_client_searches_through_the_sidecar(
    official: Elasticsearch, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    answer = official.search(index=index, retriever=body(), size=3)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert answer["rerank"]["status"] == "reranked"
    assert answer["rerank"]["model"].startswith("tiny")
    assert answer["hits"]["total"] == {"value": len(ARTICLES), "relation": "eq"}


def test_a_search_that_needs_no_reranker_is_elasticsearchs(
    official: Elasticsearch, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    searches: list[dict[str, Any]] = [
        {"query": {"match": {"text": "moon"}}},
        {"retriever": {"standard": {"query": {"match": {"text": "moon"}}}}},
    ]
    for search in searches:
        assert (
            official.search(index=index, **search).body["hits"]
            == es.search(index=index, **search).body["hits"]
        )
    assert official.search(index=index, q="text:moon", preference="_local")["hits"]["total"]["value"] == 1


def test_elasticsearchs_errors_keep_body_and_status(
    official: Elasticsearch, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    searches: list[dict[str, Any]] = [
        {"index": "no-such-index", "retriever": body()},
        {"index": index, "query": {"nonsense": {}}},
    ]
    for search in searches:
        with pytest.raises((NotFoundError, BadRequestError)) as through:
            official.search(**search)
        if "query" in search:
            with pytest.raises(BadRequestError) as direct:
                es.search(**search)
            assert (through.value.status_code, through.value.body) == (
                direct.value.status_code,
                direct.value.body,
            )
        else:
            assert through.value.error == "index_not_found_exception"


def test_our_errors_have_elasticsearchs_shape(official: Elasticsearch, es: Elasticsearch, index: str) -> None:
    fill(es, index)
    with pytest.raises(BadRequestError) as caught:
        official.search(index=index, retriever=body(rank_widow=3))
    assert caught.value.error == "x_content_parse_exception"
    assert "unknown field [rank_widow]" in caught.value.body["error"]["reason"]
    with pytest.raises(NotFoundError, match=r"\[other\] is not served here"):
        official.search(index=index, retriever=body(inference_id="other"))


def test_the_documentation_page_needs_no_network(address: str) -> None:
    page = httpx.get(f"{address}/_rerank/docs").text
    assert httpx.get(address + re.findall(r'src="(/[^"]+)"', page)[0]).status_code == 200
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")
    assert {"/{index}/_search", "/rescore", "/rerank", "/healthz", "/readyz"} <= set(
        httpx.get(f"{address}/_rerank/openapi.json").json()["paths"]
    )


def test_a_sidecar_killed_in_the_middle_of_a_request(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    """The caller gets a clear error, the index is unchanged,
    and a sidecar started again on the same port serves.
    """
    long = [("Long", "word " * 20_000, 2000)] * 40
    fill(es, index, long)
    before = es.indices.stats(index=index)["indices"][index]["primaries"]
    failures: list[Exception] = []
    with sidecar(node.url, *models, tmp_path / "first.log") as (url, process):
        caller = Elasticsearch(url, request_timeout=120, max_retries=0)
        request = threading.Thread(target=lambda: failures.append(_failure(caller, index)))
        asked = _searches(es, index)
        request.start()
        while _searches(es, index) == asked:  # the first stage was asked: scoring has begun
            assert request.is_alive()
        process.send_signal(signal.SIGKILL)
        request.join(timeout=60)
    assert isinstance(failures[0], TransportError), failures
    after = es.indices.stats(index=index)["indices"][index]["primaries"]
    assert (after["docs"], after["indexing"]["index_total"]) == (
        before["docs"],
        before["indexing"]["index_total"],
    )
    port = int(url.rsplit(":", 1)[1])
    with sidecar(node.url, *models, tmp_path / "second.log", port) as (again, _):
        assert again == url
        answer = Elasticsearch(again, request_timeout=120).search(
            index=index, retriever=body(rank_window_size=1), size=1
        )
        assert answer["rerank"]["status"] == "reranked"
        assert answer["hits"]["hits"][0]["fields"][
            "rerank.passage"
        ]  # a text longer than the window is read in parts
        assert answer["rerank"]["truncated"] == 0


def _failure(caller: Elasticsearch, index: str) -> Exception:
    try:
        caller.options(headers={"x-rerank-timeout-ms": "100000"}).search(
            index=index, retriever=body(rank_window_size=40), size=1
        )
    except Exception as error:  # noqa: BLE001 whatever the caller sees is the result
        return error
    return AssertionError("the search was answered before the sidecar was killed")


def _searches(es: Elasticsearch, index: str) -> int:
    total: int = es.indices.stats(index=index, metric="search")["indices"][index]["total"]["search"][
        "query_total"
    ]
    return total


def test_sigterm_ends_the_sidecar_cleanly(node: Node, models: tuple[Path, Path], tmp_path: Path) -> None:
    with sidecar(node.url, *models, tmp_path / "log") as (_, process):
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_several_models_are_served_by_name(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each scores as it does alone, whichever way it is named, at the same time as the others."""
    fill(es, index)
    folders = {
        "tiny-cross-encoder": models[0],
        "two": tiny_cross_encoder(tmp_path / "two", seed=2, labels=2),
        "narrow": tiny_cross_encoder(tmp_path / "n", 3),
    }
    texts = [text for _, text, _ in ARTICLES]
    expected = {}
    for name, folder in folders.items():
        with local_reranker(folder) as alone:
            expected[name] = alone.score(QUESTION, texts).values
    extra = [option for name in ("two", "narrow") for option in ("--reranker", f"{name}={folders[name]}")]
    with (
        sidecar(node.url, *models, tmp_path / "log", extra=extra) as (url, _),
        Elasticsearch(url) as official,
        ThreadPoolExecutor() as threads,
    ):
        asked = list(threads.map(lambda name: _tei_logits(url, name, texts), [*folders, *folders]))
        assert asked == [expected[name].tolist() for name in (*folders, *folders)]
        assert _tei_logits(url, None, texts) == expected["tiny-cross-encoder"].tolist()
        for name in folders:
            rows = official.inference.inference(
                task_type="rerank", inference_id=name, input=texts, query=QUESTION
            )["rerank"]
            assert [row["index"] for row in rows] == ranked(expected[name])
            found = official.search(index=index, retriever=body(inference_id=name))
            assert found["rerank"]["model"] == name
            assert [hit["_id"] for hit in found["hits"]["hits"]] == [f"a{i}" for i in ranked(expected[name])]
            rescored = httpx.post(
                f"{url}/rescore",
                json={"query": QUESTION, "response": found.body, "field": "text", "inference_id": name},
            ).json()
            assert [hit["_id"] for hit in rescored["hits"]["hits"]] == [
                hit["_id"] for hit in found["hits"]["hits"]
            ]
            assert official.inference.get(inference_id=name)["endpoints"][0]["task_type"] == "rerank"
        assert [each["inference_id"] for each in official.inference.get()["endpoints"]] == [
            *folders,
            "tiny-bi-encoder",
        ]
        with pytest.raises(NotFoundError, match="is not served here"):
            official.search(index=index, retriever=body(inference_id="four"))
        with pytest.raises(NotFoundError, match="is not served here"):
            official.inference.get(inference_id="four")
        unknown = httpx.post(f"{url}/rerank", params={"model": "four"}, json={"query": "q", "texts": ["x"]})
        assert (unknown.status_code, unknown.json()["error_type"]) == (422, "Validation")


def _tei_logits(url: str, model: str | None, texts: list[str]) -> list[float]:
    rows = httpx.post(
        f"{url}/rerank",
        params={"model": model} if model else {},
        json={"query": QUESTION, "texts": texts, "raw_scores": True},
        timeout=60,
    ).json()
    return [row["score"] for row in sorted(rows, key=lambda row: row["index"])]


# --- dialects and faults, in this process -------------------------------------------------------------------


def service(node: Node, reranker: Reranker, limits: Limits | None = None) -> Service:
    return Service(
        AsyncElasticsearch(node.url, max_retries=0),
        lambda: ({reranker.name: reranker}, EMBEDDER),
        limits or Limits(),
    )


async def caller_of(running: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with app_client(running, headers=JSON) as client:
        yield client


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async for client in caller_of(
        service(node, WordOverlapReranker(), Limits(body_bytes=20_000, documents=50))
    ):
        yield client


async def test_rescore_reorders_a_response_and_keeps_the_rest(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    found = es.search(
        index=index, query={"match_all": {}}, aggs={"y": {"max": {"field": "metadata.year"}}}
    ).body
    answer = (
        await caller.post("/rescore", json={"query": QUESTION, "response": found, "field": "text"})
    ).json()
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["hits"][0]["_id"] == "a2"
    assert {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]} == {
        hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]
    }
    assert answer["aggregations"] == found["aggregations"]
    assert answer["hits"]["total"] == found["hits"]["total"]
    nested = (
        await caller.post(
            "/rescore", json={"query": "cats sleep", "response": found, "field": ["title", "passages.text"]}
        )
    ).json()
    assert nested["hits"]["hits"][0]["fields"]["rerank.passage"][0]["text"] == "Cats sleep."


async def test_rescore_says_what_is_wrong(caller: httpx.AsyncClient) -> None:
    empty = {"hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}
    assert (await caller.post("/rescore", json={"query": "q", "response": empty, "field": "text"})).json()[
        "hits"
    ]["hits"] == []
    cases = [
        ({"query": "q", "response": {}, "field": "t"}, "not an Elasticsearch search response"),
        (
            {"query": "q", "response": {"hits": {"hits": [{"_id": "1", "_source": {}}]}}, "field": "t"},
            "no hit of [response] carries text in [t]",
        ),
        ({"query": "", "response": empty, "field": "t"}, "[query]"),
        ({"response": empty, "field": "t"}, "[query] field required"),
        ({"query": "q", "response": empty, "field": "t", "feild": 1}, "[feild]"),
    ]
    for request, message in cases:
        answer = await caller.post("/rescore", json=request)
        assert (answer.status_code, message in answer.json()["error"]["reason"]) == (400, True), answer.text


async def test_tei_rerank_orders_and_scores(caller: httpx.AsyncClient) -> None:
    texts = ["nothing at all", "the treaty was signed", QUESTION]
    answer = await caller.post("/rerank", json={"query": QUESTION, "texts": texts, "return_text": True})
    rows = answer.json()
    assert [row["index"] for row in rows] == [2, 1, 0]
    assert [row["text"] for row in rows] == [texts[row["index"]] for row in rows]
    raw = (await caller.post("/rerank", json={"query": QUESTION, "texts": texts, "raw_scores": True})).json()
    assert [row["score"] for row in rows] == pytest.approx(logistic([row["score"] for row in raw]).tolist())
    assert set(raw[0]) == {"index", "score"}


async def test_rerank_paths_say_that_a_model_does_not_read_a_script(node: Node) -> None:
    class LatinOnly(WordOverlapReranker):
        scripts = ("Latin",)

    async for caller in caller_of(service(node, LatinOnly("english"))):
        for path, texts in (("/rerank", "texts"), ("/_inference/rerank/english", "input")):
            asked = await caller.post(path, json={"query": "who", texts: ["one", "二"]})
            assert asked.status_code == 200
            (said,) = warnings_in(asked.headers["warning"])
            assert "the model [english] was not trained on texts in Han script" in said
            assert "warning" not in (await caller.post(path, json={"query": "who", texts: ["one"]})).headers
        assert (await caller.get("/info")).json()["scripts"] == ["Latin"]


async def test_tei_says_which_texts_were_cut(node: Node, tmp_path: Path) -> None:
    with local_reranker(tiny_cross_encoder(tmp_path, max_length=16)) as model:
        async for caller in caller_of(service(node, model)):
            answer = await caller.post(
                "/rerank",
                json={
                    "query": "q",
                    "texts": ["short", "much too long for it", "no", "much too long as well"],
                    "truncate": True,
                },
            )
            assert (answer.headers["x-rerank-truncated"], answer.headers["x-rerank-truncated-at"]) == (
                "2",
                "1,3",
            )
            whole = await caller.post("/rerank", json={"query": "q", "texts": ["short"]})
            assert (whole.headers["x-rerank-truncated"], "x-rerank-truncated-at" in whole.headers) == (
                "0",
                False,
            )


async def test_tei_errors_have_teis_shape(caller: httpx.AsyncClient) -> None:
    cases = [
        ({"query": "q", "texts": []}, 422, "Validation"),
        ({"query": "q"}, 422, "Validation"),
        ({"query": "", "texts": ["x"]}, 422, "Validation"),
        ({"query": "q", "texts": ["x"] * 51}, 413, "Validation"),
        ({"query": "q", "texts": ["x"], "top_k": "many"}, 422, "Validation"),
    ]
    for request, status, kind in cases:
        answer = await caller.post("/rerank", json=request)
        assert (answer.status_code, answer.json()["error_type"]) == (status, kind), answer.text


async def test_a_broken_model_is_a_backend_error(node: Node) -> None:
    class Breaks(WordOverlapReranker):
        def score(self, query: str, passages: Any, *, deadline: float | None = None) -> Any:
            if query == "ready":
                return super().score(query, passages)
            raise ModelFolderError("the graph is gone")

    async for caller in caller_of(service(node, Breaks())):
        answer = await caller.post("/rerank", json={"query": "q", "texts": ["x"]})
        assert (answer.status_code, answer.json()) == (
            424,
            {"error": "the graph is gone", "error_type": "Backend"},
        )
    async for caller in caller_of(service(node, Late(reached=1))):
        assert (await caller.post("/rerank", json={"query": "q", "texts": ["x", "y"]})).status_code == 504


async def test_bodies_are_bounded_and_understood(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    search = f"/{index}/_search"
    plain = json.dumps({"retriever": body()}).encode()
    compressed = await caller.post(search, content=gzip.compress(plain), headers={"content-encoding": "gzip"})
    assert compressed.json()["hits"]["hits"][0]["_id"] == "a2"
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b'["retriever"]', {}, 400, "must be a JSON object"),
        (b'{"retriever"', {}, 400, "not JSON"),
        (b" " * 20_001, {}, 413, "max_body_bytes"),
        (gzip.compress(b" " * 20_001), {"content-encoding": "gzip"}, 413, "when decompressed"),
        (b"plain", {"content-encoding": "gzip"}, 400, "not gzip"),
        (plain, {"x-rerank-timeout-ms": "soon"}, 400, "positive number of milliseconds"),
    ]
    for content, headers, status, message in cases:
        answer = await caller.post(search, content=content, headers=headers)
        assert (answer.status_code, message in answer.text) == (status, True), answer.text
    unknown = await caller.post(f"{search}?scroll=1m", content=plain)
    assert (unknown.status_code, "[scroll]" in unknown.text) == (400, True)
    sized = await caller.post(f"{search}?size=1", content=plain)
    assert len(sized.json()["hits"]["hits"]) == 1


async def test_each_fault_of_a_search_has_its_status_and_its_sentence(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    es.indices.create(index=index, mappings={"properties": {"content": {"type": "text"}}})
    es.index(index=index, document={"content": "a document"}, refresh=True)
    builder = {"text_embedding": {"model_text": QUESTION}}
    knn = {"knn": {"field": "vector", "k": 3, "num_candidates": 3, "query_vector_builder": builder}}
    cases = [
        ("no-such-index", body(), 404, "no such index [no-such-index]"),
        (
            index,
            body(field="content", retriever=knn),
            400,
            f"index [{index}] has no field [vector]; its vector fields are: none",
        ),
        (index, body(), 400, f"index [{index}] has no field [text]; its text fields are: content"),
        (index, body(field="content", inference_text=""), 400, "[inference_text]"),
        (
            f"{index}",
            {**body(field="content"), "rrf": {}},
            400,
            "malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]",
        ),
    ]
    for name, tree, status, message in cases:
        answer = await caller.post(f"/{name}/_search", json={"retriever": tree})
        error = answer.json()["error"]
        assert (answer.status_code, message in error["reason"]) == (status, True), answer.text
        assert error["root_cause"][0]["reason"] == error["reason"]


async def test_vendor_media_types_are_answered_in_kind(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    vendor = "application/vnd.elasticsearch+json; compatible-with=9"
    answer = await caller.post(
        f"/{index}/_search", json={"retriever": body()}, headers={"accept": vendor, "content-type": vendor}
    )
    assert answer.headers["content-type"].startswith("application/vnd.elasticsearch+json")
    assert answer.headers["x-elastic-product"] == "Elasticsearch"


async def test_health_and_readiness_differ(node: Node) -> None:
    gone = Service(
        AsyncElasticsearch("http://127.0.0.1:9", max_retries=0),
        lambda: ({"word-overlap": WordOverlapReranker()}, None),
    )
    async with app_client(gone) as caller:
        assert (await caller.get("/healthz")).status_code == 200
        ready = await caller.get("/readyz")
        assert ready.status_code == 503
        assert any("Elasticsearch does not answer" in reason for reason in ready.json()["reasons"])
        while len((await caller.get("/readyz")).json()["reasons"]) > 1:
            pass
        search = await caller.post("/any/_search", json={"retriever": body()})
        assert (search.status_code, search.json()["error"]["type"]) == (503, "unreachable_exception")


async def test_a_model_that_does_not_load_is_named_by_readiness(node: Node) -> None:
    def load() -> Any:
        raise ModelFolderError("/models/gone is not there")

    async with app_client(Service(AsyncElasticsearch(node.url), load)) as caller:
        reasons = (await caller.get("/readyz")).json()["reasons"]
        assert reasons == ["/models/gone is not there"]
        answer = await caller.post("/rerank", json={"query": "q", "texts": ["x"]})
        assert (answer.status_code, "/models/gone" in answer.text) == (424, True)


class UnreachableNode(AiohttpHttpNode):
    """A node that nobody reaches; ``sent`` has the headers of each request to it."""

    sent: ClassVar[list[dict[str, str]]] = []

    # The class above it declares it without async, and overrides it with async.
    async def perform_request(  # type: ignore[override]
        self, *_: Any, headers: HttpHeaders | None = None, **__: Any
    ) -> NoReturn:
        self.sent.append(dict(headers or {}))
        raise TransportError("nobody is there")


async def test_callers_credentials_go_to_elasticsearch_and_no_others() -> None:
    elasticsearch = AsyncElasticsearch("http://127.0.0.1:9", node_class=UnreachableNode, max_retries=0)
    running = Service(elasticsearch, lambda: ({"word-overlap": WordOverlapReranker()}, EMBEDDER))
    await running.start()
    one, other, none = (
        running.client({"authorization": "ApiKey abc"}),
        running.client({"authorization": "ApiKey xyz"}),
        running.client({}),
    )
    assert one is running.client({"authorization": "ApiKey abc"})
    assert len({id(one), id(other), id(none)}) == 3
    for client in (one, none):
        with pytest.raises(TransportError, match="nobody is there"):
            await client.msearch(searches=[{}, {"query": {"match_all": {}}}])
    with_credentials, without = UnreachableNode.sent
    assert with_credentials["authorization"] == "ApiKey abc"
    assert "authorization" not in without
    made = {number: running.client({"authorization": f"ApiKey {number}"}) for number in range(300)}
    # From the newest on, so that a client that is made anew displaces none that is still to be asked for.
    kept = [
        number
        for number in reversed(made)
        if running.client({"authorization": f"ApiKey {number}"}) is made[number]
    ]
    assert kept == list(range(299, 299 - 256, -1))
    await running.close()


async def test_an_unexpected_failure_is_a_500_without_details(
    node: Node, es: Elasticsearch, index: str
) -> None:
    class BreaksLater(Broken):
        async def ascore(self, query: str, passages: Any, *, deadline: float | None = None) -> Any:
            if query == "ready":
                return await WordOverlapReranker().ascore(query, passages)
            raise RuntimeError("secret detail")

    fill(es, index)
    async with app_client(service(node, BreaksLater()), raise_app_exceptions=False) as caller:
        answer = await caller.post(f"/{index}/_search", json={"retriever": body()})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        allowed = await caller.post(f"/{index}/_search", json={"retriever": body(allow_rerank_failures=True)})
        assert allowed.json()["rerank"]["status"] == "first_stage"
