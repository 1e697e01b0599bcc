"""Which texts of a document a reranker reads, and the texts in the hits that Elasticsearch returns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import RequestError
from ...text.strategies import Strategy, strategy_of
from ...types import Candidate, Passage
from ..grammar.tree import Query, TextSimilarityReranker
from .documents import only
from .index_schema import IndexSchema

INNER_HITS = "rerank.passages"
"""Name of the inner hits that carry a document's nearest passages."""


PASSAGE_CAP = 32
"""Passages read per document when ``chunk_rescorer`` names no number: 32 of 160 tokens hold a text of about 3,800
words. Where a document has more, the answer says so."""


_INNER_HITS_LIMIT = 100
"""Elasticsearch's default for ``index.max_inner_result_window``."""


@dataclass(frozen=True, slots=True)
class TextSource:
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
        return [
            *self.context,
            *([self.chunked] if self.chunked else []),
            *([] if self.asks_nearest else self.passage_fields()),
        ]

    @property
    def asks_nearest(self) -> bool:
        """Whether Elasticsearch is asked for the nearest of the stored passages."""
        return self.nested is not None and self.nearest is not None


def text_source_of(node: TextSimilarityReranker, schema: IndexSchema) -> TextSource:
    """Return what a reranker node reads, given the index.

    Raises IndexMismatchError for a field that is not mapped, RequestError for fields that cannot be read together.
    """
    for name in node.field:
        schema.require(name, "text")
    nested = [name for name in node.field if schema.nested_path(name)]
    chunks = node.chunk_rescorer
    if len(nested) > 1:
        raise RequestError(
            f"[field] names several nested fields [{', '.join(nested)}]; one field of passages can be reranked, joined with fields of the document"
        )
    if not nested and chunks:
        return TextSource(
            node.field[:-1],
            nearest=chunks.size,
            chunked=node.field[-1],
            chunking=strategy_of(chunks.chunking_settings),
        )
    if not nested:
        return TextSource(node.field[:-1], chunked=node.field[-1])
    if chunks and chunks.chunking_settings is not None:
        raise RequestError(
            f"[chunking_settings] cannot cut [{nested[0]}]: its passages were cut when they were indexed; "
            "leave the settings out, or name a field of the document"
        )
    path = schema.nested_path(nested[0])
    return TextSource(
        tuple(name for name in node.field if name != nested[0]),
        nested[0],
        path,
        min(chunks.size, _INNER_HITS_LIMIT) if chunks else None,
        offsets=f"{path}.start" in schema.types and f"{path}.end" in schema.types,
    )


def inner_hits_of(source: TextSource) -> dict[str, Any]:
    """Return the inner hits that bring the nearest passages of a document."""
    return {"name": INNER_HITS, "size": source.nearest, "_source": False, "fields": source.passage_fields()}


def nearest_query(source: TextSource, text: str) -> Query:
    """Return a nested query of no weight whose inner hits are the passages that match a text best; none is left out."""
    near = {"bool": {"must": [{"match_all": {"boost": 0.0}}], "should": [{"match": {source.passage: text}}]}}
    return {
        "nested": {
            "path": source.nested,
            "query": near,
            "score_mode": "max",
            "boost": 0.0,
            "inner_hits": inner_hits_of(source),
        }
    }


def texts_body(source: TextSource, text: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return a search for the texts of known documents; of stored passages, where so asked, those that match a text best (BM25)."""
    query = (
        {"bool": {"filter": [only(candidates)], "should": [nearest_query(source, text)]}}
        if source.asks_nearest
        else only(candidates)
    )
    return {
        "query": query,
        "size": len(candidates),
        "_source": False,
        "track_total_hits": False,
        "fields": source.fields(),
    }


def with_texts(candidate: Candidate, hit: dict[str, Any], source: TextSource) -> Candidate:
    """Return a candidate with what is read of it, from a hit that was fetched with the reading's fields.

    A text that is to be cut first, as ``source.chunking`` says, is its one passage.
    """
    fields = hit.get("fields") or {}
    context = "\n".join(value for name in source.context if (value := joined_values(fields.get(name))))
    rows = _passages(hit, fields, source)
    whole = source.chunked is not None and source.chunking is None and bool(rows)
    if source.nearest is None:
        return replace(
            candidate,
            context=context,
            passages=tuple(rows[:PASSAGE_CAP]),
            whole=whole,
            capped=len(rows) > PASSAGE_CAP,
        )
    return replace(candidate, context=context, passages=tuple(rows), whole=whole, capped=False)


def _passages(hit: dict[str, Any], fields: dict[str, Any], source: TextSource) -> list[Passage]:
    if not source.nested:
        text = joined_values(fields.get(source.chunked or ""))
        return [Passage(text, 0, 0)] if text else []
    if source.asks_nearest:
        found = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
        return [row for inner in found for row in _rows(inner.get("fields") or {}, source)]
    return _rows(fields, source)


def _rows(fields: dict[str, Any], source: TextSource) -> list[Passage]:
    """Return the passages in a ``fields`` block: nested objects come grouped under their path."""
    path, names = source.nested or "", source.passage_fields()
    rows = []
    for row in fields.get(path, []):
        text, *offsets = (row.get(name.removeprefix(f"{path}."), []) for name in names)
        start, end = (int(values[0]) if values else 0 for values in offsets) if offsets else (0, 0)
        if joined_values(text):
            rows.append(Passage(joined_values(text), start, end))
    return rows


def joined_values(values: Any) -> str:  # noqa: ANN401 whatever Elasticsearch stores in a field
    """Return a field's values as one text, one line each."""
    return "\n".join(str(value) for value in (values or []))
