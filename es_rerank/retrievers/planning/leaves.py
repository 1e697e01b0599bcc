"""The searches of the first stage: one for each leaf of the tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..grammar.tree import (
    Compound,
    Knn,
    Leaf,
    Linear,
    Native,
    Pinned,
    Query,
    Rescorer,
    Retriever,
    Standard,
    TextSimilarityReranker,
)
from ..grammar.values import as_list
from .index_schema import IndexSchema
from .text_source import TextSource, inner_hits_of, nearest_query

_CARRIES_INNER_HITS = frozenset({"nested", "has_child", "has_parent"})


@dataclass(frozen=True, slots=True)
class LeafSearch:
    """One search of the first stage.

    ``window``: how many documents the parent takes. ``filters``: those of all retrievers above. ``rescore``: what a
    rescorer right above adds. ``scored``: whether the parent needs scores where the leaf sorts by something else.
    ``source`` and ``text``: what a reranker right above reads, and for which text.
    """

    node: Leaf
    window: int
    filters: tuple[Query, ...] = ()
    rescore: tuple[Query, ...] = ()
    scored: bool = False
    source: TextSource | None = None
    text: str = ""


def leaf_searches(
    node: Retriever,
    sources: Mapping[int, TextSource],
    *,
    window: int = 0,
    filters: tuple[Query, ...] = (),
    parent: Compound | None = None,
) -> Iterator[LeafSearch]:
    """Yield the searches of a tree, depth first; ``sources`` says by ``id`` of a reranker what it reads."""
    if not isinstance(node, Compound):
        text = parent.inference_text if isinstance(parent, TextSimilarityReranker) else ""
        yield LeafSearch(
            node,
            window,
            filters,
            scored=isinstance(parent, Linear),
            source=sources.get(id(parent)),
            text=text,
        )
        return
    every = (*filters, *node.filter)
    if isinstance(node, Rescorer) and isinstance(node.retriever, (Standard, Knn)):
        yield LeafSearch(node.retriever, node.window, every, node.rescore)
        return
    if isinstance(node, Pinned):
        yield LeafSearch(pinned_query(node), len(node.pins))
    for child in node.children:
        yield from leaf_searches(child, sources, window=node.window, filters=every, parent=node)


def pinned_query(node: Pinned) -> Standard:
    """Return the search for the pinned documents that exist; filters do not apply to them."""
    each = [
        {"bool": {"filter": [{"ids": {"values": [name]}}, *([{"term": {"_index": index}}] if index else [])]}}
        for index, name in node.pins
    ]
    return Standard(query={"bool": {"should": each, "minimum_should_match": 1}})


def leaf_body(
    search: LeafSearch, vector: list[float] | str | None = None, *, pit: bool = False, explain: bool = False
) -> dict[str, Any]:
    """Return the body of a leaf's search: ids and scores of its first hits.

    ``vector`` is the query vector of a kNN. Within a point in time (``pit``) hits carry their place in the shard, by
    which Elasticsearch orders equal scores.
    """
    node = search.node
    common: dict[str, Any] = {"size": search.window, "_source": False, "track_total_hits": False} | (
        {"explain": True} if explain else {}
    )
    if isinstance(node, Native):
        window = min(search.window, node.window or search.window)
        content = node.body | (
            {"filter": [*as_list(node.body.get("filter")), *search.filters]} if search.filters else {}
        )
        return {**common, "retriever": {node.kind: content}, "size": window}
    every = [*node.filter, *search.filters]
    body = common | (_knn_body(node, every, vector) if isinstance(node, Knn) else _standard_body(node, every))
    if node.min_score is not None:
        body["min_score"] = node.min_score
    if search.rescore:
        body["rescore"] = list(search.rescore)
    if pit:
        own = node.sort if isinstance(node, Standard) else None
        body["sort"] = [*(as_list(own) or ["_score"]), "_shard_doc"]
    if search.scored and "sort" in body:
        body["track_scores"] = True
    return body


def _knn_body(node: Knn, filters: list[Query], vector: list[float] | str | None) -> dict[str, Any]:
    optional = {
        "query_vector": vector,
        "query_vector_builder": node.query_vector_builder if vector is None else None,
        "num_candidates": node.num_candidates,
        "filter": filters or None,
        "similarity": node.similarity,
        "rescore_vector": node.rescore_vector,
        "visit_percentage": node.visit_percentage,
    }
    return {
        "knn": {"field": node.field, "k": node.k}
        | {key: value for key, value in optional.items() if value is not None}
    }


def _standard_body(node: Standard, filters: list[Query]) -> dict[str, Any]:
    body: dict[str, Any] = {"query": without_inner_hits(filtered(node.query, filters))}
    optional = {
        "sort": node.sort,
        "collapse": node.collapse,
        "search_after": node.search_after,
        "terminate_after": node.terminate_after,
    }
    return body | {key: value for key, value in optional.items() if value is not None}


def filtered(query: Query | None, filters: Sequence[Query], name: str | None = None) -> Query:
    """Return a query with filters and a name; none means everything."""
    query = query or {"match_all": {}}
    if not filters and name is None:
        return query
    return {
        "bool": {"must": [query], "filter": list(filters), **({"_name": name} if name is not None else {})}
    }


def without_inner_hits(query: Any) -> Any:  # noqa: ANN401 any part of a query
    """Return a query without the inner hits of its joins: they are computed once, for the page."""
    if isinstance(query, list):
        return [without_inner_hits(part) for part in query]
    if not isinstance(query, dict):
        return query
    return {
        key: without_inner_hits(
            {k: v for k, v in part.items() if k != "inner_hits"}
            if key in _CARRIES_INNER_HITS and isinstance(part, dict)
            else part
        )
        for key, part in query.items()
    }


def with_texts_of_source(
    body: dict[str, Any], search: LeafSearch, schema: IndexSchema
) -> tuple[dict[str, Any], bool]:
    """Return a leaf's body that also fetches the texts, and whether it fetches all of them.

    The passages nearest to the text come along with a kNN over the same nested object (nearest by vector) and with a
    query (nearest by BM25); a kNN over another field, and a subtree that Elasticsearch runs, need ``passages_body``.
    """
    source, leaf = search.source, search.node
    assert source is not None, "only a leaf under a reranker is read"
    body = {**body, "fields": source.fields()}
    if not source.asks_nearest:
        return body, True
    if isinstance(leaf, Standard):
        # With a must beside it, a should clause of boost 0 changes neither what matches nor its score.
        return {
            **body,
            "query": {"bool": {"must": [body["query"]], "should": [nearest_query(source, search.text)]}},
        }, True
    if isinstance(leaf, Knn) and schema.nested_path(leaf.field) == source.nested:
        return {**body, "knn": {**body["knn"], "inner_hits": inner_hits_of(source)}}, True
    return body, False
