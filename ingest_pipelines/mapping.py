"""What an index of ours looks like: fields, and the record of how its vectors were made. Pure: no Elasticsearch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from es_rerank.collection import Document

MANAGED_BY = "es-rerank"
LAYOUT = 1
"""Version of the fields below; it rises when documents must be indexed anew."""

_DATES = "strict_date||strict_date_time||strict_date_time_no_millis||strict_date_hour_minute_second||strict_date_hour_minute_second_fraction||yyyy/MM/dd"
"""Strings taken for dates. Elasticsearch's default also takes a bare year, and so turns a field of codes ("1010") into
dates and refuses the next code ("10115"). One pattern, so that days and moments may mix in one field."""

_KEYWORD_LIMIT = 1024
"""Characters; a longer metadata string is returned but cannot be filtered by. Lucene's own limit is 32766 bytes."""

_NESTED_LIMIT = 100_000
"""Passages per document; Elasticsearch's default of 10000 refuses a text of more than about six megabytes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How passages and vectors are made: embedding model, length of its vectors, passage size and overlap in tokens."""

    embedder: str
    dims: int
    size: int
    overlap: int
    layout: int = LAYOUT

    def __str__(self) -> str:
        return f"embedder {self.embedder} ({self.dims} dimensions), passages of {self.size} tokens overlapping by {self.overlap}, layout {self.layout}"


def index_body(recipe: Recipe) -> dict[str, Any]:
    """Return settings and mappings of an index whose passages are made by ``recipe``."""
    return {
        "settings": {
            # One copy where there is a second node to hold it, none (and a green index) where there is not.
            "auto_expand_replicas": "0-1",
            "mapping": {"nested_objects": {"limit": _NESTED_LIMIT}},
        },
        "mappings": {
            "_meta": _meta(recipe),
            "dynamic": "strict",
            "date_detection": True,
            "dynamic_date_formats": [_DATES],
            "dynamic_templates": [
                {
                    "strings": {
                        "path_match": "metadata.*",
                        "match_mapping_type": "string",
                        "mapping": {"type": "keyword", "ignore_above": _KEYWORD_LIMIT},
                    }
                },
            ],
            "properties": {
                "title": {"type": "text"},
                "text": {"type": "text"},
                "passages": {
                    "type": "nested",
                    "dynamic": "strict",
                    "properties": _passage_fields(recipe.dims),
                },
                "metadata": {"type": "object", "dynamic": True},
                "@timestamp": {"type": "date"},
                "content_hash": {"type": "keyword"},
            },
        },
    }


def _passage_fields(dims: int) -> dict[str, Any]:
    return {
        "text": {"type": "text"},
        # Vectors are unit vectors, so the dot product is the cosine. Plain hnsw keeps the first stage exact to float32.
        "vector": {
            "type": "dense_vector",
            "dims": dims,
            "index": True,
            "similarity": "dot_product",
            "index_options": {"type": "hnsw"},
        },
        "start": {"type": "integer"},
        "end": {"type": "integer"},
    }


def _meta(recipe: Recipe) -> dict[str, Any]:
    chunking = {"size": recipe.size, "overlap": recipe.overlap}
    return {
        "managed_by": MANAGED_BY,
        "version": recipe.layout,
        "embedder": recipe.embedder,
        "dims": recipe.dims,
        "chunking": chunking,
    }


def recorded_recipe(meta: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe in a mapping's ``_meta``, or None where the index is not ours."""
    if meta.get("managed_by") != MANAGED_BY:
        return None
    try:
        return Recipe(
            meta["embedder"],
            meta["dims"],
            meta["chunking"]["size"],
            meta["chunking"]["overlap"],
            meta["version"],
        )
    except (KeyError, TypeError):
        return None


def content_hash(document: Document, recipe: Recipe) -> str:
    """Return what changes when the document must be indexed again: its content, or how passages are made of it.

    Raises ValueError or TypeError for content that JSON or UTF-8 cannot hold (NaN, half of a surrogate pair, a date object).
    """
    parts = [asdict(recipe), document.title, document.text, document.metadata]
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(content.encode()).hexdigest()
