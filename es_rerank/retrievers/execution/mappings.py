"""The steps that find out what planning must know about the indices of a search. No I/O here.

Each search looks anew, because nothing says that a mapping, an alias or a setting has changed: a mapping that
was kept for a minute made searches read the fields of an index that was gone. A look takes as long as the
smallest request (1.5 ms on one machine). It helps and does not decide: what cannot be read is not known, and
Elasticsearch itself says what is wrong with the search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from elasticsearch import ApiError

from ...text.hit_fields import HEADING
from ..grammar.parameters import OF_INDICES, given
from ..planning.index_schema import (
    IndexSchema,
    names_above,
    runtime_types,
    schema_of,
    schema_of_fields,
)
from .commands import LOOK, Context, EsRequest, Steps, index_path

_WHOLE = "*.mappings,*.settings.index.query,*.settings.index.uuid"
"""What is read of an index. The uuid keeps an index with an empty mapping in the answer."""

_LONGEST_PATH = 3_000
"""Most characters of index names in one path. Elasticsearch's default for a whole request line is 4,096."""

_MOST_INDICES = 10_000
"""Most indices of a point in time that are looked at."""

_PASSING = 429
_MISSING = 404


class MovedError(Exception):
    """Hits come from an index that the look did not find, because an alias or a pattern has changed since."""


def whole_schema(context: Context, expression: str) -> Steps[IndexSchema]:
    """Return all that can be known about the indices of an expression.

    Raises the errors of Elasticsearch for an expression that names a missing index.
    """
    schema = yield from _mapping(context, expression, needed=True)
    if not schema.known:
        fields = yield from _field_caps(context, expression, ["*"], {}, needed=True)
        schema = _with_fields(schema, fields)
    context.schema = schema
    return schema


def schema_for(
    context: Context,
    expression: str,
    names: Collection[str],
    *,
    whole: bool,
    runtime: Any = None,  # noqa: ANN401 any JSON value may arrive
) -> Steps[IndexSchema]:
    """Return what is known about the fields ``names``.

    ``whole``: whether the embedder, the dimensions and the default fields are needed too. ``runtime`` is the
    ``runtime_mappings`` of the search. What this search has read already is not read again.
    """
    schema = context.schema
    if whole and schema is None:
        schema = yield from _mapping(context, expression)
    defined = runtime_types(runtime)
    if schema is not None and defined:
        schema = replace(schema, types=schema.types | defined)
    sure = schema is not None and schema.known and not context.moved
    if names and not (sure and schema is not None and all(schema.has(name) for name in names)):
        wished = {name for field in names for name in (field, *names_above(field), *_beside(field))}
        fields = yield from _field_caps(context, expression, sorted(wished), runtime)
        schema = _with_fields(schema, fields)
    context.schema = schema = schema or IndexSchema(expression)
    return schema


def refuse_absent(
    context: Context, schema: IndexSchema, name: str, purpose: str, common: Mapping[str, Any] | None = None
) -> Steps[None]:
    """Check that the field ``name`` can be read. ``purpose`` is "vector" or "text".

    Raises IndexMismatchError, with the list of the vector or text fields, when no index has the field and
    there are documents that could have it. ``common`` holds the keys that the body of every search needs.
    """
    if not schema.known or not schema.indices or schema.has(name):
        return
    some = {"size": 0, "track_total_hits": True, "terminate_after": 1, **(common or {})}
    path = "/_search" if "pit" in some else f"{context.path}/_search"
    parameters = {} if "pit" in some else given(context.parameters, OF_INDICES)
    answer = yield EsRequest(LOOK, "POST", path, some, parameters)
    if answer["hits"]["total"]["value"] > 0:
        every = yield from _field_caps(context, schema.index, ["*"], {})
        raise every.absent(name, purpose)


def indices_of_pit(common: Mapping[str, Any]) -> Steps[list[str]]:
    """Return the names of the indices that have documents in the caller's point in time."""
    names = {"terms": {"field": "_index", "size": _MOST_INDICES}}
    body = {"size": 0, "track_total_hits": False, "aggs": {"indices": names}, **common}
    answer = yield EsRequest(LOOK, "POST", "/_search", body)
    return sorted(bucket["key"] for bucket in answer["aggregations"]["indices"]["buckets"])


def check_indices(context: Context, found: Iterable[str]) -> None:
    """Check that hits come from indices that this search has looked at. ``found`` names their indices.

    Raises MovedError otherwise, once in a search: a caller may be allowed to search an index and not to read
    its mapping.
    """
    schema = context.schema
    if schema is not None and schema.known and not context.moved and not schema.indices.issuperset(found):
        raise MovedError


def look_for_move(context: Context) -> Steps[None]:
    """Look whether the expression of this search still names the indices that it has looked at.

    This is for a search that failed, or that found nothing or less than it should: with the vectors of
    another model behind the alias, Elasticsearch refuses a query vector of other dimensions, and otherwise
    may find nothing. Raises MovedError, once in a search.
    """
    schema = context.schema
    if schema is None or not schema.known or not schema.indices or context.moved:
        return
    if schema.indices == set(schema.index.split(",")):
        return  # names of indices, which cannot move as an alias and a pattern can
    now = yield from _mapping(context, schema.index)
    if now.known and now.indices != schema.indices:
        raise MovedError


def names_remote(expression: str) -> bool:
    """Whether an index expression names an index of another cluster (``cluster:index``)."""
    return any(_is_remote(name) for name in expression.split(","))


def _is_remote(name: str) -> bool:
    # In date math, such as <logs-{now/d{yyyy|+12:00}}>, and in a selector, such as logs::failures, a colon
    # names no cluster.
    return ":" in name.partition("<")[0].replace("::", "")


def _mapping(context: Context, expression: str, *, needed: bool = False) -> Steps[IndexSchema]:
    """Return the merged mapping of the indices of this cluster. It is not known if there are others too.

    ``needed``: whether the error for a missing index is raised.
    """
    names = expression.split(",")
    remote = names_remote(expression)
    excludes = any(name.startswith("-") for name in names)
    here = [name for name in names if not remote or not (excludes or _is_remote(name))]
    parameters = {"filter_path": _WHOLE, **given(context.parameters, OF_INDICES)}
    found = IndexSchema(expression, known=not remote)
    for piece in _pieces(here):
        answer = yield from _asked(EsRequest(LOOK, "GET", index_path(piece), None, parameters), needed=needed)
        found = found.joined(IndexSchema(expression) if answer is None else schema_of(answer, expression))
    return found if found.known else replace(found, groups=())


def _field_caps(
    context: Context,
    expression: str,
    names: Sequence[str],
    runtime: Any,  # noqa: ANN401 any JSON value may arrive
    *,
    needed: bool = False,
) -> Steps[IndexSchema]:
    """Return the types of fields, of other clusters too. Whoever may search an index may ask for them."""
    parameters = given(context.parameters, OF_INDICES)
    body = {"fields": list(names), **({"runtime_mappings": runtime} if runtime else {})}
    found = IndexSchema(expression, known=True)
    for piece in _pieces(expression.split(",")):
        path = f"{index_path(piece)}/_field_caps"
        answer = yield from _asked(EsRequest(LOOK, "POST", path, body, parameters), needed=needed)
        found = found.joined(
            IndexSchema(expression) if answer is None else schema_of_fields(answer, expression)
        )
    return found


def _asked(request: EsRequest, *, needed: bool) -> Steps[Any]:
    """Return the answer to a look; None if Elasticsearch refuses it."""
    try:
        answer = yield request
    except ApiError as error:
        if not is_not_told(error) and (needed or error.status_code != _MISSING):
            raise
        return None
    return answer


def is_not_told(error: ApiError) -> bool:
    """Whether an error says that what an index is cannot be told, and nothing about the search.

    That is 400 for a cluster elsewhere, 401 and 403 for missing privileges, 405 and 410 for what a
    distribution lacks. A refusal that may pass (429, 5xx) is an error of the search. Without the look,
    vectors of another model would be searched in silence.
    """
    status = error.status_code
    return 400 <= status < 500 and status not in (_PASSING, _MISSING)


def _with_fields(schema: IndexSchema | None, fields: IndexSchema) -> IndexSchema:
    """Return a mapping with what ``_field_caps`` says. Its answer holds every index that may be searched."""
    if schema is None:
        return fields
    return replace(schema.joined(fields), known=schema.known or fields.known)


def _beside(field: str) -> list[str]:
    """Return the names that offsets and heading of a stored passage have, if ``field`` is its text."""
    return [f"{path}.{name}" for path in names_above(field) for name in ("start", "end", HEADING)]


def _pieces(names: Sequence[str]) -> list[str]:
    """Return an index expression in pieces that each fit into one path.

    An exclusion applies to the names before it, so an expression with one stays whole.
    """
    whole = ",".join(names)
    if not names or len(index_path(whole)) <= _LONGEST_PATH or any(name.startswith("-") for name in names):
        return [whole] if names else []
    pieces: list[list[str]] = []
    length = _LONGEST_PATH
    for name in names:  # a path is as long as its names, each with the slash or comma before it
        added = len(index_path(name))
        length += added
        if length > _LONGEST_PATH:
            pieces.append([])
            length = added
        pieces[-1].append(name)
    return [",".join(piece) for piece in pieces]
