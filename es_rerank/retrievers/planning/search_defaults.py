"""What indices record for searches that name no field: which to read, and the reranker. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from ...errors import IndexMismatchError
from ..grammar.tree import FirstStage, TextSimilarityReranker
from ..grammar.unparsed_tree import retrievers_in
from .index_schema import IndexSchema, SearchDefaults


def lacks_field(tree: Any, runs: Collection[str]) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a reranker of a tree names no field. ``runs``: the parts that Elasticsearch runs itself."""
    return TextSimilarityReranker.kind not in runs and any(
        kind == TextSimilarityReranker.kind and "field" not in content
        for kind, content in retrievers_in(tree)
    )


def agreed(schema: IndexSchema, *, vectors: bool = False) -> SearchDefaults | None:
    """Return the defaults that the indices record, None if they record none or their mapping is not known.

    ``vectors``: whether the vector field is read too. A tree names it itself. Raises IndexMismatchError when
    two indices record others, or one records none.
    """
    if not schema.known or not schema.defaults:
        return None
    records = {name: schema.defaults.get(name) for name in sorted(schema.indices)}
    first, record = next(iter(records.items()))
    for name, other in records.items():
        if _read(other, vectors=vectors) != _read(record, vectors=vectors):
            raise IndexMismatchError(
                f"the search names no [field], and the indices record different defaults: [{first}] "
                f"{_told(record, vectors=vectors)}, [{name}] {_told(other, vectors=vectors)}; name [field], "
                "and [inference_id] if you need it",
                index=schema.index,
            )
    return record


def _read(record: SearchDefaults | None, *, vectors: bool) -> SearchDefaults | None:
    return record if vectors or record is None else record._replace(vector_field=None)


def short_form_defaults(schema: IndexSchema, *, vectors: bool) -> SearchDefaults | None:
    """Return the defaults for a short form, which finds out by itself what indices without a record have.

    ``vectors``: whether it reads the vector field that is recorded. Raises IndexMismatchError when two
    indices record others.
    """
    if schema.known and schema.indices - schema.defaults.keys():
        return None
    return agreed(schema, vectors=vectors)


def vector_default(defaults: SearchDefaults, first_stage: FirstStage) -> str | None:
    """Return the vector field of a short form, None for a first stage that reads no vectors."""
    return None if first_stage == "bm25" else defaults.vector_field


def _told(record: SearchDefaults | None, *, vectors: bool) -> str:
    if record is None:
        return "none"
    told = list(record.field)
    if vectors:
        told.append(f"vectors of {record.vector_field}" if record.vector_field else "no vectors")
    return ", ".join([*told, *([f"reranker {record.inference_id}"] if record.inference_id else [])])


def filled(tree: Any, defaults: SearchDefaults, runs: Collection[str]) -> Any:  # noqa: ANN401 any JSON value may arrive
    """Return a copy of a tree in which the rerankers that name no field have the defaults.

    What such a reranker names as ``inference_id`` stays.
    """
    tree = deepcopy(tree)
    for kind, content in retrievers_in(tree):
        if kind == TextSimilarityReranker.kind and kind not in runs and "field" not in content:
            content["field"] = list(defaults.field)
            if defaults.inference_id is not None:
                content.setdefault("inference_id", defaults.inference_id)
    return tree


def usable(defaults: SearchDefaults, served: Collection[str]) -> tuple[SearchDefaults, str | None]:
    """Return the defaults without a reranker that is not served, and a sentence about it.

    ``served``: the names of the rerankers; empty where another program chooses among its own.
    """
    name = defaults.inference_id
    if name is None or not served or name in served:
        return defaults, None
    return defaults._replace(inference_id=None), not_served(name)


def not_served(name: str) -> str:
    """Return the sentence about a reranker that an index records and nobody serves."""
    return f"the index records the reranker [{name}], which is not served here; the default reranker ran"
