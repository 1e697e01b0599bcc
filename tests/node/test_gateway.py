"""The sidecar as a gateway: whose security decides, what goes through untouched, keys, inference,
licensed clusters.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER, fill
from elasticsearch import AsyncElasticsearch, AuthenticationException, AuthorizationException, Elasticsearch
from own_nodes import secured_node
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from tls import behind_tls

from es_rerank.models import Reranker
from es_rerank.node import Node
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def tree(**more: Any) -> dict[str, Any]:
    """A reranker over a fusion."""
    child = {
        "rrf": {
            "retrievers": [
                {"standard": {"query": {"match": {"text": QUESTION}}}},
                {"standard": {"query": {"match_all": {}}}},
            ]
        }
    }
    return {
        "text_similarity_reranker": {"retriever": child, "field": "text", "inference_text": QUESTION, **more}
    }


def service(url: str, reranker: Reranker | None = None, **more: Any) -> Service:
    chosen = reranker or WordOverlapReranker()
    return Service(
        AsyncElasticsearch(url, max_retries=0),
        lambda: ({chosen.name: chosen}, EMBEDDER),
        Limits(body_bytes=200_000),
        **more,
    )


async def caller_of(running: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with app_client(running, timeout=60) as client:
        yield client


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    async for client in caller_of(service(node.url, pass_through=True)):
        yield client


def test_https_with_a_ca_of_its_own(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(es, index)
    models = (tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder"))
    with behind_tls(node.url, tmp_path) as (url, ca):
        monkeypatch.setenv("ES_RERANK_ELASTICSEARCH_CA_CERTS", str(ca))
        with (
            sidecar(url, *models, tmp_path / "log", extra=["--pass-through"]) as (address, _),
            Elasticsearch(address) as through,
        ):
            assert through.search(index=index, retriever=tree())["rerank"]["status"] == "reranked"
            assert through.count(index=index) == es.count(index=index)


async def test_a_certificate_that_is_not_trusted(node: Node, index: str, tmp_path: Path) -> None:
    with behind_tls(node.url, tmp_path) as (url, _):
        async for caller in caller_of(service(url, pass_through=True)):
            for path, body in (
                (f"/{index}/_search", {"retriever": tree()}),
                (f"/{index}/_search", {"query": {"match_all": {}}}),
                (f"/{index}/_count", {}),
            ):
                answer = await caller.post(path, json=body)
                assert answer.status_code == 503, answer.text
                assert "ES_RERANK_ELASTICSEARCH_CA_CERTS" in answer.json()["error"]["reason"]


# --- whose security decides ---------------------------------------------------------------------------------

PASSWORD = "a-password-of-tests"
ROLES = """\
reader: {indices: [{names: [open-articles], privileges: [read]}]}
open: {indices: [{names: [open-articles], privileges: [read, view_index_metadata]}]}
"""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node of its own with Elasticsearch's security on, and three users of one password: elastic,
    reader and jo.
    """
    users = {"reader": "reader", "jo": "open"}
    with secured_node(tmp_path_factory.mktemp("secured") / "state", ROLES, users, PASSWORD) as node:
        yield node.start(heap_mb=512)


@pytest.fixture(scope="module")
def guarded(secured: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sidecar before the secured node, which holds one index that reader and jo may read,
    and one that they may not.
    """
    with Elasticsearch(secured, basic_auth=("elastic", PASSWORD), request_timeout=60) as root:
        for name in ("open-articles", "closed-articles"):
            fill(root, name)
        folder = tmp_path_factory.mktemp("models")
        models = (tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder"))
        with sidecar(secured, *models, folder / "log", extra=["--pass-through"]) as (address, _):
            yield address


def caller_as(address: str, name: str, password: str = PASSWORD) -> Elasticsearch:
    return Elasticsearch(address, basic_auth=(name, password), request_timeout=60)


def test_elasticsearchs_security_decides_who_sees_what(guarded: str) -> None:
    address = guarded
    with caller_as(address, "elastic") as everyone:
        assert len(everyone.search(index="closed-articles", retriever=tree())["hits"]["hits"]) == 5
    with caller_as(address, "reader") as reader:
        answer = reader.search(index="open-articles", retriever=tree())
        assert answer["rerank"]["status"] == "reranked", "the mapping may not be read, and need not be"
        stored = reader.search(index="open-articles", retriever=tree(field="passages.text"))
        assert all(hit["fields"]["rerank.passage"][0]["text"] for hit in stored["hits"]["hits"])
        searches: list[dict[str, Any]] = [
            {"retriever": tree()},
            {"query": {"match_all": {}}},
            {"retriever": {"rrf": {"query": "treaty"}}},
        ]
        for search in searches:
            with pytest.raises(AuthorizationException) as refused:
                reader.search(index="closed-articles", **search)
            assert refused.value.body["error"]["type"] == "security_exception"
        mixed = reader.search(
            index="open-articles,closed-articles", retriever=tree(), ignore_unavailable=True
        )
        assert {hit["_index"] for hit in mixed["hits"]["hits"]} == {"open-articles"}
        with pytest.raises(AuthorizationException):
            reader.indices.delete(index="open-articles")
    with Elasticsearch(address, request_timeout=60) as nobody:
        for search in searches[:2]:
            with pytest.raises(AuthenticationException):
                nobody.search(index="open-articles", **search)
    with caller_as(address, "elastic", "wrong") as stranger, pytest.raises(AuthenticationException):
        stranger.search(index="open-articles", retriever=tree())


def test_a_user_may_search_as_another_where_elasticsearch_lets_him(guarded: str) -> None:
    with caller_as(guarded, "elastic") as root:
        assert root.search(index="closed-articles", retriever=tree())["hits"]["hits"]
        as_jo = root.options(headers={"es-security-runas-user": "jo"})
        assert as_jo.search(index="open-articles", retriever=tree())["hits"]["hits"]
        with pytest.raises(AuthorizationException):
            as_jo.search(index="closed-articles", retriever=tree())


# --- through, untouched -------------------------------------------------------------------------------------


async def test_a_plain_search_is_elasticsearchs_answer_byte_for_byte(
    caller: httpx.AsyncClient, node: Node, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    elasticsearch = httpx.AsyncClient(base_url=node.url)
    body = '{ "query": {"match_all": {}},\n "sort": ["_doc"], "size": 2, "_source": ["title"] }'
    vendor = "application/vnd.elasticsearch+json; compatible-with=9"
    headers = {"content-type": vendor, "accept": vendor}
    for path in (
        f"/{index}/_search?filter_path=hits&pretty=true",
        f"/{index}/_search?format=yaml&filter_path=hits",
    ):
        for method in ("POST", "GET"):
            through = await caller.request(
                method,
                path,
                content=body,
                headers=headers if "yaml" not in path else {"content-type": "application/json"},
            )
            direct = await elasticsearch.request(
                method,
                path,
                content=body,
                headers=headers if "yaml" not in path else {"content-type": "application/json"},
            )
            assert (through.status_code, through.content, through.headers["content-type"]) == (
                200,
                direct.content,
                direct.headers["content-type"],
            )
            assert through.headers["x-elastic-product"] == "Elasticsearch"
    broken = "{ not json"
    through = await caller.post(
        f"/{index}/_search", content=broken, headers={"content-type": "application/json"}
    )
    direct = await elasticsearch.post(
        f"/{index}/_search", content=broken, headers={"content-type": "application/json"}
    )
    assert (through.status_code, through.json()) == (direct.status_code, direct.json())
    await elasticsearch.aclose()


async def test_other_paths_pass_through_when_asked_and_only_then(
    caller: httpx.AsyncClient, node: Node, es: Elasticsearch, index: str
) -> None:
    put = await caller.put(f"/{index}", json={"mappings": {"properties": {"t": {"type": "text"}}}})
    assert put.json()["acknowledged"] is True
    assert (await caller.head(f"/{index}")).status_code == 200
    assert (await caller.head(f"/{index}-absent")).status_code == 404
    lines = "".join(f'{{"index":{{"_id":"{i}"}}}}\n{{"t":"word {i}"}}\n' for i in range(50))
    bulk = await caller.post(
        f"/{index}/_bulk?refresh=true", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert (bulk.json()["errors"], len(bulk.json()["items"])) == (False, 50)
    assert (await caller.get(f"/{index}/_doc/7")).json()["_source"] == {"t": "word 7"}
    assert (await caller.get(f"/{index}/_doc/%2F%20absent")).json()["_id"] == "/ absent"
    assert (await caller.get("/_cat/indices?h=index&format=json")).status_code == 200
    assert (await caller.delete(f"/{index}/_doc/7")).json()["result"] == "deleted"
    async for closed in caller_of(service(node.url)):
        refused = await closed.get(f"/{index}/_doc/8")
        assert (refused.status_code, refused.json()["error"]["type"]) == (501, "not_implemented_exception")
        assert (
            f"no handler found for uri [/{index}/_doc/8] and method [GET]"
            in refused.json()["error"]["reason"]
        )
        assert (await closed.put(f"/{index}/_search", json={})).json()["status"] == 405
        assert (await closed.get(f"/{index}/_count")).status_code == 501
        assert (await closed.post(f"/{index}/_search", json={"query": {"match_all": {}}})).status_code == 200


def test_bodies_stream_both_ways(node: Node, es: Elasticsearch, index: str, tmp_path: Path) -> None:
    """A body many times the limit of searches goes in as it comes,
    and a long answer comes out as it is made.
    """
    es.indices.create(
        index=index, mappings={"properties": {"t": {"type": "keyword", "index": False, "doc_values": False}}}
    )
    sent: list[int] = []

    def lines() -> Iterator[bytes]:
        for number in range(400):
            sent.append(number)
            yield b'{"index":{}}\n{"t":"' + b"x" * 20_000 + b'"}\n'

    models = (tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder"))
    os.environ["ES_RERANK_MAX_BODY_BYTES"] = "100000"
    try:
        with sidecar(node.url, *models, tmp_path / "log", extra=["--pass-through"]) as (address, server):
            bulk = httpx.post(
                f"{address}/{index}/_bulk?refresh=true",
                content=lines(),
                headers={"content-type": "application/x-ndjson"},
                timeout=60,
            ).json()
            assert (bulk["errors"], len(bulk["items"]), len(sent)) == (False, 400, 400)
            plain = {"accept-encoding": "identity"}
            with httpx.stream(
                "POST", f"{address}/{index}/_search", json={"size": 400}, headers=plain, timeout=60
            ) as answer:
                chunks = answer.iter_raw()
                first = next(chunks)
                rest = sum(len(chunk) for chunk in chunks)
            assert len(first) < rest
            assert len(first) + rest > 8_000_000
            assert server.poll() is None
    finally:
        del os.environ["ES_RERANK_MAX_BODY_BYTES"]


async def test_an_elasticsearch_that_is_gone_is_a_503_on_every_path() -> None:
    async for caller in caller_of(service("http://127.0.0.1:9", pass_through=True)):
        for path, body in (
            ("/any/_search", {"query": {}}),
            ("/any/_search", {"retriever": tree()}),
            ("/any/_doc/1", {}),
            ("/any/_pit", {}),
        ):
            answer = await caller.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "unreachable_exception"), (
                path
            )


# --- searches over HTTP -------------------------------------------------------------------------------------


async def test_parameters_of_the_address_are_honoured_or_refused_by_name(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    search, body = f"/{index}/_search", {"retriever": tree()}
    shaped = await caller.post(
        f"{search}?size=2&from=1&_source=title&filter_path=hits.hits._source,hits.total&rest_total_hits_as_int=true&track_total_hits=true&explain=false&pretty",
        json=body,
    )
    assert shaped.status_code == 200, shaped.text
    assert (shaped.text.startswith('{\n  "hits"'), len(shaped.json()["hits"]["hits"])) == (True, 2)
    assert set(shaped.json()["hits"]["hits"][0]["_source"]) == {"title"}
    got = await caller.get(
        search, params={"source": json.dumps(body), "source_content_type": "application/json"}
    )
    assert got.json()["rerank"]["status"] == "reranked"
    cases = [
        (
            "bogus=1&scrol=2",
            (
                f"request [{search}] contains unrecognized parameters: "
                "[bogus], [scrol] -> did you mean [scroll]?"
            ),
        ),
        ("size=many", "Failed to parse int parameter [size] with value [many]"),
        (
            "explain=maybe",
            "Failed to parse value [maybe] as only [true] or [false] are allowed for [explain]",
        ),
        ("scroll=1m", "cannot specify [text_similarity_reranker] and [scroll]"),
        ("sort=year", "cannot specify [retriever] and [sort]"),
        ("q=moon", "cannot specify [retriever] and [query]"),
        (
            "size=11",
            (
                "[text_similarity_reranker] requires [rank_window_size: 10] "
                "be greater than or equal to [size: 11]"
            ),
        ),
    ]
    for query, message in cases:
        answer = await caller.post(f"{search}?{query}", json=body)
        assert (answer.status_code, message in answer.json()["error"]["reason"]) == (400, True), answer.text


async def test_msearch_over_http_answers_in_order(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    lines: list[dict[str, Any]] = [
        {},
        {"query": {"match_all": {}}},
        {"index": index},
        {"retriever": tree()},
        {},
        {"retriever": {"rrf": {}}},
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    vendor = "application/vnd.elasticsearch+x-ndjson; compatible-with=9"
    headers = {"content-type": vendor, "accept": "application/vnd.elasticsearch+json; compatible-with=9"}
    named = "".join(json.dumps(line or {"index": index}) + "\n" for line in lines)
    for path, body in ((f"/{index}/_msearch", content), ("/_msearch", named)):
        answers = (await caller.post(path, content=body, headers=headers)).json()["responses"]
        assert [answer["status"] for answer in answers] == [200, 200, 400]
        assert answers[1]["rerank"]["status"] == "reranked"
        assert (
            answers[2]["error"]["reason"]
            == "Validation Failed: 1: [rrf] must provide [retrievers] or [query];"
        )
    plain = "".join(json.dumps(line) + "\n" for line in lines[:2])
    assert (
        len((await caller.post(f"/{index}/_msearch", content=plain, headers=headers)).json()["responses"])
        == 1
    )
    unended = await caller.post(f"/{index}/_msearch", content=content.rstrip("\n"), headers=headers)
    assert (unended.status_code, "must be terminated by a newline" in unended.text) == (400, True)


async def test_points_in_time_open_and_close_through_the_gateway(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    pit = (await caller.post(f"/{index}/_pit?keep_alive=1m")).json()["id"]
    pages = [
        (
            await caller.post(
                "/_search", json={"retriever": tree(), "pit": {"id": pit}, "size": 2, "from": offset}
            )
        ).json()
        for offset in (0, 2, 4)
    ]
    assert len({hit["_id"] for page in pages for hit in page["hits"]["hits"]}) == 5
    assert all(page["pit_id"] for page in pages)
    assert (await caller.request("DELETE", "/_pit", json={"id": pit})).json() == {
        "succeeded": True,
        "num_freed": 1,
    }


async def test_a_vendor_media_type_is_answered_in_its_version(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    for version in (8, 9):
        vendor = f"application/vnd.elasticsearch+json; compatible-with={version}"
        answer = await caller.post(
            f"/{index}/_search",
            content=json.dumps({"retriever": tree()}),
            headers={"accept": vendor, "content-type": vendor},
        )
        assert (
            answer.headers["content-type"] == f"application/vnd.elasticsearch+json;compatible-with={version}"
        )


# --- inference and keys -------------------------------------------------------------------------------------


async def test_inference_endpoints_serve_the_models(caller: httpx.AsyncClient) -> None:
    task = {"query": QUESTION, "input": ["nothing", "who signed", QUESTION], "return_documents": True}
    rows = (await caller.post("/_inference/rerank/word-overlap", json=task)).json()["rerank"]
    assert [(row["index"], row["text"]) for row in rows] == [(2, QUESTION), (1, "who signed"), (0, "nothing")]
    assert [row["relevance_score"] for row in rows] == sorted(
        (row["relevance_score"] for row in rows), reverse=True
    )
    best = (
        await caller.post(
            "/_inference/rerank/.rerank-v1-elasticsearch",
            json={**task, "return_documents": False, "top_n": 1},
        )
    ).json()["rerank"]
    assert best == [{"index": 2, "relevance_score": rows[0]["relevance_score"]}]
    vectors = (
        await caller.post(f"/_inference/text_embedding/{EMBEDDER.name}", json={"input": "moon"})
    ).json()["text_embedding"]
    assert vectors == [{"embedding": EMBEDDER.embed(["moon"])[0].tolist()}]
    for path in ("/_inference/rerank/other", "/_inference/text_embedding/other"):
        unknown = await caller.post(
            path, json={"query": "q", "input": ["x"]} if "rerank" in path else {"input": ["x"]}
        )
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "resource_not_found_exception")


async def test_keys_of_the_sidecar_guard_models_and_never_searches(
    node: Node, es: Elasticsearch, index: str
) -> None:
    fill(es, index)
    task = {"query": "q", "input": ["x"]}
    guarded = {
        "/_inference/rerank/word-overlap": task,
        "/rerank": {"query": "q", "texts": ["x"]},
        "/rescore": {"query": "q", "response": {"hits": {"hits": []}}, "field": "t"},
    }
    async for caller in caller_of(
        service(node.url, api_key_hashes=(key_hash("one key"), key_hash("another")))
    ):
        for path, body in guarded.items():
            for scheme in ("Bearer", "ApiKey"):
                assert (
                    await caller.post(path, json=body, headers={"authorization": f"{scheme} another"})
                ).status_code == 200
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Basic another"},
                {"authorization": f"Bearer {key_hash('another')}"},
            ):
                refused = await caller.post(path, json=body, headers=headers)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
                assert "another" not in refused.text
        assert (await caller.post(f"/{index}/_search", json={"retriever": tree()})).status_code == 200


# --- licensed clusters --------------------------------------------------------------------------------------

TRICKY = ['who said "no"?', "line one\nline two\t\\", "谁签署了条约。«été» 🏰", '{"query": "${input}"}']


def put_bodies() -> dict[str, dict[str, Any]]:
    """Return the bodies of ``PUT _inference/rerank/...`` that the README documents, by service."""
    blocks = re.findall(r"```json\nPUT _inference/rerank/\S+\n(.*?)```", README, re.DOTALL)
    return {body["service"]: body for body in map(json.loads, blocks)}


def substituted(template: str, values: dict[str, str]) -> str:
    """Do what Elasticsearch's ``custom`` service does with its request: placeholders replaced by JSON,
    none left over.
    """
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], template)


def at(path: str, answer: Any) -> list[Any]:
    """Return what a path such as ``$.rerank[*].index`` finds."""
    name, _, key = path.removeprefix("$.").partition("[*].")
    return [row[key] for row in answer[name]]


async def test_a_custom_inference_service_can_point_here(node: Node) -> None:
    settings = put_bodies()["custom"]["service_settings"]
    async for caller in caller_of(service(node.url, api_key_hashes=(key_hash("the key"),))):
        headers = {
            name: value.replace("${api_key}", "the key") for name, value in settings["headers"].items()
        }
        path = "/" + settings["url"].split("/", 3)[3]
        for query in TRICKY:
            texts = [*TRICKY, query, "nothing to do with it"]
            body = substituted(
                settings["request"],
                {"query": json.dumps(query), "input": json.dumps(texts, ensure_ascii=False)},
            )
            answer = await caller.post(path, content=body.encode(), headers=headers)
            assert answer.status_code == 200, answer.text
            parser = settings["response"]["json_parser"]
            order, scores = (
                at(parser["reranked_index"], answer.json()),
                at(parser["relevance_score"], answer.json()),
            )
            assert sorted(order) == list(range(len(texts)))
            assert scores == sorted(scores, reverse=True)
            assert texts[order[0]] == query
        # Some versions put the query in as it is, without escaping it (RerankParameters):
        # that is no JSON, and is said so.
        unescaped = substituted(settings["request"], {"query": f'"{TRICKY[0]}"', "input": "[]"})
        answer = await caller.post(path, content=unescaped.encode(), headers=headers)
        assert (answer.status_code, "JSON" in answer.text) == (400, True)


async def test_a_hugging_face_inference_service_can_point_here(node: Node) -> None:
    settings = put_bodies()["hugging_face"]["service_settings"]
    async for caller in caller_of(service(node.url, api_key_hashes=(key_hash(settings["api_key"]),))):
        headers = {"authorization": f"Bearer {settings['api_key']}", "content-type": "application/json"}
        path = "/" + settings["url"].split("/", 3)[3]
        for query in TRICKY:
            texts = [*TRICKY, query, "nothing to do with it"]
            for more in ({}, {"return_text": True, "top_n": 2}):
                answer = await caller.post(
                    path,
                    content=json.dumps({"texts": texts, "query": query, **more}).encode(),
                    headers=headers,
                )
                rows = answer.json()
                assert answer.status_code == 200, answer.text
                assert texts[rows[0]["index"]] == query
                assert len(rows) == more.get("top_n", len(texts))
                assert all(
                    set(row) == ({"index", "score", "text"} if more else {"index", "score"}) for row in rows
                ), "unknown fields raise there"
