"""Decides which texts of a document a reranker reads, and takes them from hits. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...defaults import MAX_TEXT_CHARACTERS
from ...errors import RequestError
from ...text.hit_fields import HEADING, field_passages, field_text
from ...text.strategies import ChunkingSettings, strategy_of
from ...types import Candidate, Passage
from ..grammar.tree import Query, TextSimilarityReranker
from .document_sets import documents_query
from .index_schema import IndexSchema

INNER_HITS = "rerank.passages"
"""Name of the inner hits that hold the nearest passages of a document."""

PASSAGE_CAP = 32
"""Most passages read per document without ``chunk_rescorer``: 32 passages of 160 tokens are about 3,800
words. If a document has more, the answer counts it under ``capped``."""

_INNER_HITS_LIMIT = 100
"""Elasticsearch's default for ``index.max_inner_result_window``."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """The texts that a reranker reads.

    ``context``: fields of the document that are read before each passage. ``nested`` and ``passage``: if
    passages are stored, the path of their nested object and the text field in it. ``chunked``: if passages
    are not stored, the field that is read. ``chunking``: how ``chunked`` is cut into chunks; None to read it
    whole. ``nearest``: how many stored passages or chunks nearest to the query are read; None to read all, up
    to ``PASSAGE_CAP``. ``offsets``: whether stored passages have their character position as ``start`` and
    ``end``. ``headings``: whether such passages also have a ``heading``, which is read before each.
    """

    context: tuple[str, ...]
    passage: str | None = None
    nested: str | None = None
    nearest: int | None = None
    offsets: bool = False
    chunked: str | None = None
    chunking: ChunkingSettings | None = None
    headings: bool = False

    @property
    def text_field(self) -> str:
        """The field that is read after the context: of the stored passages, or the one that is chunked."""
        return self.passage or self.chunked or ""

    def passage_fields(self) -> list[str]:
        """Return the fields to fetch from each stored passage."""
        names = [self.passage] if self.passage else []
        offsets = [f"{self.nested}.start", f"{self.nested}.end"] if self.offsets else []
        return [*names, *offsets, *([f"{self.nested}.{HEADING}"] if self.headings else [])]

    def fields(self) -> list[str]:
        """Return the fields to fetch from each hit."""
        return [
            *self.context,
            *([self.chunked] if self.chunked else []),
            *([] if self.asks_nearest else self.passage_fields()),
        ]

    @property
    def asks_nearest(self) -> bool:
        """Whether Elasticsearch must choose the nearest of the stored passages."""
        return self.nested is not None and self.nearest is not None


def text_source_of(node: TextSimilarityReranker, schema: IndexSchema) -> TextSource:
    """Return the texts that a reranker node reads from an index with this schema.

    Raises RequestError when ``field`` names several nested fields, or when ``chunking_settings`` is given for
    stored passages.
    """
    nested = [name for name in node.field if schema.nested_path(name)]
    chunks = node.chunk_rescorer
    if len(nested) > 1:
        raise RequestError(
            f"[field] names several nested fields [{', '.join(nested)}]; "
            "name one nested field, alone or with fields outside nested objects"
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
    offsets = f"{path}.start" in schema.types and f"{path}.end" in schema.types
    return TextSource(
        tuple(name for name in node.field if name != nested[0]),
        nested[0],
        path,
        min(chunks.size, _INNER_HITS_LIMIT) if chunks else None,
        offsets=offsets,
        headings=offsets and f"{path}.{HEADING}" in schema.types,
    )


def inner_hits_of(source: TextSource) -> dict[str, Any]:
    """Return the ``inner_hits`` clause that fetches the nearest passages of a document."""
    return {"name": INNER_HITS, "size": source.nearest, "_source": False, "fields": source.passage_fields()}


def nearest_query(source: TextSource, text: str) -> Query:
    """Return a nested query whose inner hits are the passages that match ``text`` best by BM25.

    The query adds 0 to the score of a document, and matches every document that has passages.
    """
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
    """Return the search that fetches the texts of known documents.

    If the source asks for the nearest passages, these are the passages that match ``text`` best by BM25.
    """
    query = (
        {"bool": {"filter": [documents_query(candidates)], "should": [nearest_query(source, text)]}}
        if source.asks_nearest
        else documents_query(candidates)
    )
    return {
        "query": query,
        "size": len(candidates),
        "_source": False,
        "track_total_hits": False,
        "fields": source.fields(),
    }


def fields_lacking(candidate: Candidate, hit: dict[str, Any], source: TextSource) -> list[str]:
    """Return the fields of a source in which a hit lacks a text. ``candidate`` has the texts of the hit.

    A passage that was too long a keyword is in no other part of a hit than ``_ignored``.
    """
    lacking = [name for name in source.context if not field_text(hit, name)]
    read = candidate.passages and not (source.nested and source.passage in hit.get("_ignored", ()))
    return lacking if read else [*lacking, source.text_field]


def with_texts(candidate: Candidate, hit: dict[str, Any], source: TextSource) -> Candidate:
    """Return a candidate with the texts of its hit. The hit was fetched with the fields of ``source``.

    A text that ``source.chunking`` will cut later is stored whole, as the only passage. All are ``bounded``.
    """
    context = "\n".join(text for name in source.context if (text := field_text(hit, name)))
    passages = _passages(hit, source)
    whole = source.chunked is not None and source.chunking is None and bool(passages)
    capped = source.nearest is None and len(passages) > PASSAGE_CAP
    read = tuple(passages[:PASSAGE_CAP] if capped else passages)
    return bounded(replace(candidate, context=context, passages=read, whole=whole, capped=capped))


def bounded(candidate: Candidate) -> Candidate:
    """Return a candidate of whose texts at most ``MAX_TEXT_CHARACTERS`` are read each, ``capped`` if one is
    longer.
    """
    texts = [text for passage in candidate.passages for text in (passage.text, passage.heading)]
    longest = max(len(candidate.context), *map(len, texts), 0)
    if longest <= MAX_TEXT_CHARACTERS:
        return candidate
    passages = tuple(
        passage._replace(
            text=passage.text[:MAX_TEXT_CHARACTERS],
            end=min(passage.end, passage.start + MAX_TEXT_CHARACTERS),
            heading=passage.heading[:MAX_TEXT_CHARACTERS],
        )
        for passage in candidate.passages
    )
    context = candidate.context[:MAX_TEXT_CHARACTERS]
    return replace(candidate, context=context, passages=passages, capped=True)


def _passages(hit: dict[str, Any], source: TextSource) -> list[Passage]:
    if not source.nested or not source.passage:
        text = field_text(hit, source.chunked or "")
        return [Passage(text, 0, 0)] if text else []
    holders = [hit]
    if source.asks_nearest:
        holders = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
    return [
        passage for holder in holders for passage in field_passages(holder, source.passage, source.nested)
    ]
