"""Only Elasticsearch is taken for Elasticsearch, by library, sidecar, command line and probe."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch, Elasticsearch, UnsupportedProductError
from rerank_services import Host
from retriever_bodies import LEAF, reranker, rrf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from es_rerank import RerankClient
from es_rerank.addresses import resolved
from es_rerank.cli.connection import connect
from es_rerank.errors import SettingsError, UnreachableError
from es_rerank.node import address, doctor
from es_rerank.node.probe import probe
from es_rerank.settings import Settings
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker

SENTENCE = "is not Elasticsearch: its answers lack the header X-Elastic-Product"
HEADER = {"X-Elastic-Product": "Elasticsearch"}


def anything(answer: Response) -> Starlette:
    """A server that gives one answer to every request."""

    async def serve(request: Request) -> Response:
        return answer

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", serve, methods=methods)])


def elasticsearch(version: dict[str, Any] | None = None, status: int = 200) -> Starlette:
    """An Elasticsearch that tells its version, and answers ``status`` to what serverless does not have."""

    async def serve(request: Request) -> Response:
        if request.url.path == "/" and version is not None:
            return JSONResponse({"version": version}, headers=HEADER)
        if request.url.path.startswith(("/_cluster", "/_nodes", "/_license")):
            return JSONResponse({"status": "green"} if status == 200 else {"error": "gone"}, status, HEADER)
        hits = {"hits": {"hits": [], "total": {"value": 0, "relation": "eq"}}, "timed_out": False}
        return JSONResponse(hits, headers=HEADER)

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET", "HEAD", "POST", "DELETE"])])


@pytest.fixture(params=["json", "page", "missing"])
def stranger(request: pytest.FixtureRequest, host: Host) -> str:
    """The address of a server that is not Elasticsearch."""
    host.app = anything(
        {
            "json": JSONResponse({"hits": {"hits": []}, "status": "green"}),
            "page": Response("<h1>Welcome</h1>", media_type="text/html"),
            "missing": Response("nothing here", 404),
        }[request.param]
    )
    return host.url


async def sidecar(url: str, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    models = {"word-overlap": WordOverlapReranker()}
    service = Service(AsyncElasticsearch(url, max_retries=0), lambda: (models, HashEmbedder()), **more)
    async with app_client(service) as client:
        yield client


# --- a server that is not Elasticsearch ---------------------------------------------------------------------


def test_the_command_line_and_the_probe_refuse_it(stranger: str, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=SENTENCE):
        connect(stranger, Settings())
    with pytest.raises(UnreachableError, match=SENTENCE):
        probe(stranger)
    first = doctor(tmp_path, stranger).checks[0]
    assert (first.status, SENTENCE in first.found) == ("fail", True)


@pytest.mark.parametrize("tree", [rrf(LEAF, LEAF), reranker(), {"standard": {"query": {"match_all": {}}}}])
def test_the_library_refuses_its_answers(host: Host, tree: dict[str, Any]) -> None:
    for answer in (JSONResponse({"hits": {"hits": []}}), Response("<h1>hello</h1>", media_type="text/html")):
        host.app = anything(answer)
        with Elasticsearch(host.url, max_retries=0) as plain:
            client = RerankClient(plain, reranker=WordOverlapReranker(), embedder=HashEmbedder())
            with pytest.raises(UnsupportedProductError, match="the server is not Elasticsearch"):
                client.search(index="articles", retriever=tree)


async def test_the_sidecar_is_not_ready(stranger: str) -> None:
    async for caller in sidecar(stranger):
        for _ in range(2):
            ready = await caller.get("/readyz")
            assert (ready.status_code, SENTENCE in ready.text) == (503, True), ready.text


async def test_the_gateway_gives_no_answer_of_another_server(host: Host) -> None:
    for answer in (JSONResponse({"hits": {"hits": []}}), Response("<h1>hello</h1>", media_type="text/html")):
        host.app = anything(answer)
        async for caller in sidecar(host.url, pass_through=True):
            lines = b'{}\n{"retriever": {"rrf": {"query": "q"}}}\n'
            for method, path, content in (
                ("POST", "/a/_search", b'{"query": {"match_all": {}}}'),
                ("POST", "/a/_search", b'{"retriever": {"rrf": {"query": "q"}}}'),
                ("POST", "/a/_pit", b""),
                ("POST", "/a/_msearch", b'{}\n{"query": {"match_all": {}}}\n'),
                ("POST", "/_msearch", lines),
                ("GET", "/_cat/indices", b""),
                ("PUT", "/a/_doc/1", b"{}"),
                ("GET", "/", b""),
            ):
                said = await caller.request(
                    method, path, content=content, headers={"content-type": "application/json"}
                )
                assert said.status_code in (200, 503), path
                assert SENTENCE in said.text, path
                if path != "/_msearch":
                    assert said.json()["error"]["type"] == "unreachable_exception"
            assert (await caller.head("/a")).status_code == 503


@pytest.mark.parametrize("status", [401, 403, 413, 429, 502])
async def test_what_a_server_in_front_of_elasticsearch_says_is_passed_on(host: Host, status: int) -> None:
    host.app = anything(Response("said by a proxy", status, media_type="text/plain"))
    async for caller in sidecar(host.url):
        said = await caller.post("/a/_search", json={"query": {"match_all": {}}})
        assert (said.status_code, said.text) == (status, "said by a proxy")
        ready = await caller.get("/readyz")
        assert ready.status_code == (503 if status in {429, 502} else 200)


# --- serverless, and old versions ---------------------------------------------------------------------------


def test_serverless_is_elasticsearch_without_a_version(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.app = elasticsearch({"number": "8.11.0", "build_flavor": "serverless"}, status=410)
    assert probe(host.url).version is None
    connect(host.url, Settings()).close()
    assert capsys.readouterr().err == ""


async def test_an_old_version_is_told_by_command_doctor_and_readiness(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    host.app = elasticsearch({"number": "8.19.2", "build_flavor": "default"})
    sentence = "this is Elasticsearch 8.19.2, and es-rerank supports 9.1 and later"
    connect(host.url, Settings()).close()
    assert sentence in capsys.readouterr().err
    first = doctor(tmp_path, host.url).checks[0]
    assert (first.status, sentence in first.found) == ("warn", True)
    async for caller in sidecar(host.url):
        ready = (await caller.get("/readyz")).json()
        assert (ready["status"], ready["warnings"][0].startswith(sentence)) == ("ready", True)


@pytest.mark.parametrize("version", [{"number": "9.1.0", "build_flavor": "default"}, None])
async def test_a_supported_or_unknown_version_needs_no_word(
    host: Host, capsys: pytest.CaptureFixture[str], version: dict[str, Any] | None
) -> None:
    host.app = elasticsearch(version)
    connect(host.url, Settings()).close()
    assert capsys.readouterr().err == ""
    async for caller in sidecar(host.url):
        assert (await caller.get("/readyz")).json() == {"status": "ready"}


# --- a Cloud ID as an address -------------------------------------------------------------------------------


def cloud_id(content: str) -> str:
    return f"my-deployment:{b64encode(content.encode()).decode()}"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (cloud_id("eu-west-1.aws.found.io$es123$kb456"), "https://es123.eu-west-1.aws.found.io:443"),
        (cloud_id("eu-west-1.aws.found.io:9243$es123$"), "https://es123.eu-west-1.aws.found.io:9243"),
        (cloud_id("example.org$es123"), "https://es123.example.org:443"),
        ("http://localhost:9200", "http://localhost:9200"),
    ],
)
def test_a_cloud_id_is_an_address(given: str, url: str, tmp_path: Path) -> None:
    assert resolved(given) == url
    assert address(given, tmp_path) == url


@pytest.mark.parametrize("given", ["localhost:9200", cloud_id("no-dollar"), "name:!!!", "user:cGFzc3dvcmQ="])
def test_what_is_neither_a_url_nor_a_cloud_id_is_refused(given: str, tmp_path: Path) -> None:
    assert resolved(given) == given
    with pytest.raises(SettingsError, match="is not a URL such as http://localhost:9200"):
        address(given, tmp_path)


@pytest.mark.parametrize(
    "url", ["http://localhost:9200/#a", "http://localhost:9200?a=b", "http://h:9200/es#"]
)
def test_an_address_behind_which_no_path_can_stand_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"may hold no \[\?\] and no \[#\]"):
        address(url, tmp_path)
