"""A ``_search`` body with a retriever that we run: what goes to the first stage, what to the page, what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import RequestError
from .tree import Retriever, parse

# The words that Elasticsearch refuses beside a retriever: SearchSourceBuilder.validate in elastic/elasticsearch.
_REFUSED_BESIDE_RETRIEVER = ("query", "knn", "search_after", "terminate_after", "sort", "rescore", "min_score")
_FIRST_STAGE = ("aggs", "aggregations", "track_total_hits", "timeout", "profile", "post_filter", "indices_boost")
_PAGE = ("_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "highlight", "version", "seq_no_primary_term")
_BOTH = ("runtime_mappings", "pit")
_OURS = ("retriever", "from", "size")
DEFAULT_SIZE = 10


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request taken apart. ``first_stage`` and ``page`` are the parts of the body that each of the two takes."""

    retriever: Retriever
    offset: int = 0
    size: int = DEFAULT_SIZE
    first_stage: dict[str, Any] = field(default_factory=dict)
    page: dict[str, Any] = field(default_factory=dict)


def read_request(body: dict[str, Any]) -> SearchRequest:
    """Take a ``_search`` body apart.

    Raises RequestError for what Elasticsearch refuses beside a retriever, for sizes that are not counts, and for
    parts of a body that cannot be honoured here: nothing is dropped silently.
    """
    clashing = [key for key in _REFUSED_BESIDE_RETRIEVER if key in body]
    if clashing:
        raise RequestError(f"cannot specify [retriever] and [{', '.join(clashing)}]; put the query into a [standard] retriever")
    unknown = [key for key in body if key not in (*_FIRST_STAGE, *_PAGE, *_BOTH, *_OURS)]
    if unknown:
        raise RequestError(f"[{', '.join(unknown)}] cannot be combined with a reranking retriever; send it in a search of its own")
    offset, size = _count(body, "from", 0), _count(body, "size", DEFAULT_SIZE)
    return SearchRequest(
        parse(body["retriever"]),
        offset,
        size,
        {key: body[key] for key in (*_FIRST_STAGE, *_BOTH) if key in body},
        {key: body[key] for key in (*_PAGE, *_BOTH) if key in body},
    )


def _count(body: dict[str, Any], key: str, default: int) -> int:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequestError(f"[{key}] parameter must be a non-negative integer, found [{value}]")
    return value
