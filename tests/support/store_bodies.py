"""The searches of frameworks' Elasticsearch stores, written down anew from the sources of the packages.

The stores of LangChain (langchain-elasticsearch 1.0.0) and LlamaIndex
(llama-index-vector-stores-elasticsearch 0.7.0) send what ``elasticsearch.helpers.vectorstore`` of
elasticsearch 8.19 builds, that of Haystack (elasticsearch-haystack 7.1.0) its own bodies. LangChain's
community package, and all packages from before Elasticsearch 8.14, send ``rank`` instead of a retriever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from corpus import EMBEDDER
from elasticsearch import Elasticsearch
from independent import Documents, Tree
from over_ranking import WORDS, document

Body = dict[str, Any]

QUESTION = "king treaty moon"
DOCUMENTS = 60
GREEN = {"term": {"metadata.group.keyword": {"value": "green"}}}

REFUSALS = (
    "current license is non-compliant for [Reciprocal Rank Fusion (RRF)]",
    "unknown retriever [rrf]",
    "unknown named object category [org.elasticsearch.search.rank.RankBuilder]",
)
"""How an Elasticsearch without a licence for ``rrf`` refuses it: Elastic's archive with 403, and with 400 a
distribution that has no licensed modules.
"""


def store_documents() -> list[tuple[str, str, dict[str, Any]]]:
    """Return (id, text, metadata) of the documents of a store."""
    made = ((number, document(number)) for number in range(DOCUMENTS))
    return [
        (f"d{number}", each["text"], {"group": each["group"], "number": each["number"]})
        for number, each in made
    ]


@contextmanager
def filled_store(es: Elasticsearch, name: str) -> Iterator[str]:
    """Yield the name of an index as ``elasticsearch.helpers.vectorstore`` makes it, on two shards."""
    vector = {"type": "dense_vector", "dims": EMBEDDER.dims, "index": True, "similarity": "cosine"}
    es.indices.create(
        index=name,
        mappings={"properties": {"vector": vector}},
        settings={"number_of_shards": 2, "number_of_replicas": 0},
    )
    operations: list[Body] = []
    for key, text, metadata in store_documents():
        operations += [{"index": {"_id": key}}, {"text": text, "vector": near(text), "metadata": metadata}]
    assert not es.bulk(index=name, operations=operations, refresh=True)["errors"]
    yield name
    es.indices.delete(index=name)


def near(text: str) -> list[float]:
    """Return the vector of a text."""
    vector: list[float] = EMBEDDER.embed([text])[0].tolist()
    return vector


def query(filters: Any = ()) -> Body:
    """Return the search by words of ``elasticsearch.helpers.vectorstore``."""
    return {
        "bool": {"must": [{"match": {"text": {"query": QUESTION}}}], "filter": list(filters)},
    }


def knn(k: int, candidates: int, filters: Any = (), vector: Sequence[float] | None = None) -> Body:
    """Return the search by vector of ``elasticsearch.helpers.vectorstore``, by that of the question if no
    other is given.
    """
    return {
        "filter": list(filters),
        "field": "vector",
        "k": k,
        "num_candidates": candidates,
        "query_vector": near(QUESTION) if vector is None else list(vector),
    }


def hybrid(
    k: int, candidates: int, filters: Any = (), vector: Sequence[float] | None = None, **options: Any
) -> Body:
    """Return the hybrid search of ``elasticsearch.helpers.vectorstore`` with ``rrf``."""
    leaves = [{"standard": {"query": query(filters)}}, {"knn": knn(k, candidates, filters, vector)}]
    return {"retriever": {"rrf": {"retrievers": leaves, **options}}, "size": k, "_source": True}


def ranked(k: int, candidates: int, filters: Any = (), **options: Any) -> Body:
    """Return the same search as LangChain's community package writes it."""
    fusion = {"rank": {"rrf": options}}
    return {"knn": knn(k, candidates, filters), "query": query(filters), **fusion, "size": k}


def weighted_words(words: str, top_k: int) -> Body:
    """Return Haystack's search by words."""
    match = {
        "query": words,
        "fuzziness": "AUTO",
        "type": "most_fields",
        "operator": "OR",
        "fields": ["text"],
    }
    return {"size": top_k, "query": {"bool": {"must": [{"multi_match": match}]}}}


FUSED: dict[str, tuple[Body, Body]] = {
    "langchain": (hybrid(4, 50), hybrid(4, 50)["retriever"]),
    "langchain with parameters": (
        hybrid(8, 50, rank_constant=3, rank_window_size=25),
        hybrid(8, 50, rank_constant=3, rank_window_size=25)["retriever"],
    ),
    "langchain with a filter": (hybrid(4, 50, [GREEN]), hybrid(4, 50, [GREEN])["retriever"]),
    "llama_index": (hybrid(6, 60, [GREEN]), hybrid(6, 60, [GREEN])["retriever"]),
    "langchain community": (ranked(4, 50), hybrid(4, 50)["retriever"]),
    "langchain community with parameters": (
        ranked(8, 50, [GREEN], rank_constant=3, rank_window_size=25),
        hybrid(8, 50, [GREEN], rank_constant=3, rank_window_size=25)["retriever"],
    ),
    "sub searches": (
        {"sub_searches": [{"query": query()}, {"query": {"match": {"text": WORDS[3]}}}], "rank": {"rrf": {}}},
        {
            "rrf": {
                "retrievers": [
                    {"standard": {"query": query()}},
                    {"standard": {"query": {"match": {"text": WORDS[3]}}}},
                ]
            }
        },
    ),
    "several knn": (
        {"knn": [knn(5, 20), {**knn(5, 20), "query_vector": near("dog river")}], "rank": {"rrf": {}}},
        {
            "rrf": {
                "retrievers": [
                    {"knn": knn(5, 20)},
                    {"knn": {**knn(5, 20), "query_vector": near("dog river")}},
                ]
            }
        },
    ),
}
"""Searches that fuse by ``rrf``: the body, and the retriever that it means."""

PLAIN: dict[str, Body] = {
    "hybrid without rrf": {"knn": knn(4, 50), "query": query(), "size": 4, "_source": True},
    "dense": {"knn": knn(4, 50, [GREEN]), "size": 4, "_source": True},
    "bm25": {"query": query([GREEN]), "size": 4, "_source": True},
    "haystack words": weighted_words(QUESTION, 5),
    "haystack vector": {"knn": knn(5, 50), "from": 0},
}
"""Searches that Elasticsearch runs on every licence."""


def assert_refused(status: int, text: str) -> None:
    """Check that Elasticsearch itself refuses to fuse, because of its licence or its distribution."""
    assert status in {400, 403}, text
    assert any(refusal in text for refusal in REFUSALS), text


def expected(node: httpx.Client, index: str, retriever: Body, size: int) -> list[tuple[str, float]]:
    """Return (id, score) of the best documents. Elasticsearch runs the leaves, each as a plain search."""
    unused: Any = None
    tree = Tree(node, index, Documents.read(node, index), unused, unused)
    return [(entry.key[1], float(entry.score)) for entry in tree.ranked(retriever)[:size]]
