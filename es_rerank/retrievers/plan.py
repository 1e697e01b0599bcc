"""From the tree to Elasticsearch bodies, and from Elasticsearch hits to candidates. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError
from ..types import Candidate, Passage
from .facts import IndexFacts
from .tree import Knn, Native, Query, Retriever, Standard, TextSimilarityReranker

INNER_HITS = "rerank.passages"
"""Name of the inner hits that carry a document's nearest passages."""

PASSAGE_CAP = 32
"""Passages read per document when ``chunk_rescorer`` names no number: 32 of 160 tokens hold a text of about 3,800
words. Where a document has more, the answer says so."""

_INNER_HITS_LIMIT = 100
"""Elasticsearch's default for ``index.max_inner_result_window``."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Which texts the reranker reads.

    ``context``: fields of the document, read once, or before each passage. ``passage``: the text field inside the
    nested object ``nested``, where passages are stored. ``nearest``: how many of them are asked of Elasticsearch
    (None: all, up to the cap). ``offsets``: whether passages record their position as ``start`` and ``end``.
    """

    context: tuple[str, ...]
    passage: str | None = None
    nested: str | None = None
    nearest: int | None = None
    offsets: bool = False

    def passage_fields(self) -> list[str]:
        """Return the fields to fetch of each passage."""
        names = [self.passage] if self.passage else []
        return [*names, f"{self.nested}.start", f"{self.nested}.end"] if self.offsets else names

    def fields(self) -> list[str]:
        """Return the fields to fetch of each hit."""
        return [*self.context, *([] if self.nearest else self.passage_fields())]


def reading_of(node: TextSimilarityReranker, facts: IndexFacts) -> Reading:
    """Return what a reranker node reads, given the index.

    Raises IndexMismatchError for a field that is not mapped, RequestError for fields that cannot be read together.
    """
    for name in node.field:
        facts.require(name, "text")
    nested = [name for name in node.field if facts.nested_path(name)]
    if len(nested) > 1:
        raise RequestError(
            f"[field] names several nested fields [{', '.join(nested)}]; one field of passages can be reranked, joined with fields of the document"
        )
    if not nested:
        if node.chunk_rescorer:
            raise RequestError(
                f"[chunk_rescorer] needs passages stored in a nested field, and [{', '.join(node.field)}] is not one; "
                "leave it out, or index with es-rerank ingest"
            )
        return Reading(node.field)
    path = facts.nested_path(nested[0])
    chunks = node.chunk_rescorer
    return Reading(
        tuple(name for name in node.field if name != nested[0]),
        nested[0],
        path,
        min(chunks.size, _INNER_HITS_LIMIT) if chunks else None,
        offsets=f"{path}.start" in facts.types and f"{path}.end" in facts.types,
    )


def leaf_body(node: Standard | Knn, window: int, filters: Sequence[Query], vector: list[float] | str | None = None) -> dict[str, Any]:
    """Return the body of a leaf's own search: ids and scores of its first ``window`` hits."""
    every = [*node.filter, *filters]
    body = _knn_body(node, window, every, vector) if isinstance(node, Knn) else _standard_body(node, every)
    body |= {"size": min(window, node.k) if isinstance(node, Knn) else window, "_source": False}
    if node.min_score is not None:
        body["min_score"] = node.min_score
    return body


def _knn_body(node: Knn, window: int, filters: list[Query], vector: list[float] | str | None) -> dict[str, Any]:
    knn: dict[str, Any] = {"field": node.field, "query_vector": vector, "k": node.k, "num_candidates": max(node.num_candidates, min(window, node.k))}
    if filters:
        knn["filter"] = filters
    optional = {"similarity": node.similarity, "rescore_vector": node.rescore_vector, "visit_percentage": node.visit_percentage, "_name": node.name}
    return {"knn": knn | {key: value for key, value in optional.items() if value is not None}}


def _standard_body(node: Standard, filters: list[Query]) -> dict[str, Any]:
    body: dict[str, Any] = {"query": standard_query(node, filters)}
    optional = {"sort": node.sort, "search_after": node.search_after, "terminate_after": node.terminate_after, "collapse": node.collapse}
    body |= {key: value for key, value in optional.items() if value is not None}
    if node.sort is not None:
        body["track_scores"] = True
    return body


def standard_query(node: Standard, filters: Sequence[Query] = ()) -> Query:
    """Return the query of a standard retriever with its filters applied."""
    query = node.query or {"match_all": {}}
    every = [*node.filter, *filters]
    if not every and node.name is None:
        return query
    named = {"_name": node.name} if node.name is not None else {}
    return {"bool": {"must": [query], "filter": every, **named}}


def with_reading(body: dict[str, Any], reading: Reading, leaf: Retriever, facts: IndexFacts, text: str) -> tuple[dict[str, Any], bool]:
    """Return a leaf's body that also fetches the texts, and whether it fetches all of them.

    The passages nearest to ``text`` come along with a kNN over the same nested object (nearest by vector) and with a
    query (nearest by BM25); a kNN over another field needs ``passages_body``.
    """
    body = {**body, "fields": reading.fields()}
    if not reading.nearest:
        return body, True
    if isinstance(leaf, Standard):
        # With a must beside it, a should clause of boost 0 changes neither what matches nor its score.
        return {**body, "query": {"bool": {"must": [body["query"]], "should": [_nearest(reading, text)]}}}, True
    if isinstance(leaf, Knn) and facts.nested_path(leaf.field) == reading.nested:
        return {**body, "knn": {**body["knn"], "inner_hits": _inner_hits(reading)}}, True
    return body, False


def _inner_hits(reading: Reading) -> dict[str, Any]:
    return {"name": INNER_HITS, "size": reading.nearest, "_source": False, "fields": reading.passage_fields()}


def _nearest(reading: Reading, text: str) -> Query:
    """Return a nested query of no weight whose inner hits are the passages that match a text best; none is left out."""
    near = {"bool": {"must": [{"match_all": {"boost": 0.0}}], "should": [{"match": {reading.passage: text}}]}}
    return {"nested": {"path": reading.nested, "query": near, "score_mode": "max", "boost": 0.0, "inner_hits": _inner_hits(reading)}}


def passages_body(reading: Reading, text: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return a search for the passages of known documents that match a text best (BM25)."""
    query = {"bool": {"filter": [only(candidates)], "should": [_nearest(reading, text)]}}
    return {"query": query, "size": len(candidates), "_source": False, "fields": list(reading.context)}


def texts_body(reading: Reading, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return a search for the texts of known documents."""
    return {"query": only(candidates), "size": len(candidates), "_source": False, "fields": reading.fields()}


def only(candidates: Iterable[Candidate]) -> Query:
    """Return a query that matches exactly these documents, even where several indices share an id."""
    by_index: dict[str, list[str]] = {}
    for candidate in candidates:
        by_index.setdefault(candidate.index, []).append(candidate.id)
    queries = [{"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": ids}}]}} for index, ids in by_index.items()]
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}


def page_body(candidates: Sequence[Candidate], asked: dict[str, Any], leaves: Sequence[Retriever]) -> dict[str, Any]:
    """Return the request for the page: exactly these hits, with what the caller asked of them.

    The leaves' queries stand beside the ids as ``should`` so that highlighting and matched queries know them.
    """
    queries = [standard_query(leaf) for leaf in leaves if isinstance(leaf, Standard)]
    return {**asked, "query": {"bool": {"filter": [only(candidates)], "should": queries}}, "size": len(candidates)}


def leaves_of(node: Retriever) -> list[Retriever]:
    """Return the leaves under a node, from left to right."""
    return leaves_of(node.retriever) if isinstance(node, TextSimilarityReranker) else [node]


def candidates_of(hits: Sequence[dict[str, Any]]) -> list[Candidate]:
    """Return first-stage hits as candidates, ranks from 1 in the order given."""
    return [Candidate(hit["_index"], hit["_id"], hit.get("_score") or 0.0, rank, hit=hit) for rank, hit in enumerate(hits, 1)]


def read_texts(hit: dict[str, Any], reading: Reading) -> tuple[str, tuple[Passage, ...], bool]:
    """Return context, passages and whether the cap bit, from a hit that was fetched with the reading's fields."""
    fields = hit.get("fields") or {}
    context = "\n".join(text for name in reading.context if (text := _joined(fields.get(name))))
    if not reading.nested:
        return context, (), False
    if reading.nearest:
        found = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
        rows = [row for inner in found for row in _rows(inner.get("fields") or {}, reading)]
        return context, tuple(rows), False
    rows = _rows(fields, reading)
    return context, tuple(rows[:PASSAGE_CAP]), len(rows) > PASSAGE_CAP


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


def check_tree(node: TextSimilarityReranker, size: int) -> None:
    """Check what can be checked before anything is asked.

    Raises RequestError, in Elasticsearch's words, for a size over the window and for a kind of child that is not run
    here.
    """
    if size > node.rank_window_size:
        raise RequestError(f"[text_similarity_reranker] requires [rank_window_size: {node.rank_window_size}] be greater than or equal to [size: {size}]")
    for leaf in leaves_of(node):
        if isinstance(leaf, Native):
            raise RequestError(f"[{leaf.kind}] cannot stand under [text_similarity_reranker] here; served are [standard], [knn] and [text_similarity_reranker]")
