"""The searches that ``es-rerank bench gateway`` times: their bodies, their ways and their baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Way = Literal["direct", "sidecar", "library", "plugin"]
"""Elasticsearch directly; through a sidecar in front of it; through ``RerankClient`` in this process; or
Elasticsearch directly, by the retrievers of the plugin inside it.
"""

_SIZE = 10
_CANDIDATES = 100
_WINDOW = 50
"""Documents that a search with a reranker scores."""


class Question(NamedTuple):
    """The words of one round's search, and their vector."""

    text: str
    vector: list[float]


Body = Callable[[Question], dict[str, Any]]
"""Returns the body of a search for a question."""


def match_search(question: Question) -> dict[str, Any]:
    """Return the body of a search without a retriever."""
    return {"query": _match(question), "size": _SIZE}


def knn_search(question: Question) -> dict[str, Any]:
    """Return the body of a search with one knn retriever, which Elasticsearch runs on every licence."""
    return {"retriever": _knn(question), "size": _SIZE}


def rrf_search(question: Question) -> dict[str, Any]:
    """Return the body of the same knn retriever inside an rrf retriever, which Elasticsearch refuses on a
    Basic licence.
    """
    return _rrf("rrf", [_knn(question)])


def rrf_of_two(name: str) -> Body:
    """Return the body of a search that fuses a match query and a knn retriever.

    ``name`` is the name of the fusing retriever: Elastic's, or the plugin's.
    """
    return lambda question: _rrf(name, [{"standard": {"query": _match(question)}}, _knn(question)])


def rerank_search(name: str) -> Body:
    """Return the body of a search that reranks the first 50 hits of a match query.

    ``name`` is the name of the reranking retriever: Elastic's, or the plugin's.
    """
    return lambda question: {
        "retriever": {
            name: {
                "retriever": {"standard": {"query": _match(question)}},
                "field": "text",
                "inference_text": question.text,
                "rank_window_size": _WINDOW,
            }
        },
        "size": _SIZE,
    }


def _match(question: Question) -> dict[str, Any]:
    return {"match": {"text": question.text}}


def _knn(question: Question) -> dict[str, Any]:
    return {
        "knn": {"field": "vector", "query_vector": question.vector, "k": _SIZE, "num_candidates": _CANDIDATES}
    }


def _rrf(name: str, retrievers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"retriever": {name: {"retrievers": retrievers, "rank_window_size": _SIZE}}, "size": _SIZE}


class Case(NamedTuple):
    """One search in one way. ``baseline`` is the case that it is compared with, None for a baseline itself.

    ``about`` is its label in a table. ``same_hits`` is the case that must find the same hits, None if there
    is none. ``reranks`` says that a part of its time is the model's.
    """

    name: str
    about: str
    way: Way
    body: Body
    baseline: str | None = None
    same_hits: str | None = None
    reranks: bool = False


CASES = (
    Case("search", "match query", "direct", match_search),
    Case("search-sidecar", "… through sidecar", "sidecar", match_search, "search", "search"),
    Case("search-library", "… through RerankClient", "library", match_search, "search", "search"),
    Case("knn", "knn retriever", "direct", knn_search),
    Case("knn-sidecar", "… through sidecar", "sidecar", knn_search, "knn", "knn"),
    Case("rrf-sidecar", "rrf of it, by sidecar", "sidecar", rrf_search, "knn", "knn"),
    Case("rrf-library", "rrf of it, by RerankClient", "library", rrf_search, "knn", "knn"),
    # The cases below do another search than their baseline, which is what a caller does without them.
    Case("rrf-2-sidecar", "rrf of both, by sidecar", "sidecar", rrf_of_two("rrf"), "search"),
    Case("rrf-2-library", "… by RerankClient", "library", rrf_of_two("rrf"), "search", "rrf-2-sidecar"),
    Case("rrf-2-plugin", "… by plugin", "plugin", rrf_of_two("es_rrf"), "search", "rrf-2-sidecar"),
    Case(
        "rerank-sidecar",
        "rerank of 50, by sidecar",
        "sidecar",
        rerank_search("text_similarity_reranker"),
        "search",
        reranks=True,
    ),
    Case(
        "rerank-plugin",
        "rerank of 50, by plugin",
        "plugin",
        rerank_search("es_rerank"),
        "search",
        "rerank-sidecar",
        reranks=True,
    ),
)


def without_model(case: Case) -> Case:
    """Return the case that stands for the time of ``case`` without the model's part."""
    return case._replace(name=f"{case.name}-rest", about="… without the model", reranks=False)
