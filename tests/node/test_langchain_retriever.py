"""LangChain's retriever, the real package, over a real Elasticsearch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from corpus import ARTICLES, EMBEDDER, AsyncOnly, Broken, Late, fill
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from pydantic import ValidationError

from es_rerank.client import AsyncRerankClient, RerankClient
from es_rerank.errors import IndexMismatchError, RequestError
from es_rerank.integrations.langchain import PartialAnswerWarning, RerankCompressor, RerankRetriever
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

QUESTION = "who signed the treaty"

TEXT = "The king signed the treaty."


@pytest.fixture
def client(es: Elasticsearch, index: str) -> RerankClient:
    fill(es, index)
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)


def test_a_retriever_returns_the_best_passages(client: RerankClient, index: str) -> None:
    hits = client.rerank(QUESTION, index=index, size=3)["hits"]["hits"]
    found = RerankRetriever(client=client, index=index, k=3).invoke(QUESTION)
    assert [document.id for document in found] == [hit["_id"] for hit in hits]
    for document, hit in zip(found, hits, strict=True):
        passage, (title, text, year) = (
            hit["fields"]["rerank.passage"][0],
            ARTICLES[int(hit["_id"].removeprefix("a"))],
        )
        assert document.page_content == passage["text"] == text[passage["start"] : passage["end"]]
        assert document.metadata == {
            "year": year,
            "title": title,
            "start": passage["start"],
            "end": passage["end"],
            "_index": index,
            "_id": hit["_id"],
            "_score": hit["_score"],
            "_status": "reranked",
        }


def test_a_retriever_hands_its_options_on(client: RerankClient, index: str) -> None:
    recent = {"range": {"metadata.year": {"gte": 2021}}}
    options: dict[str, Any] = {
        "first_stage": "bm25",
        "window": 4,
        "filter": recent,
        "field": ["title", "text"],
    }
    hits = client.rerank(QUESTION, index=index, size=2, **options)["hits"]["hits"]
    assert [
        (d.id, d.metadata["_score"])
        for d in RerankRetriever(client=client, index=index, k=2, **options).invoke(QUESTION)
    ] == [(hit["_id"], hit["_score"]) for hit in hits]
    assert {
        d.id for d in RerankRetriever(client=client, index=[index], filter=[recent]).invoke(QUESTION)
    } == {"a2", "a3", "a4"}
    assert len(RerankRetriever(client=client, index=index).invoke(QUESTION)) == 5
    with pytest.raises(IndexMismatchError, match=r"\[absent\]"):
        RerankRetriever(client=client, index=index, vector_field="absent").invoke(QUESTION)
    with pytest.raises(ValidationError, match="windows"):
        RerankRetriever(**{"client": client, "index": index, "windows": 4})  # noqa: PIE804 mypy would see it first


def test_a_retriever_on_someones_own_index(client: RerankClient, es: Elasticsearch, index: str) -> None:
    own = f"{index}-own"
    vectors = {name: {"type": "dense_vector", "dims": EMBEDDER.dims} for name in ("embedding", "other")}
    settings = {"index.mapping.exclude_source_vectors": False, "number_of_replicas": 0}
    es.indices.create(
        index=own, settings=settings, mappings={"properties": {"abstract": {"type": "text"}, **vectors}}
    )
    vector = EMBEDDER.embed([TEXT])[0].tolist()
    source = {
        "abstract": TEXT,
        "notes": {"en": ["a", "b"]},
        "page": 7,
        "ratings": [1, 2],
        "embedding": vector,
        "other": vector,
    }
    es.index(index=own, id="one", document=source, refresh=True)
    options: dict[str, Any] = {
        "client": client,
        "index": own,
        "field": "abstract",
        "vector_field": "embedding",
    }
    (read,) = RerankRetriever(**options).invoke(QUESTION)
    assert read.page_content == TEXT
    assert {name: value for name, value in read.metadata.items() if name[0] != "_"} == {
        "page": 7,
        "ratings": [1, 2],
        "notes": {"en": ["a", "b"]},
    }
    failing = {**options, "client": RerankClient(es, reranker=Broken(), embedder=EMBEDDER)}
    contents: list[tuple[str | None, str]] = [(None, TEXT), ("notes.en", "a\nb"), ("absent", "")]
    for field, content in contents:
        with pytest.warns(PartialAnswerWarning):
            (document,) = RerankRetriever(**failing, content_field=field).invoke(QUESTION)
        assert document.page_content == content


def test_a_retriever_marks_what_was_not_reranked(client: RerankClient, es: Elasticsearch, index: str) -> None:
    options: dict[str, Any] = {"index": index, "first_stage": "bm25", "k": 3}
    failing = RerankRetriever(client=RerankClient(es, reranker=Broken(), embedder=EMBEDDER), **options)
    with pytest.warns(
        PartialAnswerWarning, match="that of the first stage, not reranked: the reranker failed"
    ):
        broken = failing.invoke(QUESTION)
    assert {document.metadata["_status"] for document in broken} == {"first_stage"}
    assert all("the reranker failed" in document.metadata["_reason"] for document in broken)
    assert [document.page_content for document in broken] == [
        ARTICLES[int((document.id or "").removeprefix("a"))][1] for document in broken
    ]
    slow = RerankRetriever(client=RerankClient(es, reranker=Late(reached=1), embedder=EMBEDDER), **options)
    with pytest.warns(PartialAnswerWarning, match="the answer is partial: the deadline came"):
        late = slow.invoke(QUESTION)
    assert [(document.metadata["_status"], document.metadata["_score"] is None) for document in late] == [
        ("partial", False),
        ("partial", True),
        ("partial", True),
    ]


def test_a_retriever_says_that_shards_failed_even_where_nothing_was_found(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    """One of two indices has vectors of another length, and nothing in the other matches the filter."""
    other = f"{index}-other"
    vector = {"type": "dense_vector", "dims": EMBEDDER.dims * 2}
    nested = {"type": "nested", "properties": {"vector": vector, "text": {"type": "text"}}}
    es.indices.create(index=other, mappings={"properties": {"passages": nested, "kind": {"type": "keyword"}}})
    passages = [{"text": "x", "vector": [1.0] * EMBEDDER.dims * 2}]
    es.index(index=other, document={"passages": passages, "kind": "other"}, refresh=True)
    retriever = RerankRetriever(
        client=client,
        index=[index, other],
        first_stage="knn",
        vector_field="passages.vector",
        field="passages.text",
        filter={"term": {"kind": "other"}},
    )
    with pytest.warns(PartialAnswerWarning, match="the answer is partial"):
        assert retriever.invoke(QUESTION) == []


async def test_an_async_retriever_warns_too(node: Node, client: RerankClient, index: str) -> None:
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=Broken(), embedder=EMBEDDER)
        with pytest.warns(PartialAnswerWarning):
            (first, *_) = await RerankRetriever(client=client, async_client=twin, index=index).ainvoke(
                QUESTION
            )
    assert first.metadata["_status"] == "first_stage"


async def test_a_retriever_awaits_the_async_client_or_lends_a_thread(
    client: RerankClient, node: Node, index: str
) -> None:
    expected = RerankRetriever(client=client, index=index).invoke(QUESTION)
    assert await RerankRetriever(client=client, index=index).ainvoke(QUESTION) == expected
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=AsyncOnly(), embedder=EMBEDDER)
        retriever = RerankRetriever(client=client, async_client=twin, index=index)
        assert await retriever.ainvoke(QUESTION) == expected
        assert retriever.invoke(QUESTION) == expected


async def test_a_retriever_and_a_compressor_stand_in_a_chain(client: RerankClient, index: str) -> None:
    compressor = RerankCompressor(reranker=WordOverlapReranker(), top_n=2)
    retriever = RerankRetriever(client=client, index=index)
    question: RunnableLambda[dict[str, str], str] = RunnableLambda(lambda given: given["question"])
    kept: RunnableLambda[list[Document], list[Document]] = RunnableLambda(
        lambda found: list(compressor.compress_documents(found, QUESTION))
    )
    texts: RunnableLambda[list[Document], str] = RunnableLambda(
        lambda found: "\n".join(document.page_content for document in found)
    )
    chain = question | retriever | kept | texts
    expected = "\n".join(
        d.page_content for d in compressor.compress_documents(retriever.invoke(QUESTION), QUESTION)
    )
    assert chain.invoke({"question": QUESTION}) == await chain.ainvoke({"question": QUESTION}) == expected
    assert expected.count("\n") == 1
    assert retriever.batch([QUESTION, "cats sleep"])[1][0].page_content == "Cats sleep."


def test_langchains_observers_see_documents_and_errors(client: RerankClient, index: str) -> None:
    class Observer(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_retriever_end(self, documents: Sequence[Document], **more: Any) -> None:
            self.seen.append([document.id for document in documents])

        def on_retriever_error(self, error: BaseException, **more: Any) -> None:
            self.seen.append(isinstance(error, RequestError))

    observer = Observer()
    retriever = RerankRetriever(client=client, index=index, k=1)
    retriever.invoke(QUESTION, config={"callbacks": [observer]})
    with pytest.raises(RequestError, match="query is empty"):
        retriever.invoke(" ", config={"callbacks": [observer]})
    assert observer.seen == [["a2"], True]
