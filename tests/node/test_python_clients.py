"""The clients under everything that the official package builds on a client: helpers, the DSL,
the vector store.
"""

from __future__ import annotations

from typing import Any

import pytest
from corpus import EMBEDDER
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch, helpers
from elasticsearch.dsl import AsyncSearch, Document, Q, Search, mapped_field
from elasticsearch.dsl import Text as TextField
from elasticsearch.helpers.vectorstore import DenseVectorStrategy, EmbeddingService, VectorStore

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.errors import RequestError
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

TEXTS = [
    "the king signed the treaty",
    "a dog barks at the moon",
    "who signed it is unknown",
    "the queen signed the treaty at night",
    "stones lie on the road",
]
METADATA = [
    {"page": page, "source": {"kind": "book" if page % 2 else "letter"}, "read": f"2024-0{page + 1}-03"}
    for page in range(len(TEXTS))
]
QUESTION = "who signed the treaty"


class HashService(EmbeddingService):
    """The tests' embedder, as the vector store wants one."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = EMBEDDER.embed(texts).tolist()
        return vectors

    def embed_query(self, query: str) -> list[float]:
        return self.embed_documents([query])[0]


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)


@pytest.fixture
def store(client: RerankClient, index: str) -> VectorStore:
    strategy = DenseVectorStrategy(hybrid=True, rrf={"rank_window_size": 10, "rank_constant": 5})
    store = VectorStore(
        client,
        index=index,
        retrieval_strategy=strategy,
        embedding_service=HashService(),
        num_dimensions=EMBEDDER.dims,
    )
    store.add_texts(TEXTS, metadatas=METADATA, ids=[f"t{page}" for page in range(len(TEXTS))])
    return store


def hybrid(**more: Any) -> dict[str, Any]:
    match = {"standard": {"query": {"match": {"text_field": QUESTION}}}}
    near = {
        "knn": {
            "field": "vector_field",
            "k": 5,
            "num_candidates": 10,
            "query_vector_builder": {"text_embedding": {"model_text": QUESTION}},
        }
    }
    return {"rrf": {"retrievers": [match, near], **more}}


def reranked(**more: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {
            "retriever": hybrid(),
            "field": "text_field",
            "inference_text": QUESTION,
            **more,
        }
    }


def test_the_vector_stores_hybrid_search_runs_on_a_basic_licence(
    store: VectorStore, client: RerankClient, es: Elasticsearch, index: str
) -> None:
    hits = store.search(query=QUESTION, k=5)
    same = client.search(index=index, retriever=hybrid(rank_constant=5), size=5)["hits"]["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in hits] == [(hit["_id"], hit["_score"]) for hit in same]
    plain = VectorStore(
        es, index=index, retrieval_strategy=store.retrieval_strategy, embedding_service=HashService()
    )
    with pytest.raises(BadRequestError, match="rrf"):
        plain.search(query=QUESTION, k=3)


@pytest.mark.parametrize(
    ("condition", "pages"),
    [
        ({"range": {"metadata.page": {"gte": 2}}}, {2, 3, 4}),
        ({"range": {"metadata.read": {"gte": "2024-02-01", "lt": "2024-04-01"}}}, {1, 2}),
        ({"term": {"metadata.source.kind.keyword": "letter"}}, {0, 2, 4}),
        ([{"term": {"metadata.source.kind.keyword": "book"}}, {"range": {"metadata.page": {"lt": 3}}}], {1}),
        ({"bool": {"must_not": {"terms": {"metadata.page": [0, 1]}}}}, {2, 3, 4}),
    ],
    ids=["number", "date", "nested metadata", "several", "negated"],
)
def test_metadata_filters_mean_what_they_say_in_every_form(
    store: VectorStore, client: RerankClient, index: str, condition: Any, pages: set[int]
) -> None:
    """Numbers are compared as numbers and dates as dates, wherever in the tree the filter stands."""

    def found(answer: Any) -> set[int]:
        return {hit["_source"]["metadata"]["page"] for hit in answer["hits"]["hits"]}

    assert found(client.search(index=index, retriever=reranked(filter=condition))) == pages
    assert found(client.search(index=index, retriever=hybrid(filter=condition))) == pages
    short = client.rerank(
        QUESTION,
        index=index,
        field="text_field",
        first_stage="hybrid",
        vector_field="vector_field",
        filter=condition,
    )
    assert found(short) == pages
    assert short["rerank"]["status"] == "reranked"
    listed = condition if isinstance(condition, list) else [condition]
    assert {
        hit["_source"]["metadata"]["page"] for hit in store.search(query=QUESTION, filter=listed, k=5)
    } == pages


def test_the_dsl_searches_through_the_client(store: VectorStore, client: RerankClient, index: str) -> None:
    answer = client.search(index=index, retriever=reranked(), size=3)
    search = (
        Search[Any](using=client, index=index).extra(retriever=reranked(), size=3).highlight("text_field")
    )
    search.aggs.metric("latest", "max", field="metadata.page")
    response = search.execute()
    assert [hit.meta.id for hit in response] == [hit["_id"] for hit in answer["hits"]["hits"]]
    assert [hit.meta.score for hit in response] == [hit["_score"] for hit in answer["hits"]["hits"]]
    assert response.aggregations.latest.value == 4
    assert "<em>signed</em>" in response[0].meta.highlight.text_field[0]
    assert response.hits.total.value == 5  # type: ignore[attr-defined]
    assert [
        hit.meta.id for hit in Search[Any](using=client, index=index).query(Q("match", text_field="moon"))
    ] == ["t1"]


def test_a_dsl_document_is_saved_and_found(client: RerankClient, es: Elasticsearch, index: str) -> None:
    class Article(Document):
        title: str = mapped_field(TextField())

    Article.init(index=index, using=client)
    Article(title="the treaty of the king").save(using=client, index=index, refresh=True)
    tree = {"rrf": {"retrievers": [{"standard": {"query": {"match": {"title": "treaty"}}}}]}}
    found = Article.search(using=client, index=index).extra(retriever=tree).execute()
    assert [hit.title for hit in found] == ["the treaty of the king"]


async def test_the_async_dsl_searches_through_the_async_client(
    store: VectorStore, client: RerankClient, node: Node, index: str
) -> None:
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=WordOverlapReranker(), embedder=EMBEDDER)
        response = (
            await AsyncSearch[Any](using=twin, index=index).extra(retriever=reranked(), size=3).execute()
        )
        assert [hit.meta.id for hit in response] == [
            hit["_id"] for hit in client.search(index=index, retriever=reranked(), size=3)["hits"]["hits"]
        ]
        scanned = [
            hit["_id"]
            async for hit in helpers.async_scan(
                twin, index=index, query={"query": {"match": {"text_field": "moon"}}}
            )
        ]
        assert scanned == ["t1"]


def test_helpers_take_the_client_for_an_elasticsearch_client(client: RerankClient, index: str) -> None:
    assert isinstance(client, Elasticsearch)
    done, errors = helpers.bulk(
        client, ({"_index": index, "_id": str(n), "text": f"moon {n}"} for n in range(30)), refresh=True
    )
    assert (done, errors) == (30, [])
    assert len(list(helpers.scan(client, index=index, size=7))) == 30
    assert client.options(opaque_id="mine").search(index=index, retriever={"rrf": {"query": "moon"}})["hits"][
        "hits"
    ]


def test_every_search_looks_at_the_mapping(client: RerankClient, store: VectorStore, index: str) -> None:
    looking = (client, client, client.options(request_timeout=5), client.options(headers={"x": "1"}))
    blocks = [each.search(index=index, retriever=reranked())["rerank"] for each in looking]
    assert [block["requests"] for block in blocks] == [6] * 4
    assert all("mapping" in block["milliseconds"] for block in blocks)


def test_query_parameters_reach_every_kind_of_search(
    client: RerankClient, store: VectorStore, index: str
) -> None:
    near = {
        "knn": {
            "field": "vector_field",
            "k": 2,
            "query_vector_builder": {"text_embedding": {"model_text": QUESTION}},
        }
    }
    for tree in (near, hybrid(), reranked()):
        answer = client.search(
            index=index,
            retriever=tree,
            source_includes=["metadata.page"],
            filter_path=["hits.hits._source"],
            size=1,
        )
        assert list(answer) == ["hits"]
        assert list(answer["hits"]["hits"][0]["_source"]) == ["metadata"]
        assert list(answer["hits"]["hits"][0]["_source"]["metadata"]) == ["page"]


def test_a_search_has_its_own_deadline(client: RerankClient, store: VectorStore, index: str) -> None:
    searches: list[dict[str, Any]] = [{}, {"retriever": reranked()}]
    assert client.msearch(searches=searches, index=index, timeout_s=5)["responses"][0]["status"] == 200
    with pytest.raises(RequestError, match="leaves no time"):
        RerankClient(client, timeout_s=-1)


def test_the_callers_own_body_is_left_alone(client: RerankClient, store: VectorStore, index: str) -> None:
    body = {"retriever": reranked(), "size": 2, "aggs": {"pages": {"max": {"field": "metadata.page"}}}}
    before = repr(body)
    client.search(index=index, body=body)
    client.msearch(searches=[{"index": index}, body])
    assert repr(body) == before
