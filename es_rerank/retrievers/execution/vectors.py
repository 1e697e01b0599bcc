"""Computes query vectors, and checks that they come from the same embedder as the vectors of the index."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from ...errors import IndexMismatchError
from ...models import Embedder
from ..grammar.parsing import parse
from ..grammar.tree import VECTOR_BUILDER, Knn, TextEmbedding, TextSimilarityReranker, nodes_of
from ..grammar.unparsed_tree import text_embedding_leaves
from ..planning.first_stage import WindowOrigin, kind_of, origin
from ..planning.index_schema import IndexSchema
from .commands import Context, EmbedQuery, Steps
from .mappings import indices_of_pit, refuse_absent, schema_for


def check_embedder(embedder: Embedder, name: str, schema: IndexSchema) -> None:
    """Check that the embedder fits the vector field ``name`` of the index.

    Raises IndexMismatchError when the mapping records another embedder or vectors with other dimensions.
    """
    if schema.embedders and schema.embedders != {embedder.name}:
        recorded = ", ".join(sorted(schema.embedders))
        remedy = (
            f"choose that embedder, or the path of its folder: --embedder {recorded}, or "
            f"ES_RERANK_EMBEDDER={recorded}"
            if len(schema.embedders) == 1
            else "these indices need different embedders: search them one by one"
        )
        raise IndexMismatchError(
            f"index [{schema.index}] holds vectors of [{recorded}], the query would be embedded with "
            f"[{embedder.name}]; {remedy}",
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


def schema_of_vectors(
    context: Context, fields: Collection[str], common: Mapping[str, Any]
) -> Steps[IndexSchema]:
    """Return what is known about the vector fields of a search that Elasticsearch runs as a whole.

    ``common`` holds the caller's point in time, if there is one. Raises IndexMismatchError for a field that
    no index has.
    """
    expression = ",".join((yield from indices_of_pit(common))) if common else context.index or "_all"
    if not expression:
        return IndexSchema()
    schema = yield from schema_for(context, expression, fields, whole=True)
    for name in sorted(fields):
        yield from refuse_absent(context, schema, name, "vector", common)
    return schema


def vector_steps(
    retriever: dict[str, Any], context: Context, common: Mapping[str, Any]
) -> Steps[dict[str, Any]]:
    """Return a copy of the tree in which computed vectors replace the ``query_vector_builder`` keys.

    ``common`` holds the caller's point in time, if there is one.

    Raises IndexMismatchError when the embedder does not fit the vector field, RetrieverParsingError for a kNN
    that Elasticsearch's parser refuses.
    """
    tree = deepcopy(retriever)
    leaves = list(text_embedding_leaves(tree, context.elasticsearch_runs))
    wanted = [_wanted(leaf) for leaf in leaves]
    schema = yield from schema_of_vectors(context, {field for field, _ in wanted}, common)
    for leaf, (field, text) in zip(leaves, wanted, strict=True):
        embedder = context.served.embedder_for(text.model_id, schema.embedders)
        check_embedder(embedder, field, schema)
        leaf["query_vector"] = yield EmbedQuery(text.model_text, embedder.name)
        del leaf["query_vector_builder"]
    return tree


def origin_of(node: TextSimilarityReranker, schema: IndexSchema, context: Context) -> WindowOrigin:
    """Return where the window of a reranker comes from. The vectors of its first stage are made by then."""
    builders = [leaf.builder for leaf in nodes_of(node.retriever) if isinstance(leaf, Knn)]
    used = (
        {
            context.served.embedder_for(builder.model_id).name
            for builder in builders
            if builder is not None and VECTOR_BUILDER not in context.elasticsearch_runs
        }
        if not schema.embedders
        else set()
    )
    return origin(kind_of(node.retriever), schema.embedders, used)


def _wanted(leaf: dict[str, Any]) -> tuple[str, TextEmbedding]:
    """Return the field and the text of a kNN, after the checks of a kNN in a tree that is run here."""
    node = parse({Knn.kind: leaf})
    if not isinstance(node, Knn) or node.builder is None:
        raise TypeError("text_embedding_leaves yields only a kNN with a text")
    return node.field, node.builder
