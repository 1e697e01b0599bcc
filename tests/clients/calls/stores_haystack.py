"""Haystack's Elasticsearch document store and its retrievers, blocking and asynchronous."""

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.elasticsearch import (
    ElasticsearchBM25Retriever,
    ElasticsearchEmbeddingRetriever,
    ElasticsearchHybridRetriever,
    ElasticsearchInferenceHybridRetriever,
)
from haystack_integrations.document_stores.elasticsearch import ElasticsearchDocumentStore
from outcome import answer
from stores_told import DOCUMENTS, GROUP, INDEX, OTHER_GROUP, QUESTION, URL, vector

GREEN = {"field": "meta.group", "operator": "==", "value": GROUP}
LOW = {
    "operator": "AND",
    "conditions": [
        {"field": "meta.number", "operator": "<", "value": 20},
        {"field": "meta.group", "operator": "in", "value": [GROUP, OTHER_GROUP]},
    ],
}


@component
class Vectors:
    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        return {"embedding": vector(text)}


def store(index: str = INDEX, **more: Any) -> ElasticsearchDocumentStore:
    return ElasticsearchDocumentStore(hosts=URL, index=index, **more)


def documents() -> list[Document]:
    return [
        Document(id=key, content=text, meta=metadata, embedding=vector(text))
        for key, text, metadata in DOCUMENTS
    ]


def told(found: Any) -> Any:
    return [[document.id, document.score] for document in found["documents"]]


def index() -> Any:
    filled = store()
    written = filled.write_documents(documents(), refresh=True)
    return {"added": written, "counted": filled.count_documents()}


def words() -> Any:
    return told(ElasticsearchBM25Retriever(document_store=store(), top_k=7).run(query=QUESTION))


def words_filtered() -> Any:
    asked = ElasticsearchBM25Retriever(document_store=store(), filters=GREEN, top_k=7, scale_score=True)
    return told(asked.run(query=QUESTION))


def near() -> Any:
    asked = ElasticsearchEmbeddingRetriever(document_store=store(), top_k=7, num_candidates=30)
    return told(asked.run(query_embedding=vector(QUESTION), filters=LOW))


async def near_async() -> Any:
    asking = store()
    await asking._ensure_initialized_async()  # noqa: SLF001 it makes its client there
    asked = ElasticsearchEmbeddingRetriever(document_store=asking, top_k=7)
    try:
        return told(await asked.run_async(query_embedding=vector(QUESTION), filters=GREEN))
    finally:
        await asking.close_async()


def hybrid() -> Any:
    asked = ElasticsearchHybridRetriever(
        document_store=store(), embedder=Vectors(), top_k_bm25=9, top_k_embedding=9, top_k=6
    )
    return told(asked.run(query=QUESTION))


def hybrid_filtered() -> Any:
    asked = ElasticsearchHybridRetriever(
        document_store=store(), embedder=Vectors(), filters_bm25=GREEN, filters_embedding=GREEN, top_k=6
    )
    return told(asked.run(query=QUESTION))


def hybrid_in_elasticsearch() -> Any:
    sparse = store(f"{INDEX}-sparse", sparse_vector_field="tokens")
    sparse.write_documents(documents(), refresh=True)
    asked = ElasticsearchInferenceHybridRetriever(document_store=sparse, inference_id="elser", top_k=6)
    return told(asked.run(query=QUESTION))


def one_fusion() -> Any:
    """Search as its store does, with a body of the user's own."""
    leaves = [
        {"standard": {"query": {"match": {"content": QUESTION}}}},
        {"knn": {"field": "embedding", "k": 9, "num_candidates": 30, "query_vector": vector(QUESTION)}},
    ]
    retriever = {"rrf": {"retrievers": leaves, "rank_window_size": 20}}
    found = store()._search_documents(retriever=retriever, size=6)  # noqa: SLF001 the only way with a body
    return told({"documents": found})


def filters() -> Any:
    asking = store()
    return {
        "low": sorted(document.id for document in asking.filter_documents(LOW)),
        "green": asking.count_documents_by_filter(GREEN),
        "all": len(asking.filter_documents()),
        "fields": sorted(asking.get_metadata_fields_info()),
        "range": asking.get_metadata_field_min_max("number"),
        "unique": asking.count_unique_metadata_by_filter(GREEN, ["number"]),
        "values": asking.get_metadata_field_unique_values("group")[0],
    }


def writes() -> Any:
    other = store(f"{INDEX}-less")
    first = documents()[:9]
    counts = [other.write_documents(first, refresh=True)]
    said = []
    for policy in (DuplicatePolicy.FAIL, DuplicatePolicy.SKIP, DuplicatePolicy.OVERWRITE):
        try:
            other.write_documents(first[:2], policy, refresh=True)
            said.append("written")
        except Exception as error:  # noqa: BLE001  what the package raises is what is asked here
            said.append(type(error).__name__)
    other.delete_documents(["d0"], refresh=True)
    counts.append(other.count_documents())
    other.delete_by_filter(GREEN, refresh=True)
    counts.append(other.count_documents())
    other.delete_all_documents(recreate_index=True)
    counts.append(other.count_documents())
    return {"counts": counts, "said": said}


async def async_writes() -> Any:
    other = store(f"{INDEX}-async")
    await other._ensure_initialized_async()  # noqa: SLF001 it makes its client there
    try:
        await other.write_documents_async(documents()[:5], refresh=True)
        before = await other.count_documents_async()
        await other.delete_documents_async(["d1", "d2"], refresh=True)
        return [before, await other.count_documents_async()]
    finally:
        await other.close_async()


answer(
    index,
    words,
    words_filtered,
    near,
    near_async,
    hybrid,
    hybrid_filtered,
    hybrid_in_elasticsearch,
    one_fusion,
    filters,
    writes,
    async_writes,
)
