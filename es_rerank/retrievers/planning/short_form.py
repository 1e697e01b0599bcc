"""The short form: builds the body of a search from a question and an index, with es-rerank's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...defaults import WINDOW
from ...errors import IndexMismatchError, RequestError
from ..grammar.tree import MAX_CANDIDATES, FirstStage, Query
from .index_schema import IndexSchema

_NUM_CANDIDATES = 100
_CONTEXT = ("title",)
_PREFERRED_TEXTS = ("text", "content", "body", "passage")


def retriever_for(
    query: str,
    schema: IndexSchema,
    *,
    first_stage: FirstStage = "knn",
    window: int = WINDOW,
    field: str | Sequence[str] | None = None,
    vector_field: str | None = None,
    query_vector: Sequence[float] | None = None,
    filters: Sequence[Query] = (),
    inference_id: str | None = None,
    min_probability: float | None = None,
) -> dict[str, Any]:
    """Return a ``retriever`` body that reranks the first ``window`` hits and allows the reranker to fail.

    The first stage's scores are blended in, which measured better than the reranker alone.

    If the index stores passages, the reranker reads the passage nearest to the query, else it reads ``field``
    or the only text field. Raises RequestError when the query is empty or the vector field is not clear.
    Raises IndexMismatchError when the index lacks the vector or text field that is needed.
    """
    check_query(query)
    vector = _vector_field(schema, vector_field) if first_stage != "bm25" or vector_field else None
    fields = (
        [field] if isinstance(field, str) else list(_text_fields(schema, vector) if field is None else field)
    )
    leaves: dict[str, dict[str, Any]] = {}
    if first_stage != "knn":
        leaves["standard"] = {"query": _bm25(query, schema, fields)}
    if first_stage != "bm25":
        leaves["knn"] = _knn(query, vector or "", window, query_vector)
    child = (
        {"rrf": {"retrievers": [{kind: leaf} for kind, leaf in leaves.items()], "rank_window_size": window}}
        if len(leaves) > 1
        else leaves
    )
    nested = any(schema.nested_path(name) for name in fields)
    reranker: dict[str, Any] = {
        "retriever": child,
        "field": fields,
        "inference_text": query,
        "rank_window_size": window,
        "allow_rerank_failures": True,
        "blend": True,
    }
    if nested:
        reranker["chunk_rescorer"] = {"size": 1}
    if filters:
        reranker["filter"] = list(filters)
    if inference_id:
        reranker["inference_id"] = inference_id
    if min_probability is not None:
        reranker["min_probability"] = min_probability
    return {"text_similarity_reranker": reranker}


def nothing_for(window: int) -> dict[str, Any]:
    """Return the ``retriever`` body for an index expression that names no index: it finds nothing."""
    return {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match_none": {}}}},
            "field": "text",
            "inference_text": "nothing",
            "rank_window_size": window,
            "allow_rerank_failures": True,
        }
    }


def check_query(query: str) -> None:
    """Check that a query has a visible character. Raises RequestError when it has none."""
    if not query.strip():
        raise RequestError("the query is empty; give the words to search for")


def _vector_field(schema: IndexSchema, name: str | None) -> str:
    if name is not None:
        if schema.known and not schema.has(name):
            raise schema.absent(name, "vector")
        if schema.known and name not in schema.dims and schema.types.get(name) != "dense_vector":
            raise IndexMismatchError(
                f"field [{name}] of index [{schema.index}] is of type "
                f"[{schema.types.get(name, 'flattened')}]; a dense_vector is needed",
                index=schema.index,
            )
        return name
    vectors = schema.vectors()
    if not schema.known:
        raise RequestError(
            f"the mapping of [{schema.index}] may not be read, so its vector field cannot be found; "
            "name it (vector_field, --vector-field)"
        )
    if not vectors:
        raise IndexMismatchError(
            f"index [{schema.index}] has no dense_vector field, so kNN cannot recall from it; "
            "use the first stage bm25, or index the documents with: es-rerank ingest",
            index=schema.index,
        )
    if len(vectors) > 1:
        raise RequestError(
            f"index [{schema.index}] has several vector fields ({', '.join(vectors)}); "
            "name one (vector_field, --vector-field)"
        )
    return vectors[0]


def _text_fields(schema: IndexSchema, vector: str | None) -> list[str]:
    """Return the fields that the reranker reads: the title, if the index has one, and one text field.

    The text field is in the same nested object as the vector, or both are outside nested objects.
    """
    texts, vectors = schema.texts(), schema.vectors()
    path = schema.nested_path(vector or vectors[0]) if vector or vectors else None
    beside = [name for name in texts if schema.nested_path(name) == path]
    named = [name for wanted in _PREFERRED_TEXTS for name in beside if name.rsplit(".", 1)[-1] == wanted]
    chosen = named[:1] or [name for name in beside if name not in _CONTEXT]
    if len(chosen) != 1:
        known = ", ".join(texts) or "none"
        raise IndexMismatchError(
            f"which text of index [{schema.index}] to rerank is not clear; name it (field, --field); "
            f"its text fields are: {known}",
            index=schema.index,
        )
    return [*(name for name in _CONTEXT if name in texts), *chosen]


def _knn(query: str, field: str, window: int, vector: Sequence[float] | None) -> dict[str, Any]:
    source: dict[str, Any] = (
        {"query_vector": list(vector)}
        if vector is not None
        else {"query_vector_builder": {"text_embedding": {"model_text": query}}}
    )
    return {
        "field": field,
        "k": window,
        "num_candidates": min(max(2 * window, _NUM_CANDIDATES), MAX_CANDIDATES),
        **source,
    }


def _bm25(query: str, schema: IndexSchema, fields: Sequence[str]) -> Query:
    """Return a match query over the text fields outside nested objects.

    If the index has none, the query searches the passages.
    """
    top = [name for name in schema.texts() if schema.nested_path(name) is None and "." not in name] or [
        name for name in fields if not schema.nested_path(name)
    ]
    flat = [name for name in top if name in fields or name in (*_CONTEXT, *_PREFERRED_TEXTS)] or top
    if flat:
        return {"multi_match": {"query": query, "fields": flat, "type": "most_fields"}}
    return {
        "nested": {
            "path": schema.nested_path(fields[-1]),
            "query": {"match": {fields[-1]: query}},
            "score_mode": "max",
        }
    }
