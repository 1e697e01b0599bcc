"""From the tree to Elasticsearch bodies, and from Elasticsearch hits to candidates. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np

from ...errors import RequestError
from ...text.strategies import Strategy, strategy_of
from ...types import Candidate, Passage
from ..grammar.tree import Compound, Knn, Leaf, Linear, Native, Pinned, Query, Rescorer, Retriever, Standard, TextSimilarityReranker
from .facts import IndexFacts

INNER_HITS = "rerank.passages"
"""Name of the inner hits that carry a document's nearest passages."""

PASSAGE_CAP = 32
"""Passages read per document when ``chunk_rescorer`` names no number: 32 of 160 tokens hold a text of about 3,800
words. Where a document has more, the answer says so."""

_INNER_HITS_LIMIT = 100
"""Elasticsearch's default for ``index.max_inner_result_window``."""

_CARRIES_INNER_HITS = frozenset({"nested", "has_child", "has_parent"})


@dataclass(frozen=True, slots=True)
class Reading:
    """Which texts the reranker reads.

    ``context``: fields of the document, read once, or before each passage. ``passage``: the text field inside the
    nested object ``nested``, where passages are stored. ``nearest``: how many of them are asked of Elasticsearch
    (None: all, up to the cap), or taken of the chunks that ``chunking`` cuts the plain field ``chunked`` into; without
    ``chunking`` that field is read whole.
    ``offsets``: whether passages record their position as ``start`` and ``end``.
    """

    context: tuple[str, ...]
    passage: str | None = None
    nested: str | None = None
    nearest: int | None = None
    offsets: bool = False
    chunked: str | None = None
    chunking: Strategy | None = None

    def passage_fields(self) -> list[str]:
        """Return the fields to fetch of each passage."""
        names = [self.passage] if self.passage else []
        return [*names, f"{self.nested}.start", f"{self.nested}.end"] if self.offsets else names

    def fields(self) -> list[str]:
        """Return the fields to fetch of each hit."""
        return [*self.context, *([self.chunked] if self.chunked else []), *([] if self.asks_nearest else self.passage_fields())]

    @property
    def asks_nearest(self) -> bool:
        """Whether Elasticsearch is asked for the nearest of the stored passages."""
        return self.nested is not None and self.nearest is not None


def reading_of(node: TextSimilarityReranker, facts: IndexFacts) -> Reading:
    """Return what a reranker node reads, given the index.

    Raises IndexMismatchError for a field that is not mapped, RequestError for fields that cannot be read together.
    """
    for name in node.field:
        facts.require(name, "text")
    nested = [name for name in node.field if facts.nested_path(name)]
    chunks = node.chunk_rescorer
    if len(nested) > 1:
        raise RequestError(
            f"[field] names several nested fields [{', '.join(nested)}]; one field of passages can be reranked, joined with fields of the document"
        )
    if not nested and chunks:
        return Reading(node.field[:-1], nearest=chunks.size, chunked=node.field[-1], chunking=strategy_of(chunks.chunking_settings))
    if not nested:
        return Reading(node.field[:-1], chunked=node.field[-1])
    if chunks and chunks.chunking_settings is not None:
        raise RequestError(
            f"[chunking_settings] cannot cut [{nested[0]}]: its passages were cut when they were indexed; "
            "leave the settings out, or name a field of the document"
        )
    path = facts.nested_path(nested[0])
    return Reading(
        tuple(name for name in node.field if name != nested[0]),
        nested[0],
        path,
        min(chunks.size, _INNER_HITS_LIMIT) if chunks else None,
        offsets=f"{path}.start" in facts.types and f"{path}.end" in facts.types,
    )


@dataclass(frozen=True, slots=True)
class LeafSearch:
    """One search of the first stage.

    ``window``: how many documents the parent takes. ``filters``: those of all retrievers above. ``rescore``: what a
    rescorer right above adds. ``scored``: whether the parent needs scores where the leaf sorts by something else.
    ``reading`` and ``text``: what a reranker right above reads, and for which text.
    """

    node: Leaf
    window: int
    filters: tuple[Query, ...] = ()
    rescore: tuple[Query, ...] = ()
    scored: bool = False
    reading: Reading | None = None
    text: str = ""


def leaf_searches(
    node: Retriever, readings: Mapping[int, Reading], *, window: int = 0, filters: tuple[Query, ...] = (), parent: Compound | None = None
) -> Iterator[LeafSearch]:
    """Yield the searches of a tree, depth first; ``readings`` says by ``id`` of a reranker what it reads."""
    if not isinstance(node, Compound):
        text = parent.inference_text if isinstance(parent, TextSimilarityReranker) else ""
        yield LeafSearch(node, window, filters, scored=isinstance(parent, Linear), reading=readings.get(id(parent)), text=text)
        return
    every = (*filters, *node.filter)
    if isinstance(node, Rescorer) and isinstance(node.retriever, (Standard, Knn)):
        yield LeafSearch(node.retriever, node.window, every, node.rescore)
        return
    if isinstance(node, Pinned):
        yield LeafSearch(pinned_query(node), len(node.pins))
    for child in node.children:
        yield from leaf_searches(child, readings, window=node.window, filters=every, parent=node)


def pinned_query(node: Pinned) -> Standard:
    """Return the search for the pinned documents that exist; filters do not apply to them."""
    each = [{"bool": {"filter": [{"ids": {"values": [name]}}, *([{"term": {"_index": index}}] if index else [])]}} for index, name in node.pins]
    return Standard(query={"bool": {"should": each, "minimum_should_match": 1}})


def leaf_body(search: LeafSearch, vector: list[float] | str | None = None, *, pit: bool = False, explain: bool = False) -> dict[str, Any]:
    """Return the body of a leaf's search: ids and scores of its first hits.

    ``vector`` is the query vector of a kNN. Within a point in time (``pit``) hits carry their place in the shard, by
    which Elasticsearch orders equal scores.
    """
    node = search.node
    common: dict[str, Any] = {"size": search.window, "_source": False, "track_total_hits": False} | ({"explain": True} if explain else {})
    if isinstance(node, Native):
        window = min(search.window, node.window or search.window)
        content = node.body | ({"filter": [*_listed(node.body.get("filter")), *search.filters]} if search.filters else {})
        return {**common, "retriever": {node.kind: content}, "size": window}
    every = [*node.filter, *search.filters]
    body = common | (_knn_body(node, every, vector) if isinstance(node, Knn) else _standard_body(node, every))
    if node.min_score is not None:
        body["min_score"] = node.min_score
    if search.rescore:
        body["rescore"] = list(search.rescore)
    if pit:
        own = node.sort if isinstance(node, Standard) else None
        body["sort"] = [*(_listed(own) or ["_score"]), "_shard_doc"]
    if search.scored and "sort" in body:
        body["track_scores"] = True
    return body


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 one or several
    return [] if value is None else list(value) if isinstance(value, list) else [value]


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
    return {"knn": {"field": node.field, "k": node.k} | {key: value for key, value in optional.items() if value is not None}}


def _standard_body(node: Standard, filters: list[Query]) -> dict[str, Any]:
    body: dict[str, Any] = {"query": without_inner_hits(filtered(node.query, filters))}
    optional = {"sort": node.sort, "collapse": node.collapse, "search_after": node.search_after, "terminate_after": node.terminate_after}
    return body | {key: value for key, value in optional.items() if value is not None}


def filtered(query: Query | None, filters: Sequence[Query], name: str | None = None) -> Query:
    """Return a query with filters and a name; none means everything."""
    query = query or {"match_all": {}}
    if not filters and name is None:
        return query
    return {"bool": {"must": [query], "filter": list(filters), **({"_name": name} if name is not None else {})}}


def without_inner_hits(query: Any) -> Any:  # noqa: ANN401 any part of a query
    """Return a query without the inner hits of its joins: they are computed once, for the page."""
    if isinstance(query, list):
        return [without_inner_hits(part) for part in query]
    if not isinstance(query, dict):
        return query
    return {
        key: without_inner_hits({k: v for k, v in part.items() if k != "inner_hits"} if key in _CARRIES_INNER_HITS and isinstance(part, dict) else part)
        for key, part in query.items()
    }


def with_reading(body: dict[str, Any], search: LeafSearch, facts: IndexFacts) -> tuple[dict[str, Any], bool]:
    """Return a leaf's body that also fetches the texts, and whether it fetches all of them.

    The passages nearest to the text come along with a kNN over the same nested object (nearest by vector) and with a
    query (nearest by BM25); a kNN over another field, and a subtree that Elasticsearch runs, need ``passages_body``.
    """
    reading, leaf = search.reading, search.node
    assert reading is not None, "only a leaf under a reranker is read"
    body = {**body, "fields": reading.fields()}
    if not reading.asks_nearest:
        return body, True
    if isinstance(leaf, Standard):
        # With a must beside it, a should clause of boost 0 changes neither what matches nor its score.
        return {**body, "query": {"bool": {"must": [body["query"]], "should": [_nearest(reading, search.text)]}}}, True
    if isinstance(leaf, Knn) and facts.nested_path(leaf.field) == reading.nested:
        return {**body, "knn": {**body["knn"], "inner_hits": _inner_hits(reading)}}, True
    return body, False


def _inner_hits(reading: Reading) -> dict[str, Any]:
    return {"name": INNER_HITS, "size": reading.nearest, "_source": False, "fields": reading.passage_fields()}


def _nearest(reading: Reading, text: str) -> Query:
    """Return a nested query of no weight whose inner hits are the passages that match a text best; none is left out."""
    near = {"bool": {"must": [{"match_all": {"boost": 0.0}}], "should": [{"match": {reading.passage: text}}]}}
    return {"nested": {"path": reading.nested, "query": near, "score_mode": "max", "boost": 0.0, "inner_hits": _inner_hits(reading)}}


def texts_body(reading: Reading, text: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return a search for the texts of known documents; of stored passages, where so asked, those that match a text best (BM25)."""
    query = {"bool": {"filter": [only(candidates)], "should": [_nearest(reading, text)]}} if reading.asks_nearest else only(candidates)
    return {"query": query, "size": len(candidates), "_source": False, "track_total_hits": False, "fields": reading.fields()}


def rescore_body(node: Rescorer, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the search that rescores known documents from their present scores, as Elasticsearch does over a compound child."""
    query = scored(candidates, [candidate.score for candidate in candidates])
    return {"query": query, "rescore": list(node.rescore), "size": node.window, "_source": False, "track_total_hits": False}


def only(candidates: Iterable[Candidate]) -> Query:
    """Return a query that matches exactly these documents, even where several indices, or two routings, share an id."""
    groups: dict[tuple[str, str | None], list[str]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.index, candidate.routing), []).append(candidate.id)
    queries = [_in_group(index, routing, ids) for (index, routing), ids in groups.items()]
    if not queries:
        return {"match_none": {}}
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}


def _in_group(index: str, routing: str | None, ids: list[str]) -> Query:
    return {"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": ids}}, *([{"term": {"_routing": routing}}] if routing is not None else [])]}}


def scored(candidates: Sequence[Candidate], scores: Sequence[float]) -> Query:
    """Return a query that gives each of these documents its score (float32), and matches no other."""
    if not candidates:
        return {"match_none": {}}
    each = [{"constant_score": {"filter": only([candidate]), "boost": float(np.float32(score))}} for candidate, score in zip(candidates, scores, strict=True)]
    return {"bool": {"should": each}}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The request for the page and how its scores name the hits: a score of n is ``listed[len(listed) - n]``."""

    body: dict[str, Any]
    listed: tuple[Candidate, ...]

    def candidate(self, score: float | None) -> Candidate | None:
        """Return the document that a hit of the page is; None for one that is not of the window."""
        position = len(self.listed) - int(score or 0)
        return self.listed[position] if score and 0 <= position < len(self.listed) else None


def page_query(window: Sequence[Candidate], offset: int, size: int, asked: Mapping[str, Any], union: Sequence[Query], *, window_only: bool) -> PageQuery:
    """Return the request for one page of a window, with what the caller asked of it.

    Elasticsearch sorts by scores that are the places in our order, so that everything that it does with a page
    (collapsing, post-filtering, counting) it does in that order. The leaves' queries (``union``) stand beside with no
    weight: totals, aggregations, highlights, inner hits and named queries are those of all that the leaves match, or,
    with ``window_only`` (a min_score somewhere), of the window.
    """
    whole = window_only or "collapse" in asked or "post_filter" in asked
    listed = tuple(window) if whole else tuple(window[offset : offset + size])
    places = scored(listed, range(len(listed), 0, -1))
    clauses = [places, *([{"bool": {"should": list(union), "boost": 0.0}}] if union else [])]
    query = places if len(clauses) == 1 else {"bool": {"should": clauses}}
    body = {**asked, "query": query, "size": len(listed)}
    if whole:
        body |= {"from": offset, "size": max(0, min(size, len(listed) - offset))}
    if window_only:
        body["min_score"] = 0.5
    return PageQuery(body, listed)


def union_of(node: Retriever, filters: Sequence[Query], first_stage: Iterator[Sequence[Candidate]]) -> list[Query]:
    """Return the queries of all leaves, in the order of ``leaf_searches``, whose hits ``first_stage`` yields in step.

    A kNN stands for the documents that it found, as in Elasticsearch.
    """
    if isinstance(node, Standard):
        next(first_stage)
        return [filtered(node.query, [*node.filter, *filters], node.name)]
    if isinstance(node, Knn):
        return [_named(only(next(first_stage)), node.name)]
    if isinstance(node, Native):
        found = next(first_stage)
        every = [*filters, *_listed(node.body.get("filter"))]
        return [query for child in node.children for query in union_of(child, every, repeat(found))] or [only(found)]
    pins = [only(next(first_stage))] if isinstance(node, Pinned) else []
    return [*pins, *(query for child in node.children for query in union_of(child, [*filters, *node.filter], first_stage))]


def _named(query: Query, name: str | None) -> Query:
    return query if name is None else {"bool": {"filter": [query], "_name": name}}


def named(candidates: Sequence[Candidate], name: str) -> Query:
    """Return the query that gives a retriever's own hits its name among the matched queries."""
    return {"bool": {"filter": [only(candidates)], "_name": name}}


def candidates_of(hits: Sequence[dict[str, Any]]) -> list[Candidate]:
    """Return Elasticsearch's hits as candidates, ranks from 1 in the order given; a hit without a score has NaN."""
    return [_candidate(hit, rank) for rank, hit in enumerate(hits, 1)]


def _candidate(hit: dict[str, Any], rank: int) -> Candidate:
    score, sort = hit.get("_score"), hit.get("sort")
    shard_doc = sort[-1] if sort and isinstance(sort[-1], int) else None
    return Candidate(hit["_index"], hit["_id"], float("nan") if score is None else score, rank, routing=hit.get("_routing"), shard_doc=shard_doc, hit=hit)


def with_texts(candidate: Candidate, hit: dict[str, Any], reading: Reading) -> Candidate:
    """Return a candidate with what is read of it, from a hit that was fetched with the reading's fields.

    A text that is to be cut first, as ``reading.chunking`` says, is its one passage.
    """
    fields = hit.get("fields") or {}
    context = "\n".join(value for name in reading.context if (value := _joined(fields.get(name))))
    rows = _passages(hit, fields, reading)
    whole = reading.chunked is not None and reading.chunking is None and bool(rows)
    if reading.nearest is None:
        return replace(candidate, context=context, passages=tuple(rows[:PASSAGE_CAP]), whole=whole, capped=len(rows) > PASSAGE_CAP)
    return replace(candidate, context=context, passages=tuple(rows), whole=whole, capped=False)


def _passages(hit: dict[str, Any], fields: dict[str, Any], reading: Reading) -> list[Passage]:
    if not reading.nested:
        text = _joined(fields.get(reading.chunked or ""))
        return [Passage(text, 0, 0)] if text else []
    if reading.asks_nearest:
        found = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
        return [row for inner in found for row in _rows(inner.get("fields") or {}, reading)]
    return _rows(fields, reading)


def _rows(fields: dict[str, Any], reading: Reading) -> list[Passage]:
    """Return the passages in a ``fields`` block: nested objects come grouped under their path."""
    path, names = reading.nested or "", reading.passage_fields()
    rows = []
    for row in fields.get(path, []):
        text, *offsets = (row.get(name.removeprefix(f"{path}."), []) for name in names)
        start, end = (int(values[0]) if values else 0 for values in offsets) if offsets else (0, 0)
        if _joined(text):
            rows.append(Passage(_joined(text), start, end))
    return rows


def _joined(values: Any) -> str:  # noqa: ANN401 whatever Elasticsearch stores in a field
    """Return a field's values as one text, one line each."""
    return "\n".join(str(value) for value in (values or []))
