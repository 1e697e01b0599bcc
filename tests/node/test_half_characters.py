"""Half a surrogate pair in an argument of a wrapped client is an error of the request, or read as U+FFFD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.errors import EsRerankError
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.types import Scores

HALF = "red \ud800 fox"


def tree(**options: Any) -> dict[str, Any]:
    words = {"standard": {"query": {"match": {"text": "fox"}}}}
    return {
        "text_similarity_reranker": {"retriever": words, "field": "text", "inference_text": "fox", **options}
    }


FUSED = {"rrf": {"retrievers": [{"standard": {"query": {"match": {"text": HALF}}}}] * 2}}
MADE_HERE = {
    "knn": {
        "field": "vector",
        "k": 1,
        "num_candidates": 1,
        "query_vector_builder": {"text_embedding": {"model_text": HALF}},
    }
}

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "question": ("rerank", {"query": HALF}),
    "question of both stages": ("rerank", {"query": HALF, "first_stage": "hybrid"}),
    "question of words": ("rerank", {"query": HALF, "first_stage": "bm25"}),
    "filter": ("rerank", {"query": "fox", "filter": {"term": {"text": HALF}}}),
    "field": ("rerank", {"query": "fox", "field": HALF}),
    "vector field": ("rerank", {"query": "fox", "vector_field": HALF}),
    "reranked by": ("rerank", {"query": "fox", "inference_id": HALF}),
    "index": ("rerank", {"query": "fox", "index": HALF}),
    "routing": ("rerank", {"query": "fox", "routing": HALF}),
    "inference_text": ("search", {"retriever": tree(inference_text=HALF)}),
    "field of a tree": ("search", {"retriever": tree(field=HALF)}),
    "key of a tree": ("search", {"retriever": tree(**{HALF: 1})}),
    "query of a tree": ("search", {"retriever": tree(retriever=FUSED)}),
    "vector of a tree": ("search", {"retriever": MADE_HERE}),
    "body": ("search", {"body": {"retriever": FUSED, "_source": [HALF]}}),
    "index of a search": ("search", {"retriever": tree(), "index": HALF}),
    "routing of a search": ("search", {"retriever": tree(), "routing": HALF}),
    "routing of Elasticsearch's own search": ("search", {"query": {"match_all": {}}, "routing": HALF}),
    "msearch": ("msearch", {"searches": [{}, {"retriever": FUSED}, {"index": HALF}, {"retriever": tree()}]}),
    "routing of an msearch": ("msearch", {"searches": [{}, {"query": {"match_all": {}}}], "routing": HALF}),
}


@pytest.fixture
def filled(es: Elasticsearch, index: str) -> str:
    vector = {"type": "dense_vector", "dims": HashEmbedder().dims, "index": True, "similarity": "cosine"}
    es.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}, "vector": vector}})
    (made,) = HashEmbedder().embed(["a red fox"])
    es.index(index=index, id="1", document={"text": "a red fox", "vector": made.tolist()}, refresh=True)
    return index


@pytest.mark.parametrize("ignored", [(), (400,)])
async def test_half_a_surrogate_pair_is_an_error_of_the_request(
    filled: str, node: Node, es: Elasticsearch, ignored: tuple[int, ...]
) -> None:
    models: dict[str, Any] = {"reranker": WordOverlapReranker(), "embedder": HashEmbedder()}
    blocking = RerankClient(es, **models).options(ignore_status=ignored)
    refused = set()
    async with AsyncRerankClient(AsyncElasticsearch(node.url), **models) as client:
        awaiting = client.options(ignore_status=ignored)
        for name, (method, given) in CALLS.items():
            arguments = (
                {"index": filled, "field": "text", "vector_field": "vector"} if method == "rerank" else {}
            )
            arguments = {"index": filled, **arguments, **given}
            for asked in (getattr(blocking, method), getattr(awaiting, method)):
                try:
                    answer = asked(**arguments)
                    answer = await answer if asked.__self__ is awaiting else answer
                    if answer.meta.status == 400:
                        refused.add(name)
                except EsRerankError:
                    assert not ignored, name
                    refused.add(name)
    assert {
        "question of words",
        "filter",
        "routing",
        "query of a tree",
        "body",
        "routing of an msearch",
    } <= refused


async def test_an_error_that_is_not_due_to_the_arguments_is_raised_unchanged(
    filled: str, es: Elasticsearch
) -> None:
    class Broken(WordOverlapReranker):
        def score(
            self,
            query: str,
            passages: Sequence[str],
            *,
            deadline: float | None = None,
        ) -> Scores:
            raise UnicodeEncodeError("utf-8", HALF, 4, 5, "surrogates not allowed")

    client = RerankClient(es, reranker=Broken())
    with pytest.raises(UnicodeEncodeError):
        client.search(index=filled, retriever=tree())
