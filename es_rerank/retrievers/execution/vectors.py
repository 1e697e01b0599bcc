"""Computes query vectors, and checks that they come from the same embedder as the vectors of the index."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ...errors import IndexMismatchError
from ...models import Embedder
from ..grammar.tree import (
    Knn,
    text_embedding_leaves,
)
from ..planning.index_schema import IndexSchema
from .commands import Context, EmbedQuery, ReadMapping, Steps


def check_embedder(embedder: Embedder, name: str, schema: IndexSchema) -> None:
    """Check that the embedder fits the vector field ``name`` of the index.

    Raises IndexMismatchError when the mapping records another embedder or vectors with other dimensions.
    """
    if schema.embedders and schema.embedders != {embedder.name}:
        recorded = ", ".join(sorted(schema.embedders))
        raise IndexMismatchError(
            f"index [{schema.index}] holds vectors of [{recorded}], the query would be embedded with "
            f"[{embedder.name}]; choose that embedder",
            index=schema.index,
        )
    dims = schema.dims.get(name, embedder.dims)
    if dims != embedder.dims:
        raise IndexMismatchError(
            f"field [{name}] of index [{schema.index}] holds vectors of {dims} dimensions, embedder "
            f"[{embedder.name}] makes {embedder.dims}; give the query vector yourself or choose "
            "the embedder that filled the index",
            index=schema.index,
        )


def vector_steps(retriever: dict[str, Any], context: Context) -> Steps[dict[str, Any]]:
    """Return a copy of the tree in which computed vectors replace the ``query_vector_builder`` keys.

    Raises IndexMismatchError when the embedder does not fit the vector field.
    """
    tree = deepcopy(retriever)
    schema = yield ReadMapping(context.index or "_all")
    for leaf in text_embedding_leaves(tree, context.elasticsearch_runs):
        node = Knn.model_validate(leaf)
        assert node.builder is not None, "text_embedding_leaves yields only retrievers with a builder"
        schema.require(node.field, "vector")
        check_embedder(context.served.embedder_for(node.builder.model_id), node.field, schema)
        leaf["query_vector"] = yield EmbedQuery(node.builder.model_text, node.builder.model_id)
        del leaf["query_vector_builder"]
    return tree
