"""LangChain's Elasticsearch store, retriever, caches and chat history, blocking and asynchronous."""

import json
from typing import Any
from urllib.request import Request, urlopen

from elasticsearch import Elasticsearch
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation
from langchain_elasticsearch import (
    ApproxRetrievalStrategy,
    AsyncDenseVectorStrategy,
    AsyncElasticsearchRetriever,
    AsyncElasticsearchStore,
    BM25RetrievalStrategy,
    BM25Strategy,
    DenseVectorStrategy,
    ElasticsearchCache,
    ElasticsearchChatMessageHistory,
    ElasticsearchEmbeddingsCache,
    ElasticsearchRetriever,
    ElasticsearchStore,
    ExactRetrievalStrategy,
)
from outcome import answer
from stores_told import (
    DOCUMENTS,
    GROUP,
    INDEX,
    QUESTION,
    URL,
    by_rank,
    half_the_words,
    reranked,
    vector,
    vector_made_there,
)


class Vectors(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return vector(text)


class VectorsOfTheSidecar(Embeddings):
    """Asks the sidecar's OpenAI-compatible path for vectors, at the address of Elasticsearch."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        asked = Request(
            f"{URL}/v1/embeddings",
            json.dumps({"input": texts, "model": "any"}).encode(),
            {"content-type": "application/json"},
        )
        with urlopen(asked) as answered:
            return [each["embedding"] for each in json.load(answered)["data"]]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


GREEN = [{"term": {"metadata.group.keyword": GROUP}}]
IDS, TEXTS, METADATA = (list(part) for part in zip(*DOCUMENTS, strict=True))


def store(strategy: Any = None, index: str = INDEX, **more: Any) -> ElasticsearchStore:
    strategy = strategy or DenseVectorStrategy(hybrid=True)
    return ElasticsearchStore(index, embedding=Vectors(), es_url=URL, strategy=strategy, **more)


def number(hit: dict[str, Any]) -> Document:
    return Document(page_content=hit["_id"], metadata={"score": hit["_score"], "index": hit["_index"]})


def page(hit: dict[str, Any]) -> Document:
    return Document(page_content=hit["_source"]["text"], metadata={"score": hit["_score"]})


def told(documents: list[Document]) -> Any:
    return [[document.page_content, document.metadata.get("score")] for document in documents]


def index() -> Any:
    added = store().add_texts(TEXTS, metadatas=METADATA, ids=IDS)
    again = store().add_documents([Document("a dog", metadata={"group": "late"})], ids=["late"])
    deleted = store().delete(ids=["late"])
    return {"added": added, "again": again, "deleted": deleted}


def hybrid() -> Any:
    return told(store().similarity_search(QUESTION, doc_builder=number))


def hybrid_documents() -> Any:
    found = store().similarity_search(QUESTION, k=2)
    return [[document.page_content, document.metadata] for document in found]


def hybrid_old_strategy() -> Any:
    old = ApproxRetrievalStrategy(hybrid=True)
    return told(store(old).similarity_search(QUESTION, doc_builder=number))


def hybrid_parameters() -> Any:
    chosen = DenseVectorStrategy(hybrid=True, rrf={"rank_constant": 3, "rank_window_size": 25})
    return told(store(chosen).similarity_search(QUESTION, k=8, doc_builder=number))


def hybrid_old_parameters() -> Any:
    chosen = ApproxRetrievalStrategy(hybrid=True, rrf={"rank_constant": 3, "window_size": 25})
    return told(store(chosen).similarity_search(QUESTION, k=8, doc_builder=number))


def hybrid_filtered() -> Any:
    return told(store().similarity_search(QUESTION, filter=GREEN, doc_builder=number))


def hybrid_candidates() -> Any:
    return told(store().similarity_search(QUESTION, k=3, fetch_k=10, doc_builder=number))


def hybrid_by_rank() -> Any:
    return told(store().similarity_search(QUESTION, custom_query=by_rank, doc_builder=number))


def hybrid_weighted() -> Any:
    return told(store().similarity_search(QUESTION, custom_query=half_the_words, doc_builder=number))


def hybrid_vector_made_there() -> Any:
    return told(store().similarity_search(QUESTION, custom_query=vector_made_there, doc_builder=number))


def hybrid_as_retriever() -> Any:
    found = store().as_retriever(search_kwargs={"k": 3, "doc_builder": number}).invoke(QUESTION)
    return told(found)


def hybrid_over_the_window() -> Any:
    return told(store().similarity_search(QUESTION, k=11, doc_builder=number))


async def hybrid_async() -> Any:
    twin = AsyncElasticsearchStore(
        INDEX, embedding=Vectors(), es_url=URL, strategy=AsyncDenseVectorStrategy(hybrid=True)
    )
    try:
        return told(await twin.asimilarity_search(QUESTION, filter=GREEN, doc_builder=number))
    finally:
        await twin.aclose()


def hybrid_with_vectors_of_the_sidecar() -> Any:
    other = ElasticsearchStore.from_texts(
        TEXTS,
        VectorsOfTheSidecar(),
        METADATA,
        index_name=f"{INDEX}-embedded",
        es_url=URL,
        strategy=DenseVectorStrategy(hybrid=True),
    )
    return told(other.similarity_search(QUESTION, doc_builder=page))


def retriever_reranked() -> Any:
    asked = ElasticsearchRetriever(INDEX, reranked, document_mapper=number, es_url=URL)
    return told(asked.invoke(QUESTION))


async def retriever_async() -> Any:
    asked = AsyncElasticsearchRetriever(INDEX, reranked, document_mapper=number, es_url=URL)
    try:
        return told(await asked.ainvoke(QUESTION))
    finally:
        await asked.client.close()


def hybrid_without_rrf() -> Any:
    return told(
        store(DenseVectorStrategy(hybrid=True, rrf=False)).similarity_search(QUESTION, doc_builder=number)
    )


def dense_with_score() -> Any:
    found = store(DenseVectorStrategy()).similarity_search_with_score(QUESTION, k=5, filter=GREEN)
    return [[document.page_content, score] for document, score in found]


def dense_by_vector() -> Any:
    plain = store(ApproxRetrievalStrategy())
    found = plain.similarity_search_by_vector_with_relevance_scores(vector(QUESTION), k=5)
    return [[document.page_content, score] for document, score in found]


def dense_diverse() -> Any:
    found = store(DenseVectorStrategy()).max_marginal_relevance_search(QUESTION, k=4, fetch_k=20)
    return told(found)


def exact() -> Any:
    return told(store(ExactRetrievalStrategy()).similarity_search(QUESTION, doc_builder=number))


def bm25() -> Any:
    other = store(BM25Strategy(k1=1.0, b=0.5), f"{INDEX}-bm25")
    other.add_texts(TEXTS, metadatas=METADATA, ids=IDS)
    found = other.similarity_search_with_score(QUESTION, k=5)
    old = store(BM25RetrievalStrategy(), f"{INDEX}-bm25").similarity_search(QUESTION, k=5)
    return [[[document.page_content, score] for document, score in found], told(old)]


def own_mappings() -> Any:
    other = store(
        index=f"{INDEX}-mapped",
        metadata_mappings={"number": {"type": "integer"}},
        custom_index_settings={"number_of_shards": 2},
        vector_query_field="near",
        query_field="words",
    )
    other.add_embeddings(
        [(text, vector(text)) for text in TEXTS], metadatas=METADATA, ids=IDS, bulk_kwargs={"chunk_size": 7}
    )
    low = [{"range": {"metadata.number": {"lt": 20}}}]
    found = other.similarity_search(QUESTION, filter=low, doc_builder=number)
    return told(found)


def caches() -> Any:
    texts = ElasticsearchCache(f"{INDEX}-cache", es_url=URL)
    missing = texts.lookup("prompt", "model")
    texts.update("prompt", "model", [Generation(text="said")])
    vectors = ElasticsearchEmbeddingsCache(f"{INDEX}-vectors", es_url=URL)
    vectors.mset([("a", b"\x01"), ("b", b"\x02")])
    with Elasticsearch(URL) as client:
        client.indices.refresh(index=f"{INDEX}-vectors")
    return {
        "missing": missing,
        "found": [each.text for each in texts.lookup("prompt", "model") or ()],
        "vectors": [None if each is None else each.hex() for each in vectors.mget(["a", "b", "c"])],
    }


def history() -> Any:
    talk = ElasticsearchChatMessageHistory(f"{INDEX}-talk", "one", es_url=URL)
    talk.add_messages([HumanMessage("who signed"), AIMessage("the king")])
    said = [message.content for message in talk.messages]
    talk.clear()
    return {"said": said, "cleared": [message.content for message in talk.messages]}


answer(
    index,
    hybrid,
    hybrid_documents,
    hybrid_old_strategy,
    hybrid_parameters,
    hybrid_old_parameters,
    hybrid_filtered,
    hybrid_candidates,
    hybrid_by_rank,
    hybrid_weighted,
    hybrid_vector_made_there,
    hybrid_as_retriever,
    hybrid_over_the_window,
    hybrid_async,
    hybrid_with_vectors_of_the_sidecar,
    retriever_reranked,
    retriever_async,
    hybrid_without_rrf,
    dense_with_score,
    dense_by_vector,
    dense_diverse,
    exact,
    bm25,
    own_mappings,
    caches,
    history,
)
