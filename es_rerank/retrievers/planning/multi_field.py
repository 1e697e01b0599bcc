"""Expands the multi-field query format of ``rrf`` and ``linear`` into retrievers. Pure functions, no I/O.

The format sends one query to the lexical fields and to the semantic fields separately:
https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers#multi-field-query-format. The
retrievers built here give the results that were observed on Elasticsearch 9.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..grammar.tree import (
    Compound,
    Linear,
    Pinned,
    Query,
    Rescorer,
    Retriever,
    Rrf,
    Standard,
    TextSimilarityReranker,
    Weighted,
    nodes_of,
)
from ..grammar.values import field_weights
from ..grammar.wildcards import matches
from .index_schema import FieldGroup, IndexSchema

_EVERYWHERE = FieldGroup((), default_fields=())
"""Used when the mapping may not be read: assumes that the indices have no semantic fields. Each index applies
its own default fields."""


def uses_fields(node: Retriever) -> bool:
    """Whether the tree holds a fusion in the multi-field format, which needs the mapping."""
    return any(isinstance(below, (Rrf, Linear)) and below.query is not None for below in nodes_of(node))


def expand_fields(node: Retriever, schema: IndexSchema) -> Retriever:
    """Return the tree with each multi-field fusion replaced by a fusion of retrievers.

    Raises RetrieverParsingError when a weight in ``index.query.default_field`` is not a number.
    """
    if not isinstance(node, Compound) or not uses_fields(node):
        return node
    if isinstance(node, (Rrf, Linear)):
        if node.query is not None:
            return _over_fields(node, schema)
        return node.model_copy(
            update={
                "retrievers": tuple(
                    child._replace(retriever=expand_fields(child.retriever, schema))
                    for child in node.retrievers
                )
            }
        )
    assert isinstance(node, (Pinned, Rescorer, TextSimilarityReranker))  # noqa: S101 the only others with fields below
    assert node.retriever is not None, "uses_fields found a fusion below"  # noqa: S101 the message says why
    return node.model_copy(update={"retriever": expand_fields(node.retriever, schema)})


def _over_fields(node: Rrf | Linear, schema: IndexSchema) -> Rrf | Linear:
    weights = field_weights(node.kind, node.fields, "retriever")
    groups = schema.groups or (_EVERYWHERE,)
    children = [child for group in groups for child in _group(node, weights, group, apart=len(groups) > 1)]
    return node.model_copy(update={"query": None, "fields": (), "retrievers": tuple(children)})


def _group(
    node: Rrf | Linear, weights: Mapping[str, float], group: FieldGroup, *, apart: bool
) -> Iterable[Weighted]:
    """Yield the lexical and the semantic child for one group of indices.

    ``apart`` is true when there are several groups: the children are then limited to the indices of this
    group.
    """
    asked = weights or field_weights("index.query.default_field", group.default_fields, "retriever")
    semantic: dict[str, float] = {}
    for pattern, weight in asked.items():
        for name in group.semantic:
            if matches(name, pattern):
                semantic[name] = semantic.get(name, 1.0) * weight
    lexical = {name: weight for name, weight in asked.items() if name not in semantic}
    only: tuple[Query, ...] = ({"terms": {"_index": list(group.indices)}},) if apart else ()
    if lexical or not asked:
        fields = [name if weight == 1.0 else f"{name}^{weight}" for name, weight in lexical.items()]
        query: dict[str, Any] = {
            "multi_match": {
                "query": node.query,
                "type": "most_fields",
                **({"fields": fields} if fields else {}),
            }
        }
        yield Weighted(Standard(query=query, filter=only))
    if semantic:
        children = tuple(
            Weighted(Standard(query={"match": {name: node.query}}, filter=only), weight)
            for name, weight in semantic.items()
        )
        yield Weighted(
            node.model_copy(
                update={
                    "query": None,
                    "fields": (),
                    "retrievers": children,
                    "filter": (),
                    "min_score": None,
                    "name": None,
                }
            )
        )
