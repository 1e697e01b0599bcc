"""Takes from the answer of a search the passages for a prompt. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...text.hit_fields import HEADING, field_passages, field_text, field_values, passage_of
from ...text.selection import RankedPassage
from ...types import Passage
from .index_schema import IndexSchema

DEFAULT_FIELDS = ("title", "text")
"""The fields that ``es-rerank ingest`` fills and the short form reads."""


def passages_of(response: Mapping[str, Any], fields: Sequence[str] = DEFAULT_FIELDS) -> list[RankedPassage]:
    """Return the passages of the hits of a response, best first, each with the score of its hit.

    A hit with ``rerank.passage`` gives this passage. Any other hit gives the text of the last of ``fields``:
    each stored passage (``hit_fields.field_passages``) if the field has some, else the whole value, or an
    empty text if the field is missing. The other ``fields`` are the context of the
    passage. ``start`` and ``end`` are character offsets in the source text, or (0, 0) if unknown. A passage
    that the index stores with headings has them.
    """
    *context, text = fields
    return [passage for hit in response["hits"]["hits"] for passage in _passages(hit, context, text)]


def source_for(fields: Sequence[str], schema: IndexSchema) -> bool | dict[str, list[str]]:
    """Return the ``_source`` parameter that fetches what ``passages_of`` needs, without vectors.

    Returns True (the whole ``_source``) when the mapping may not be read.
    """
    return (
        {"includes": [name for field in fields for name in _stored_under(field, schema)]}
        if schema.known
        else True
    )


def _stored_under(field: str, schema: IndexSchema) -> list[str]:
    path = schema.nested_path(field)
    if path:
        headings = [f"{path}.{HEADING}"] if f"{path}.{HEADING}" in schema.types else []
        return [field, f"{path}.start", f"{path}.end", *headings]
    parent = field.rpartition(".")[0]
    # For a multi-field, ``_source`` holds its parent.
    return [field] if schema.types.get(parent, "object") == "object" else [parent]


def _passages(hit: Mapping[str, Any], context: Sequence[str], field: str) -> Iterator[RankedPassage]:
    before = "\n".join(text for name in context if (text := field_text(hit, name)))
    stored = field_passages(hit, field)
    for text, start, end, heading in _reranked(hit, stored) or stored or [_whole(hit, field)]:
        yield RankedPassage(hit["_index"], hit["_id"], text, start, end, before, hit.get("_score"), heading)


def _reranked(hit: Mapping[str, Any], stored: Sequence[Passage]) -> list[Passage]:
    """Return the passage that a reranker names, with the heading of the same stored passage."""
    headings = {passage._replace(heading=""): passage.heading for passage in stored}
    named = [
        passage_of(passage["text"], passage) for passage in hit.get("fields", {}).get("rerank.passage", [])
    ]
    return [passage._replace(heading=headings.get(passage, "")) for passage in named]


def _whole(hit: Mapping[str, Any], field: str) -> Passage:
    """Return the values of a field as one text, the text that the reranker reads.

    Offsets are known only if the value is a single string.
    """
    values, text = field_values(hit, field), field_text(hit, field)
    return Passage(text, 0, len(text) if len(values) == 1 and isinstance(values[0], str) else 0)
