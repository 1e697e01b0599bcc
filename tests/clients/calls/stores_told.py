"""What the scripts of stores are told, and what they tell of what they found."""

from collections.abc import Callable
from typing import Any

from outcome import TOLD

URL, INDEX, QUESTION = TOLD.url, TOLD.index, TOLD.question
"""Elasticsearch's address, an index that is not there yet, whose name may be continued, and a question."""

DOCUMENTS = [tuple(document) for document in TOLD.documents]
"""(id, text, metadata) of each document."""

GROUP, OTHER_GROUP = "green", "blue"
"""Values of the key ``group`` of the metadata."""

Hook = Callable[[dict[str, Any], Any], dict[str, Any]]


def vector(text: str) -> list[float]:
    """Return the vector that the test made for a text."""
    found: list[float] = TOLD.vectors[text]
    return found


def by_rank(body: dict[str, Any], _: Any) -> dict[str, Any]:
    """Return a hybrid search as packages wrote it before there were retrievers."""
    fusion = body["retriever"]["rrf"]
    words, near = fusion.pop("retrievers")
    return {"query": words["standard"]["query"], "knn": near["knn"], "rank": {"rrf": {}}}


def half_the_words(body: dict[str, Any], _: Any) -> dict[str, Any]:
    """Return a hybrid search whose words count half."""
    words, near = body["retriever"]["rrf"]["retrievers"]
    body["retriever"]["rrf"]["retrievers"] = [{"retriever": words, "weight": 0.5}, near]
    return body


def vector_made_there(body: dict[str, Any], question: Any) -> dict[str, Any]:
    """Return a hybrid search whose query vector is made where the search runs."""
    near = body["retriever"]["rrf"]["retrievers"][1]["knn"]
    del near["query_vector"]
    text = question if isinstance(question, str) else question.query_str
    near["query_vector_builder"] = {"text_embedding": {"model_text": text}}
    return body


def reranked(question: str) -> dict[str, Any]:
    """Return a search that fuses by rrf and reranks."""
    words = {"standard": {"query": {"match": {"text": question}}}}
    near = {"knn": {"field": "vector", "k": 10, "num_candidates": 50, "query_vector": vector(question)}}
    return {
        "retriever": {
            "text_similarity_reranker": {
                "retriever": {"rrf": {"retrievers": [words, near]}},
                "field": "text",
                "inference_text": question,
            }
        },
        "size": 5,
    }
