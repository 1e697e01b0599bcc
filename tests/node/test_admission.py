"""What is looked at before a body is read or parsed: its length, then the key;
and index names before they are a path.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from app_client import app_client
from corpus import EMBEDDER, fill
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch

from es_rerank import RerankClient
from es_rerank.node import Node
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.service import Limits, Service
from es_rerank.testing import WordOverlapReranker

LIMIT = 20_000
KEY = {"authorization": "Bearer the-key"}
QUESTION = "who signed the treaty"
MODEL_PATHS = ["/rerank", "/rescore", "/_inference/rerank/any", "/_inference/text_embedding/any"]
SEARCH_PATHS = ["/any/_search", "/_search", "/any/_msearch", "/_msearch", "/any/_pit"]
OTHER_SEARCH_PATHS = ["/any/_async_search", "/_search/template", "/_msearch/template", "/_query"]

JSON = {"content-type": "application/json"}


class Counting:
    """A body that counts how much of it was asked for."""

    def __init__(self, chunk: bytes, chunks: int) -> None:
        self.chunk, self.chunks, self.sent = chunk, chunks, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.chunks):
            self.sent += len(self.chunk)
            yield self.chunk


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A sidecar with a key; without the key, a request has no answer but 401 and 413."""
    model = WordOverlapReranker()
    limits = Limits(body_bytes=LIMIT)
    running = Service(
        AsyncElasticsearch(node.url, max_retries=0),
        lambda: ({model.name: model}, EMBEDDER),
        limits,
        (key_hash("the-key"),),
    )
    async with app_client(running, headers=JSON) as client:
        yield client


@pytest.mark.parametrize("path", [*MODEL_PATHS, *SEARCH_PATHS, *OTHER_SEARCH_PATHS])
async def test_a_body_that_says_it_is_too_long_is_not_read(caller: httpx.AsyncClient, path: str) -> None:
    body = Counting(b"x" * 1000, 100)
    answer = await caller.post(path, content=body, headers={"content-length": str(LIMIT + 1), **KEY})
    assert (answer.status_code, "max_body_bytes" in answer.text) == (413, True), answer.text
    assert body.sent == 0


@pytest.mark.parametrize("path", [*MODEL_PATHS, *SEARCH_PATHS, *OTHER_SEARCH_PATHS])
@pytest.mark.parametrize("chunk", [b"x" * 1000, b"[" * 1000])
async def test_a_body_without_a_length_is_read_up_to_the_limit(
    caller: httpx.AsyncClient, path: str, chunk: bytes
) -> None:
    body = Counting(chunk, 10_000)
    answer = await caller.post(path, content=body, headers=KEY)
    if chunk[:1] == b"[" and path in MODEL_PATHS:  # parsed in any case, so refused by its brackets
        assert answer.status_code in (400, 422)
        assert "levels of brackets" in answer.text
        assert body.sent <= 2 * len(chunk)
        return
    assert (answer.status_code, "max_body_bytes" in answer.text) == (413, True), answer.text
    assert body.sent <= LIMIT + 2 * len(chunk)


@pytest.mark.parametrize("path", MODEL_PATHS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer other"}, {"authorization": "Basic dGhlLWtleQ=="}, {"authorization": ""}],
)
async def test_without_the_key_nothing_is_read_or_parsed(
    caller: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    body = Counting(b"[" * 1000, 10)
    answer = await caller.post(path, content=body, headers={"content-type": "application/json", **headers})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), answer.text
    assert body.sent == 0
    too_long = await caller.post(path, content=b"x" * (LIMIT + 1), headers=headers)
    assert too_long.status_code == 413


@pytest.mark.parametrize("path", MODEL_PATHS)
@pytest.mark.parametrize(
    "data", [b"{", b"\xff\xfe", b"[" * 5000, b"", b"null", b"[]", b"1" * 5000, gzip.compress(b"{}")]
)
async def test_with_the_key_what_is_no_request_is_the_callers_fault(
    caller: httpx.AsyncClient, path: str, data: bytes
) -> None:
    answer = await caller.post(path, content=data, headers={"content-type": "application/json", **KEY})
    assert answer.status_code in (400, 422), answer.text
    assert "no handler found" not in answer.text


async def test_with_the_key_a_request_within_the_limit_is_served(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(
        "/rerank", json={"query": QUESTION, "texts": ["x" * 15_000, QUESTION]}, headers=KEY
    )
    assert [row["index"] for row in answer.json()] == [1, 0]
    in_parts = await caller.post(
        "/rerank",
        content=Counting(json.dumps({"query": "q", "texts": ["a"]}).encode(), 1),
        headers={**KEY, "content-type": "application/json"},
    )
    assert in_parts.status_code == 200, in_parts.text


# --- index names --------------------------------------------------------------------------------------------

TREE = {
    "rrf": {
        "retrievers": [
            {"standard": {"query": {"match_all": {}}}},
            {"standard": {"query": {"match": {"text": QUESTION}}}},
        ]
    }
}
RERANK = {"text_similarity_reranker": {"retriever": TREE, "field": "text", "inference_text": QUESTION}}


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.mark.parametrize(
    "written",
    [
        "INDEX/_flush",
        "../../_cluster/state",
        "_nodes",
        "_cluster/state",
        "_cat",
        "..",
        ".",
        "INDEX/../_nodes",
        "_all/_settings",
        "INDEX?x=1",
        "INDEX#x",
        "%2e%2e",
        "INDEX%2f_flush",
        "\\..\\_nodes",
        " ",
        "_nodes,INDEX",
    ],
)
async def test_no_index_name_reaches_another_path_of_elasticsearch(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str, written: str
) -> None:
    fill(es, index)
    flushed = es.indices.stats(index=index)["indices"][index]["total"]["flush"]["total"]
    header = {"index": written.replace("INDEX", index)}
    answer = await caller.post(
        "/_msearch",
        content=lines(header, {"retriever": RERANK}),
        headers={"content-type": "application/x-ndjson"},
    )
    (item,) = answer.json()["responses"]
    assert item["status"] in (400, 404), item
    direct = es.msearch(searches=[header, {"query": {"match_all": {}}}])["responses"][0]
    assert direct["status"] in (400, 404)
    assert es.indices.stats(index=index)["indices"][index]["total"]["flush"]["total"] == flushed
    by_parameter = await caller.post("/_msearch", params=header, content=lines({}, {"retriever": RERANK}))
    assert by_parameter.json()["responses"][0]["status"] in (400, 404)
    client = RerankClient(es, reranker=WordOverlapReranker())
    with pytest.raises(Exception, match=r"(?i)index|found") as caught:
        client.search(index=header["index"], retriever=RERANK)
    assert getattr(caught.value, "status_code", None) in (400, 404)


@pytest.mark.parametrize(
    "written", ["*", "_all", "INDEX,INDEX", "INDEX*", "<INDEX-{now/d}>,INDEX", "-nothing,INDEX"]
)
async def test_index_expressions_of_elasticsearch_still_work(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str, written: str
) -> None:
    fill(es, index)
    header = {"index": written.replace("INDEX", index), "ignore_unavailable": True}
    answer = await caller.post(
        "/_msearch",
        content=lines(header, {"retriever": RERANK}),
        headers={"content-type": "application/x-ndjson"},
    )
    (item,) = answer.json()["responses"]
    assert item["status"] == 200, item
    assert {f"a{number}" for number in range(5)} <= {hit["_id"] for hit in item["hits"]["hits"]}


@pytest.mark.parametrize(
    "key",
    [
        "self",
        "timeout_s",
        "body",
        "retriever",
        "searches",
        "source",
        "from",
        "size",
        "q",
        "scroll",
        "__class__",
        "x" * 1000,
        "",
    ],
)
async def test_a_header_of_msearch_holds_elasticsearchs_keys_alone(
    caller: httpx.AsyncClient, es: Elasticsearch, index: str, key: str
) -> None:
    fill(es, index)
    answer = await caller.post("/_msearch", content=lines({"index": index, key: "1"}, {"retriever": RERANK}))
    assert answer.status_code == 400, answer.text
    assert f"key [{key[:100]}] is not supported in the metadata section" in answer.json()["error"]["reason"]
    assert len(answer.text) < 2000
    client = RerankClient(es, reranker=WordOverlapReranker())
    with pytest.raises(BadRequestError, match="metadata section"):
        client.msearch(searches=[{"index": index, key: "1"}, {"retriever": RERANK}])


@pytest.mark.parametrize("value", [None, {"a": 1}, [["a"]], [None]])
async def test_an_index_in_a_header_is_a_name_or_a_list_of_names(
    caller: httpx.AsyncClient, value: Any
) -> None:
    answer = await caller.post("/_msearch", content=lines({"index": value}, {"retriever": RERANK}))
    assert (answer.status_code, "[index] in the metadata section" in answer.text) == (400, True), answer.text


@pytest.mark.parametrize(("value", "name"), [(5, "5"), ([1], "1"), (["absent"], "absent")])
@pytest.mark.parametrize("key", ["index", "indices"])
async def test_an_index_in_a_header_may_be_a_number_and_has_two_keys(
    caller: httpx.AsyncClient, key: str, value: Any, name: str
) -> None:
    answer = await caller.post("/_msearch", content=lines({key: value}, {"retriever": RERANK}))
    (item,) = answer.json()["responses"]
    assert (item["status"], item["error"]["index"]) == (404, name)
