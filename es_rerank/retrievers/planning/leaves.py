"""Builds the searches of the first stage, one for each leaf of the tree. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..grammar.scalars import written
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

    ``window``: the number of documents that the parent uses. ``filters``: the filters of all retrievers
    above. ``rescore``: the rescorers, if the parent is a rescorer. ``scored``: true if the parent needs
    scores even when the leaf sorts by something else. ``source`` and ``text``: if the parent is a reranker,
    the texts that it reads and its ``inference_text``. ``parent``: the retriever right above, if any.
    """

    node: Leaf
    window: int
    filters: tuple[Query, ...] = ()
    rescore: tuple[Query, ...] = ()
    scored: bool = False
    source: TextSource | None = None
    text: str = ""
    parent: Compound | None = field(default=None, compare=False, repr=False)


def leaf_searches(
    node: Retriever,
    sources: Mapping[int, TextSource],
    *,
    window: int = 0,
    filters: tuple[Query, ...] = (),
    parent: Compound | None = None,
) -> Iterator[LeafSearch]:
    """Yield the searches of a tree, depth first.

    ``sources`` maps Python's ``id`` of each reranker node to the texts that it reads.
    """
    if not isinstance(node, Compound):
        text = parent.inference_text if isinstance(parent, TextSimilarityReranker) else ""
        yield LeafSearch(
            node,
            window,
            filters,
            scored=isinstance(parent, Linear),
            source=sources.get(id(parent)),
            text=text,
            parent=parent,
        )
        return
    all_filters = (*filters, *node.filter)
    if isinstance(node, Rescorer) and isinstance(node.retriever, (Standard, Knn)):
        yield LeafSearch(node.retriever, node.window, all_filters, node.rescore, parent=node)
        return
    if isinstance(node, Pinned):
        yield LeafSearch(pinned_query(node), len(node.pins), parent=node)
    for child in node.children:
        yield from leaf_searches(child, sources, window=node.window, filters=all_filters, parent=node)


def pinned_query(node: Pinned) -> Standard:
    """Return the search for the pinned documents that exist. Filters do not apply to pinned documents."""
    clauses = [
        {"bool": {"filter": [{"ids": {"values": [name]}}, *([{"term": {"_index": index}}] if index else [])]}}
        for index, name in node.pins
    ]
    return Standard(query={"bool": {"should": clauses, "minimum_should_match": 1}})


def leaf_body(
    search: LeafSearch, vector: list[float] | str | None = None, *, pit: bool = False
) -> dict[str, Any]:
    """Return the body of the search for a leaf. It returns ids and scores, no texts.

    ``vector`` is the query vector of a kNN. ``pit`` is true for a search in a point in time: its hits then
    contain ``_shard_doc``, the order in which Elasticsearch puts hits with equal scores.
    """
    node = search.node
    common: dict[str, Any] = {"size": search.window, "_source": False, "track_total_hits": False}
    if isinstance(node, Native):
        window = min(search.window, node.window or search.window)
        content = node.body | (
            {"filter": [*as_list(node.body.get("filter")), *search.filters]} if search.filters else {}
        )
        return {**common, "retriever": {node.kind: content}, "size": window}
    filters = [*node.filter, *search.filters]
    body = common | (
        _knn_body(node, filters, vector) if isinstance(node, Knn) else _standard_body(node, filters)
    )
    if node.min_score is not None:
        body["min_score"] = written(node.min_score)
    if search.rescore:
        body["rescore"] = list(search.rescore)
    if pit:
        sort = node.sort if isinstance(node, Standard) else None
        body["sort"] = [*(as_list(sort) or ["_score"]), "_shard_doc"]
    if search.scored and "sort" in body:
        body["track_scores"] = True
    return body


def _knn_body(node: Knn, filters: list[Query], vector: list[float] | str | None) -> dict[str, Any]:
    optional = {
        "query_vector": vector,
        "query_vector_builder": node.query_vector_builder if vector is None else None,
        "num_candidates": node.num_candidates,
        "filter": filters or None,
        "similarity": None if node.similarity is None else written(node.similarity),
        "rescore_vector": node.rescore_vector,
        "visit_percentage": None if node.visit_percentage is None else written(node.visit_percentage),
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
    """Return a query with filters and a ``_name`` added. A query of None matches all documents.

    Filters give no score: with filters alone, each document has the score 0 (observed on Elasticsearch 9.5).
    """
    if query is None and filters:
        named = {"_name": name} if name is not None else {}
        return {"bool": {"filter": list(filters), **named}}
    query = query or {"match_all": {}}
    if not filters and name is None:
        return query
    return {
        "bool": {"must": [query], "filter": list(filters), **({"_name": name} if name is not None else {})}
    }


def without_inner_hits(query: Any) -> Any:  # noqa: ANN401 any part of a query
    """Return a query without the ``inner_hits`` of nested and parent-child queries.

    The first stage does not need inner hits. The request for the page computes them.
    """
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
    """Return (body, complete): the body of a leaf that also fetches the texts, and whether it fetches all
    texts.

    A kNN over the nested object of the passages fetches the nearest passages by vector. A standard query
    fetches the nearest passages by BM25. A kNN over another field and a Native subtree cannot fetch nearest
    passages: ``complete`` is then false, and the search of ``texts_body`` is needed.
    """
    source, leaf = search.source, search.node
    assert source is not None, "the texts of a leaf are read only below a reranker"  # noqa: S101 the message says why
    body = {**body, "fields": source.fields()}
    if not source.asks_nearest:
        return body, True
    if isinstance(leaf, Standard):
        # Beside a must clause, a should clause with boost 0 changes neither the matches nor their scores.
        return {
            **body,
            "query": {"bool": {"must": [body["query"]], "should": [nearest_query(source, search.text)]}},
        }, True
    if isinstance(leaf, Knn) and schema.nested_path(leaf.field) == source.nested:
        return {**body, "knn": {**body["knn"], "inner_hits": inner_hits_of(source)}}, True
    return body, False
