"""Query vectors that are made here, and whether they mean what the vectors of the index mean."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ...errors import IndexMismatchError
from ...models import Embedder
from ..grammar.tree import (
    Knn,
    builders,
)
from ..planning.index_schema import IndexSchema
from .commands import Context, EmbedQuery, ReadMapping, Steps


def check_embedder(embedder: Embedder, name: str, schema: IndexSchema) -> None:
    """Check that query vectors will mean what the index's vectors mean.

    Raises IndexMismatchError when the index records another embedder, or vectors of another length.
    """
    if schema.embedders and schema.embedders != {embedder.name}:
        recorded = ", ".join(sorted(schema.embedders))
        raise IndexMismatchError(
            f"index [{schema.index}] holds vectors of [{recorded}], the query would be embedded with [{embedder.name}]; choose that embedder",
            index=schema.index,
        )
    dims = schema.dims.get(name, embedder.dims)
    if dims != embedder.dims:
        raise IndexMismatchError(
            f"field [{name}] of index [{schema.index}] holds vectors of {dims} dimensions, embedder [{embedder.name}] makes {embedder.dims}; "
            "give the query vector yourself or choose the embedder that filled the index",
            index=schema.index,
        )


def vector_steps(retriever: dict[str, Any], context: Context) -> Steps[dict[str, Any]]:
    """Return a native tree with every ``query_vector_builder`` that is made here replaced by the vector that it asks for."""
    tree = deepcopy(retriever)
    schema = yield ReadMapping(context.index or "_all")
    for leaf in builders(tree, context.elasticsearch_runs):
        node = Knn.model_validate(leaf)
        assert node.builder is not None, "builders yields only those made here"
        schema.require(node.field, "vector")
        check_embedder(context.served.embedder_for(node.builder.model_id), node.field, schema)
        leaf["query_vector"] = yield EmbedQuery(node.builder.model_text, node.builder.model_id)
        del leaf["query_vector_builder"]
    return tree
