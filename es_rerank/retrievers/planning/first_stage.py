"""Tells from which kind of first stage, and from which embedder, a reranker's window comes. Pure, no I/O.

The kind decides which of a model's blends counts (``types.Calibration.blend_key``). The plugin of
Elasticsearch decides the same in Java (``FirstStage.java``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ...types import FirstStageKind
from ..grammar.tree import (
    PLUGIN_KINDS,
    FirstStage,
    Knn,
    Linear,
    Native,
    Pinned,
    Rescorer,
    Retriever,
    Rrf,
    Standard,
    TextSimilarityReranker,
    nodes_of,
)

KIND_OF: Mapping[FirstStage, FirstStageKind] = {"knn": "dense", "bm25": "bm25", "hybrid": "hybrid"}
"""The kind of each first stage that the short form and the command line name."""

_HYBRID = {Rrf.kind, Linear.kind, TextSimilarityReranker.kind} | PLUGIN_KINDS

_BM25 = frozenset(
    {
        "match",
        "multi_match",
        "match_phrase",
        "match_phrase_prefix",
        "match_bool_prefix",
        "combined_fields",
        "query_string",
        "simple_query_string",
        "more_like_this",
        "intervals",
    }
)
"""Queries that analyse a text and score its terms by BM25."""

_WITHIN: Mapping[str, tuple[str, ...]] = {
    "bool": ("must", "should"),
    "boosting": ("positive",),
    "dis_max": ("queries",),
    "function_score": ("query",),
    "nested": ("query",),
    "pinned": ("organic",),
    "rule": ("organic",),
}
"""The keys of a query under which the queries stand whose scores it takes."""

_OF_VECTORS = ("cosineSimilarity(", "dotProduct(", "l1norm(", "l2norm(", "hamming(")
"""The functions of a ``script_score`` that compare vectors."""


class WindowOrigin(NamedTuple):
    """Where a window comes from: the kind of its first stage and the embedder's own name, None if unknown."""

    kind: FirstStageKind | None = None
    embedder: str | None = None


def kind_of(retriever: Retriever) -> FirstStageKind | None:
    """Return what the scores of a retriever are made of.

    - ``knn``: "dense".
    - ``standard``: what its query scores by. A query of analysed text: "bm25". A ``knn`` query, or a
      ``script_score`` that compares vectors: "dense". Both side by side: "hybrid". Clauses that only filter,
      and queries of other kinds, have no part.
    - ``rrf`` and ``linear``: "hybrid", whatever they fuse: the shape of their scores is that of a fusion.
    - a reranker: "hybrid" too. Its scores join more evidence about a document than one list has, so that
      they deserve the weight of a fusion, and not that of the list below them.
    - ``pinned``, ``rescorer``, ``rule`` and ``diversify``: the kind of the retriever in them.
    - anything else, such as a filter alone, a sparse vector or another script: None. The model's blend for
      vectors counts, which was the only one before there was one for each kind.
    """
    node: Retriever | None = retriever
    while isinstance(node, (Pinned, Rescorer, Native)):
        if node.kind in _HYBRID:
            return "hybrid"
        node = next(iter(node.children), None)
    match node:
        case Knn():
            return "dense"
        case Standard():
            return _of_query(node.query)
        case Rrf() | Linear() | TextSimilarityReranker():
            return "hybrid"
    return None


def blends_by_embedder(tree: Retriever) -> bool:
    """Whether the embedder that the indices record may choose a blend of a reranker in a tree."""
    return any(
        isinstance(node, TextSimilarityReranker)
        and node.blend
        and kind_of(node.retriever) in ("dense", "hybrid")
        for node in nodes_of(tree)
    )


def origin(kind: FirstStageKind | None, recorded: Collection[str], used: Collection[str]) -> WindowOrigin:
    """Return the origin of a window from the kind of its first stage and what is known of its embedders.

    ``recorded``: the embedders that the searched indices record. ``used``: those that make the query vectors
    of the first stage, which count where no index records any. Indices of different embedders in one window
    have no common one: then the blend for the kind counts, as for BM25, which has none.
    """
    names = set(recorded) or set(used)
    return WindowOrigin(kind, names.pop() if len(names) == 1 and kind != "bm25" else None)


def _of_query(query: Any) -> FirstStageKind | None:  # noqa: ANN401 any JSON value may stand there
    """Return what a query scores by."""
    found: set[FirstStageKind] = set()
    waiting = [query]
    while waiting:
        for name, content in _clauses(waiting.pop()):
            if name in _BM25:
                found.add("bm25")
            elif name == Knn.kind or (name == "script_score" and _compares_vectors(content)):
                found.add("dense")
            elif not (name == "function_score" and content.get("boost_mode") == "replace"):
                waiting += [content.get(key) for key in _WITHIN.get(name, ())]
    return found.pop() if len(found) == 1 else "hybrid" if found else None


def _clauses(queries: Any) -> list[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401
    """Return (name, content) of one query or of a list of queries. It skips what is not valid."""
    listed = queries if isinstance(queries, list) else [queries]
    return [
        (name, content)
        for query in listed
        if isinstance(query, Mapping)
        for name, content in query.items()
        if isinstance(content, Mapping)
    ]


def _compares_vectors(script_score: Mapping[str, Any]) -> bool:
    script = script_score.get("script")
    source = script.get("source") if isinstance(script, Mapping) else script
    return isinstance(source, str) and any(name in source for name in _OF_VECTORS)
