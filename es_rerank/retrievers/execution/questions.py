"""What a question to an index reads: the fields of the passages, and what of each hit is fetched.

``es-rerank ask`` and the tools of the MCP server ask so, one with a blocking client, one with an asynchronous
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from elasticsearch import AsyncElasticsearch, Elasticsearch

from ...defaults import TIMEOUT_S
from ..grammar.tree import FirstStage
from ..planning.index_schema import IndexSchema
from ..planning.passages import DEFAULT_FIELDS, source_for
from ..planning.search_defaults import short_form_defaults, vector_default
from ..planning.short_form import check_query, retriever_for
from ..response.client_answers import strict
from .mappings import whole_schema
from .run import Connection, arun, run
from .searching import Searching, searching


class Reading(NamedTuple):
    """What is read of each hit: ``fields``, whose last one holds the text, and the ``_source`` parameter."""

    fields: list[str]
    source: bool | dict[str, list[str]]


def reading_of(
    question: str,
    schema: IndexSchema,
    *,
    first_stage: FirstStage = "knn",
    field: Sequence[str] | None = None,
    vector_field: str | None = None,
    query_vector: Sequence[float] | None = None,
) -> Reading:
    """Return what a search for a question reads: the fields that the short form would read by default, so
    that what is shown is what was scored.

    Raises what ``short_form.retriever_for`` raises.
    """
    check_query(question)
    if schema.known and not schema.indices:  # a pattern that no index has: the search finds nothing
        return Reading(list(field or DEFAULT_FIELDS), source=True)
    recorded = (
        None if field else short_form_defaults(schema, vectors=first_stage != "bm25" and not vector_field)
    )
    if recorded is not None:
        field, vector_field = recorded.field, vector_field or vector_default(recorded, first_stage)
    tree = retriever_for(
        question,
        schema,
        first_stage=first_stage,
        field=list(field) if field else None,
        vector_field=vector_field,
        query_vector=query_vector,
    )
    fields = tree["text_similarity_reranker"]["field"]
    return Reading(fields, source_for(fields, schema))


def schema_for_question(client: Elasticsearch, index: str, timeout_s: float = TIMEOUT_S) -> IndexSchema:
    """Return what can be known about an index, as the short form looks at it, within ``timeout_s`` seconds.

    Raises the errors of Elasticsearch for an index that is missing, and DeadlineError.
    """
    context = _looking(timeout_s).context(index, {}, None)
    return run(whole_schema(context, index), Connection(strict(client)), context)


async def aschema_for_question(
    client: AsyncElasticsearch, index: str, timeout_s: float = TIMEOUT_S
) -> IndexSchema:
    """Return the schema as ``schema_for_question`` does, with an asynchronous client."""
    context = _looking(timeout_s).context(index, {}, None)
    return await arun(whole_schema(context, index), Connection(strict(client)), context)


def _looking(timeout_s: float) -> Searching:
    return searching(None, None, timeout_s, (), "never")


def nothing_found(index: str, fields: Sequence[str], answer: dict[str, Any], first_stage: FirstStage) -> str:
    """Return why an answer without passages has none, and what to change."""
    if hits := len(answer["hits"]["hits"]):
        missing = (
            f"none of the {hits} documents that the search found in [{index}] has text in "
            f"[{', '.join(fields)}]; name the field with --field"
        )
    else:
        other = "hybrid" if first_stage == "bm25" else "bm25"
        missing = (
            f"the search found no document in [{index}], so there is nothing to answer from; try "
            f"--first-stage {other}, or check --filter and the index"
        )
    reason = answer["rerank"].get("reason")
    return f"{missing} ({reason})" if reason else missing
