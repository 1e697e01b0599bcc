"""Whether Elasticsearch, an index or a document is there: never a silent no."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import fill
from elasticsearch import ApiError, Elasticsearch
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.serve import build_service
from es_rerank.node import Node
from es_rerank.settings import Settings


@pytest.fixture(scope="module")
def address(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    with sidecar(node.url, *models, folder / "log") as (url, _):
        yield url


@pytest.fixture
def official(address: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(address, request_timeout=30, max_retries=0) as client:
        yield client


def test_an_index_exists_or_not_as_elasticsearch_says(
    official: Elasticsearch, es: Elasticsearch, index: str
) -> None:
    for name in (index, f"{index}*", "_all", f"{index},{index}"):
        assert bool(official.indices.exists(index=name)) == bool(es.indices.exists(index=name))
    fill(es, index)
    assert official.indices.exists(index=index)
    assert not official.indices.exists(index=f"{index}-other")
    es.indices.put_alias(index=index, name=f"{index}-alias")
    assert official.indices.exists(index=f"{index}-alias")
    assert official.indices.exists(index=f"{index},no-such-index", ignore_unavailable=True)
    assert not official.indices.exists(index=f"{index},no-such-index")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_elasticsearch_answers_who_it_is(
    address: str, node: Node, official: Elasticsearch, es: Elasticsearch, method: str
) -> None:
    """The tests' own distribution has no page there, and says so: its answer comes through,
    whatever it is.
    """
    through, direct = httpx.request(method, address), httpx.request(method, node.url)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert through.status_code != 501
    assert official.ping() == es.ping()


# Everything else that a client reads a 404 of as "there is none", and raises nothing.
ASKED: list[tuple[str, Any]] = [
    ("exists", lambda client, name: client.exists(index=name, id="a0")),
    ("exists_source", lambda client, name: client.exists_source(index=name, id="a0")),
    ("get", lambda client, name: client.options(ignore_status=404).get(index=name, id="a0")),
    ("delete", lambda client, name: client.options(ignore_status=404).delete(index=name, id="a0")),
    ("indices.get", lambda client, name: client.options(ignore_status=404).indices.get(index=name)),
    ("indices.exists_alias", lambda client, name: client.indices.exists_alias(index=name, name="alias")),
    ("indices.exists_index_template", lambda client, _: client.indices.exists_index_template(name="logs")),
    (
        "cluster.exists_component_template",
        lambda client, _: client.cluster.exists_component_template(name="logs@mappings"),
    ),
    ("count", lambda client, name: client.options(ignore_status=404).count(index=name)),
    ("get_script", lambda client, _: client.options(ignore_status=404).get_script(id="x")),
]


@pytest.mark.parametrize(("name", "ask"), ASKED, ids=[name for name, _ in ASKED])
def test_what_is_not_served_is_never_taken_for_what_is_not_there(
    official: Elasticsearch, es: Elasticsearch, index: str, name: str, ask: Any
) -> None:
    fill(es, index)
    assert name
    with pytest.raises(ApiError) as caught:
        ask(official, index)
    assert caught.value.status_code == 501
    assert es.exists(index=index, id="a0")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/articles", "/_nodes", "/articles/_doc/1", "/_cat/indices", "/robots.txt", "/v1/unknown"]
)
def test_a_path_that_is_not_served_says_so(address: str, method: str, path: str) -> None:
    answer = httpx.request(method, address + path)
    if (method, path.count("/")) == ("HEAD", 1) and not path.startswith("/_"):
        assert answer.status_code == 404  # Elasticsearch's own answer
        return
    assert answer.status_code == 501
    if method != "HEAD":
        assert "--pass-through" in answer.json()["error"]["reason"]
        assert answer.json()["error"]["type"] == "not_implemented_exception"


def test_an_index_with_the_name_of_a_path_may_be_looked_for(official: Elasticsearch, address: str) -> None:
    for name in ("metrics", "info", "rescore", "rerank", "embed", "embeddings", "health"):
        assert not official.indices.exists(index=name)
        assert httpx.head(f"{address}/{name}").status_code == 404


def test_a_method_that_a_served_path_does_not_take_is_405(address: str) -> None:
    for method, path in (
        ("GET", "/rescore"),
        ("DELETE", "/rerank"),
        ("PUT", "/embed"),
        ("POST", "/health"),
        ("PUT", "/_search"),
    ):
        assert httpx.request(method, address + path).status_code == 405


async def test_the_sidecars_own_names_may_be_those_of_indices(
    node: Node, es: Elasticsearch, tmp_path: Path
) -> None:
    reranker, embedder = tiny_cross_encoder(tmp_path / "r"), tiny_bi_encoder(tmp_path / "e")
    settings = Settings(reranker=str(reranker), embedder=str(embedder), pass_through=True, log_requests=False)
    service = build_service(settings, node.url)
    names = ("health", "embed")
    es.options(ignore_status=404).indices.delete(index=",".join(names))
    async with app_client(service) as caller:
        try:
            for name in names:
                assert (await caller.head(f"/{name}")).status_code == 404
                assert (await caller.put(f"/{name}", json={})).status_code == 200
                assert (await caller.put(f"/{name}", json={})).json()["status"] == 400  # as it is there
                assert (await caller.head(f"/{name}")).status_code == 200
                assert (await caller.post(f"/{name}/_search", json={})).json()["hits"]["hits"] == []
                assert name in (await caller.get(f"/{name}/_mapping")).json()
            assert "embed" in (await caller.get("/embed")).json()
            assert (await caller.get("/health")).content == b""
            assert len((await caller.post("/embed", json={"inputs": ["a", "b"]})).json()) == 2
        finally:
            for name in names:
                assert (await caller.delete(f"/{name}")).status_code == 200


@pytest.mark.parametrize("path", ["/..", "/%2e%2e", "/."])
def test_no_folder_is_taken_for_an_index(address: str, path: str) -> None:
    import http.client  # noqa: PLC0415 httpx would resolve the path itself
    from urllib.parse import urlsplit  # noqa: PLC0415

    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("HEAD", path)
    assert connection.getresponse().status == 400
    connection.close()
