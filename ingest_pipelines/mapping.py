"""Defines the mapping of an ingested index: its fields, and the record of how its vectors were made.

This module does not call Elasticsearch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from es_rerank.collection import Document
from es_rerank.models import Embedder, HostedEmbedder
from es_rerank.text.chunking import Chunker
from es_rerank.text.hit_fields import HEADING

from .vector_options import EXACT_FLOAT, VECTORS, VectorOptions

MANAGED_BY = "es-rerank"
LAYOUT = 2
"""Version of the fields below. It is raised when a change makes it necessary to index all documents again."""

METADATA = "metadata"
"""Field for the metadata of a document."""

UNINDEXED = "metadata_unindexed"
"""Field for the metadata whose keys Elasticsearch refuses. It is stored and returned, but not indexed."""

UNFINISHED = "unfinished"
"""Key of ``_meta`` that a rebuild writes into its new version, and removes before the alias moves to it."""

SEARCH_DEFAULTS = {"field": ["title", "passages.text"], "vector_field": "passages.vector"}
"""What a search reads that names no field (see ``retrievers.planning.search_defaults``)."""

_FIELD_LIMIT = 1000
"""Most fields of the index: Elasticsearch's default. ``metadata.MOST_FIELDS`` depends on it."""

_NESTED_LIMIT = 100_000
"""Maximum number of passages per document. With Elasticsearch's default of 10000, a text of more than
about six megabytes would be refused."""


@dataclass(frozen=True, slots=True)
class IndexRecipe:
    """How the passages and vectors of an index are made.

    ``embedder``: the name of the embedding model. ``dims``: the number of dimensions of its vectors. ``size``
    and ``overlap``: of a passage, in tokens. ``layout``: the version of the index's fields. ``tokenizer``:
    the name of the tokenizer that counts these tokens, None if it is the model's own. ``service``: where the
    model was when the index was made, if it is a service: this does not decide whether an index fits.
    """

    embedder: str
    dims: int
    size: int
    overlap: int
    layout: int = LAYOUT
    tokenizer: str | None = None
    service: Mapping[str, str] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        by = f" of the tokenizer {self.tokenizer}" if self.tokenizer else ""
        return (
            f"embedder {self.embedder} ({self.dims} dimensions), "
            f"passages of {self.size} tokens{by} overlapping by {self.overlap}, layout {self.layout}"
        )


def recipe_of(embedder: Embedder, chunker: Chunker) -> IndexRecipe:
    """Return how an ingest with this embedder makes an index. A service may be asked for its model."""
    recipe = IndexRecipe(embedder.name, embedder.dims, chunker.size, chunker.overlap)
    if not isinstance(embedder, HostedEmbedder):
        return recipe
    return replace(recipe, tokenizer=embedder.cut_by(), service=embedder.served_by())


def index_body(recipe: IndexRecipe, vectors: VectorOptions = EXACT_FLOAT) -> dict[str, Any]:
    """Return the settings and mappings of an index whose passages and vectors are made by ``recipe``.

    ``vectors``: how Elasticsearch indexes the vectors.
    """
    return {
        "settings": {
            # One replica if a second node can hold it. On a single node there is none, so the index is green.
            "auto_expand_replicas": "0-1",
            "mapping": {"nested_objects": {"limit": _NESTED_LIMIT}, "total_fields": {"limit": _FIELD_LIMIT}},
        },
        "mappings": {
            "_meta": {**_meta(recipe), VECTORS: vectors.as_meta()},
            "dynamic": "strict",
            "properties": {
                "title": {"type": "text"},
                "text": {"type": "text"},
                **_FORMAT,
                "passages": {
                    "type": "nested",
                    "dynamic": "strict",
                    "properties": _passage_fields(recipe.dims, vectors),
                },
                **metadata_body({}),
                UNINDEXED: {"type": "object", "enabled": False},
                "@timestamp": {"type": "date"},
                "content_hash": {"type": "keyword"},
            },
        },
    }


def metadata_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the property of the metadata with these fields, in a new mapping and in a change of one.

    The ingest adds the fields (see ``metadata``). With ``subobjects: false``, a field may hold both objects
    and other values, and objects may be nested to any depth. On Elasticsearch 9.1, a change of the mapping
    must say so again.
    """
    body: dict[str, Any] = {"type": "object", "dynamic": False, "subobjects": False}
    return {METADATA: {**body, **({"properties": fields} if fields else {})}}


_FORMAT = {"format": {"type": "keyword"}}
"""What the text is written in (``Document.format``). Plain text has no such field."""


def heading_body() -> dict[str, Any]:
    """Return the properties that an index of an earlier release lacks for Markdown: the headings of passages,
    and what the text is written in.
    """
    return {"passages": {"type": "nested", "properties": {HEADING: {"type": "text"}}}, **_FORMAT}


def _passage_fields(dims: int, vectors: VectorOptions) -> dict[str, Any]:
    return {
        "text": {"type": "text"},
        HEADING: {"type": "text"},
        # The vectors have length 1, so the dot product is the cosine.
        "vector": {
            "type": "dense_vector",
            "dims": dims,
            "index": True,
            "similarity": "dot_product",
            "index_options": dict(vectors.index_options),
        },
        "start": {"type": "integer"},
        "end": {"type": "integer"},
    }


def _meta(recipe: IndexRecipe) -> dict[str, Any]:
    chunking: dict[str, Any] = {"size": recipe.size, "overlap": recipe.overlap}
    if recipe.tokenizer is not None:
        chunking["tokenizer"] = recipe.tokenizer
    return {
        "managed_by": MANAGED_BY,
        "version": recipe.layout,
        "embedder": recipe.embedder,
        "dims": recipe.dims,
        "chunking": chunking,
        "search": SEARCH_DEFAULTS,
        **({"service": dict(recipe.service)} if recipe.service else {}),
    }


def recorded_recipe(meta: Mapping[str, Any]) -> IndexRecipe | None:
    """Return the recipe in a mapping's ``_meta``, None when es-rerank did not make the index."""
    if meta.get("managed_by") != MANAGED_BY:
        return None
    try:
        embedder, tokenizer = meta["embedder"], meta["chunking"].get("tokenizer")
        numbers = meta["dims"], meta["chunking"]["size"], meta["chunking"]["overlap"], meta["version"]
    except (KeyError, TypeError, AttributeError):
        return None
    named = isinstance(embedder, str) and isinstance(tokenizer, str | None)
    if not named or not all(type(number) is int for number in numbers):
        return None
    return IndexRecipe(embedder, *numbers, tokenizer)


def content_hash(document: Document, recipe: IndexRecipe) -> str:
    """Return a hash of the document's content and of the recipe, 64 hexadecimal digits.

    A document must be indexed again when its hash changes. Raises ValueError or TypeError for content that
    JSON in UTF-8 cannot hold, such as NaN, a lone surrogate or a date object.
    """
    made_by = asdict(recipe)
    del made_by["service"]
    if recipe.tokenizer is None:  # so the hash stays what it was before there were other tokenizers
        del made_by["tokenizer"]
    parts = [made_by, document.title, document.text, document.metadata]
    if document.format != "text":  # so the hash of a plain text stays what it was before there were formats
        parts.append(document.format)
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(content.encode()).hexdigest()


def hashed(document: Document, recipe: IndexRecipe) -> tuple[Document, str]:
    """Return the document and its content hash.

    A number that JSON does not have becomes its name: ``1e999`` of a JSON file is infinite in Python. Raises
    as ``content_hash`` does.
    """
    try:
        return document, content_hash(document, recipe)
    except ValueError as error:
        if not str(error).startswith("Out of range float"):
            raise
    document = document._replace(metadata=_finite(document.metadata))
    return document, content_hash(document, recipe)


def _finite(value: Any) -> Any:  # noqa: ANN401 any JSON value
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
