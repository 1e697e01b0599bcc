"""Never run, only type-checked: what a caller may write, and what the types say of it."""

from __future__ import annotations

from typing import Any, assert_type

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, helpers
from elasticsearch.dsl import Search

from es_rerank import (
    AsyncRerankClient,
    Embedder,
    EsRerankError,
    RerankClient,
    Reranker,
    assemble_prompt,
    load_embedder,
    load_reranker,
    passages_of,
)

plain = Elasticsearch("http://localhost:9200")
reranker: Reranker = load_reranker()
embedder: Embedder = load_embedder()
es = RerankClient(plain, reranker=reranker, embedder=embedder, timeout_s=None, elasticsearch_runs=["rrf"])
RerankClient(plain, reranker={"one": reranker, "two": reranker}, embedder={"one": embedder})

# It is an Elasticsearch client wherever one is asked for.
client: Elasticsearch = es
helpers.bulk(es, [])
Search[Any](using=es)
with es as entered:
    assert_type(entered, RerankClient)

assert_type(es.options(api_key="key", request_timeout=3.0), RerankClient)
assert_type(
    es.search(
        index="a",
        retriever={"rrf": {"retrievers": []}},
        size=3,
        from_=2,
        source=["title"],
        aggs={},
        routing="r",
    ),
    ObjectApiResponse[Any],
)
assert_type(
    es.search(index=["a", "b"], body={"query": {"match_all": {}}}, timeout_s=2.0), ObjectApiResponse[Any]
)
assert_type(es.msearch(searches=[{"index": "a"}, {"query": {"match_all": {}}}]), ObjectApiResponse[Any])
assert_type(
    es.rerank("q", index="a", first_stage="hybrid", window=20, filter={"term": {"year": 2020}}),
    ObjectApiResponse[Any],
)
assert_type(es.count(index="a"), ObjectApiResponse[Any])

prompt = assemble_prompt(
    "q",
    passages_of(es.rerank("q", index="a").body, ["title", "text"]),
    count=len,
    budget=1_000,
    most=5,
    order="ends",
)
assert_type(prompt.text, str)
assert_type(prompt.citations("[1]").unknown, tuple[int, ...])
assemble_prompt("q", [])  # type: ignore[call-arg]

es.rerank("q", index="a", first_stage="none")  # type: ignore[arg-type]
es.rerank("q")  # type: ignore[call-arg]
es.serach(index="a")  # type: ignore[attr-defined]
RerankClient(AsyncElasticsearch("http://localhost:9200"))  # type: ignore[arg-type]

try:
    es.search(index="a")
except EsRerankError as ours:
    assert_type(ours.message, str)
except ApiError as theirs:
    assert_type(theirs.status_code, int)


async def asynchronous() -> None:
    """The twin takes and gives the same."""
    twin = AsyncRerankClient(AsyncElasticsearch("http://localhost:9200"), reranker=reranker)
    client: AsyncElasticsearch = twin
    await helpers.async_bulk(client, [])
    assert_type(twin.options(opaque_id="x"), AsyncRerankClient)
    assert_type(await twin.search(index="a", retriever={}), ObjectApiResponse[Any])
    assert_type(await twin.msearch(searches=[]), ObjectApiResponse[Any])
    assert_type(await twin.rerank("q", index="a"), ObjectApiResponse[Any])
