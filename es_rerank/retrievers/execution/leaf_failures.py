"""The error of a compound retriever whose leaves failed, as Elasticsearch reports it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elastic_transport import ApiResponseMeta
from elasticsearch import ApiError
from elasticsearch.exceptions import HTTP_EXCEPTIONS

from ..planning.leaves import LeafSearch

_FAILED = "search_phase_execution_exception"
"""Type of the error of a search that failed on its shards. Elasticsearch finds all others before."""

_OF_AN_ANSWER = frozenset({"root_cause", "caused_by"})
"""What the error of an answer has besides what Elasticsearch shows of it under ``suppressed``."""


class Place(NamedTuple):
    """The place of a leaf in a tree.

    ``compound`` and ``number``: the kind of the retriever above, and what tells it from others. ``leaf``: its
    own kind.
    """

    compound: str
    number: int
    leaf: str


def places_of(searches: Sequence[LeafSearch]) -> tuple[Place, ...]:
    """Return the places of the leaves that have a compound retriever above them. Empty if one has none."""
    if any(search.parent is None for search in searches):
        return ()
    return tuple(
        Place(search.parent.kind, id(search.parent), search.node.kind)
        for search in searches
        if search.parent is not None
    )


def failure_of(places: Sequence[Place], failed: Mapping[int, Any], meta: ApiResponseMeta) -> ApiError:
    """Return the error of the first compound retriever with failed leaves.

    ``failed`` holds the answers of the failed searches, each with ``error`` and ``status``, by position.
    """
    first = places[min(failed)]
    here = [position for position in failed if places[position].number == first.number]
    status: int = max(failed[position].get("status", 500) for position in here)
    names = ", ".join(places[position].leaf for position in here)
    cause = {
        "type": "status_exception",
        "reason": f"[{first.compound}] search failed - retrievers '[{names}]' returned errors. All failures "
        "are attached as suppressed exceptions.",
        "suppressed": [
            {key: value for key, value in failed[position]["error"].items() if key not in _OF_AN_ANSWER}
            for position in here
        ],
    }
    described = ApiResponseMeta(status, meta.http_version, meta.headers, meta.duration, meta.node)
    body = {"error": {"root_cause": [cause], **cause}, "status": status}
    return HTTP_EXCEPTIONS.get(status, ApiError)(message="status_exception", meta=described, body=body)


def as_failure(error: ApiError, places: Sequence[Place]) -> ApiError:
    """Return the error of the only leaf of a tree as that of the retriever above it.

    An error that is not one of the shards, such as an index that does not exist, is returned as it is.
    """
    body = error.body
    if len(places) != 1 or not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        return error
    if body["error"].get("type") != _FAILED:
        return error
    return failure_of(places, {0: body}, error.meta)
