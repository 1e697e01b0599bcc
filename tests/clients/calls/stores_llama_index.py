"""LlamaIndex's Elasticsearch store, blocking and asynchronous, alone and under an index of LlamaIndex."""

from typing import Any

from elasticsearch.helpers.vectorstore import (
    AsyncBM25Strategy,
    AsyncDenseVectorScriptScoreStrategy,
    AsyncDenseVectorStrategy,
)
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.vector_stores.elasticsearch import ElasticsearchStore
from outcome import answer
from stores_told import (
    DOCUMENTS,
    GROUP,
    INDEX,
    OTHER_GROUP,
    QUESTION,
    URL,
    by_rank,
    half_the_words,
    vector,
    vector_made_there,
)


class Vectors(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)


GREEN = MetadataFilters(filters=[MetadataFilter(key="group", value=GROUP)])


def nodes(documents: Any = DOCUMENTS) -> list[TextNode]:
    return [
        TextNode(
            id_=key,
            text=text,
            metadata=metadata,
            embedding=vector(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"of {metadata['group']}")},
        )
        for key, text, metadata in documents
    ]


def store(strategy: Any = None, index: str = INDEX, **more: Any) -> ElasticsearchStore:
    strategy = strategy or AsyncDenseVectorStrategy(hybrid=True)
    names = {"text_field": "text", "vector_field": "vector"}
    return ElasticsearchStore(index, es_url=URL, retrieval_strategy=strategy, **names, **more)


def asked(
    mode: VectorStoreQueryMode = VectorStoreQueryMode.HYBRID, k: int = 4, **more: Any
) -> VectorStoreQuery:
    return VectorStoreQuery(
        query_embedding=vector(QUESTION), query_str=QUESTION, similarity_top_k=k, mode=mode, **more
    )


async def found(
    strategy: Any = None, query: VectorStoreQuery | None = None, index: str = INDEX, **more: Any
) -> Any:
    asking = store(strategy, index)
    try:
        result = await asking.aquery(query or asked(), **more)
    finally:
        await asking.client.close()
    return [[key, score] for key, score in zip(result.ids, result.similarities, strict=True)]


def index() -> Any:
    return {"added": store().add(nodes())}


async def hybrid() -> Any:
    return await found()


def hybrid_blocking() -> Any:
    result = store().query(asked())
    return [
        [node.node_id, node.get_content(), node.metadata["group"], node.ref_doc_id] for node in result.nodes
    ]


async def hybrid_parameters() -> Any:
    chosen = AsyncDenseVectorStrategy(hybrid=True, rrf={"rank_constant": 3, "rank_window_size": 25})
    return await found(chosen, asked(k=8))


async def hybrid_old_parameters() -> Any:
    chosen = AsyncDenseVectorStrategy(hybrid=True, rrf={"rank_constant": 3, "window_size": 25})
    return await found(chosen, asked(k=8))


async def hybrid_filtered() -> Any:
    return await found(query=asked(filters=GREEN))


async def hybrid_own_filter() -> Any:
    return await found(es_filter=[{"term": {"metadata.group.keyword": GROUP}}])


async def hybrid_by_rank() -> Any:
    return await found(custom_query=by_rank)


async def hybrid_weighted() -> Any:
    return await found(custom_query=half_the_words)


async def hybrid_vector_made_there() -> Any:
    return await found(custom_query=lambda body, _: vector_made_there(body, QUESTION))


async def hybrid_default_mode() -> Any:
    return await found(query=asked(VectorStoreQueryMode.DEFAULT))


async def hybrid_over_the_window() -> Any:
    return await found(query=asked(k=11))


def hybrid_under_an_index() -> Any:
    over = VectorStoreIndex.from_vector_store(store(), embed_model=Vectors())
    asking = over.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=4, filters=GREEN)
    return [[each.node.node_id, each.score] for each in asking.retrieve(QUESTION)]


async def hybrid_without_rrf() -> Any:
    return await found(AsyncDenseVectorStrategy(hybrid=True, rrf=False))


async def dense() -> Any:
    return await found(AsyncDenseVectorStrategy(), asked(VectorStoreQueryMode.DEFAULT, 5, filters=GREEN))


async def exact() -> Any:
    return await found(AsyncDenseVectorScriptScoreStrategy(), asked(VectorStoreQueryMode.DEFAULT))


async def bm25() -> Any:
    strategy = AsyncBM25Strategy(k1=1.0, b=0.5)
    other = store(strategy, f"{INDEX}-bm25")
    await other.async_add(nodes())
    await other.client.close()
    return await found(strategy, asked(VectorStoreQueryMode.TEXT_SEARCH, 5), f"{INDEX}-bm25")


def nodes_and_deletions() -> Any:
    other = store(index=f"{INDEX}-less", metadata_mappings={"number": {"type": "integer"}})
    index = VectorStoreIndex(
        nodes(), storage_context=StorageContext.from_defaults(vector_store=other), embed_model=Vectors()
    )
    some = [node.node_id for node in other.get_nodes(["d1", "d2"])]
    of_group = len(other.get_nodes(filters=GREEN))
    other.delete_nodes(["d1"])
    other.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="group", value=OTHER_GROUP)]))
    index.delete_ref_doc(f"of {GROUP}")
    left = sorted({node.metadata["group"] for node in other.get_nodes([key for key, _, _ in DOCUMENTS])})
    hits = other.query(asked())
    groups = sorted({node.metadata["group"] for node in hits.nodes})
    other.clear()
    return {"some": sorted(some), "of_group": of_group, "left": left, "groups": groups}


answer(
    index,
    hybrid,
    hybrid_blocking,
    hybrid_parameters,
    hybrid_old_parameters,
    hybrid_filtered,
    hybrid_own_filter,
    hybrid_by_rank,
    hybrid_weighted,
    hybrid_vector_made_there,
    hybrid_default_mode,
    hybrid_over_the_window,
    hybrid_under_an_index,
    hybrid_without_rrf,
    dense,
    exact,
    bm25,
    nodes_and_deletions,
)
