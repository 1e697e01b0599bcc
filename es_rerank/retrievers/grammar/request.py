"""Reads a ``_search`` body whose retriever es-rerank runs, and sorts its keys by the requests they go to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidSearchError, RequestError, RetrieverParsingError
from .parameters import whole_number
from .parsing import parse
from .suggestions import did_you_mean
from .tree import Retriever
from .validation import check_children, faults_of

# The keys that Elasticsearch refuses beside a retriever, in the order of its error message (observed on 9.5).
_REFUSED_BESIDE_RETRIEVER = ("query", "knn", "search_after", "terminate_after", "sort", "rescore", "rank")
_PAGE = (
    "_source",
    "fields",
    "docvalue_fields",
    "stored_fields",
    "script_fields",
    "highlight",
    "version",
    "seq_no_primary_term",
    "explain",
    "profile",
    "aggs",
    "aggregations",
    "track_total_hits",
    "track_scores",
    "suggest",
    "stats",
    "ext",
    "collapse",
    "post_filter",
)
_BOTH = ("runtime_mappings", "pit", "timeout")
_OURS = ("retriever", "from", "size", "min_score")
_WITHOUT_EFFECT = ("indices_boost",)
"""Accepted but without effect, as in Elasticsearch 9.5: a compound retriever computes its scores itself."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The parts of a ``_search`` body.

    ``common`` holds the keys that go into every search, ``page`` the keys that go into the request for the
    page. ``offset`` is the body's ``from``. ``size`` is None when the body has no ``size``: a compound
    retriever then returns its whole window (observed on Elasticsearch 9.5).
    """

    retriever: Retriever
    offset: int = 0
    size: int | None = None
    min_score: float | None = None
    common: dict[str, Any] = field(default_factory=dict)
    page: dict[str, Any] = field(default_factory=dict)

    @property
    def explain(self) -> bool:
        """Whether the answer must explain the score of every hit."""
        return self.page.get("explain") is True


def read_request(
    body: Mapping[str, Any], elasticsearch_runs: Collection[str] = (), *, scroll: bool = False
) -> SearchRequest:
    """Return the parts of a ``_search`` body. No key is dropped silently: a key is used or refused.

    Raises RetrieverParsingError when Elasticsearch's grammar does not know the tree or a key. Raises
    InvalidSearchError when a key cannot stand beside a retriever. Raises RequestError when ``from`` or
    ``size`` is not a non-negative integer, when ``min_score`` is not a number, and for ``slice``.
    """
    unknown = next(
        (
            key
            for key in body
            if key not in (*_PAGE, *_BOTH, *_OURS, *_WITHOUT_EFFECT, *_REFUSED_BESIDE_RETRIEVER, "slice")
        ),
        None,
    )
    if unknown is not None:
        raise RetrieverParsingError(
            f"Unknown key in [{unknown}].{did_you_mean(unknown, [*_PAGE, *_BOTH, *_OURS])}", path=unknown
        )
    if "slice" in body:
        raise RequestError(
            "[slice] cannot be combined with a compound retriever, because its window cannot be split; "
            "remove [slice]"
        )
    tree = parse(body["retriever"], elasticsearch_runs=elasticsearch_runs)
    check_children(tree)
    offset, size = _count(body, "from") or 0, _count(body, "size")
    clashing = [key for key in _REFUSED_BESIDE_RETRIEVER if key in body]
    faults = faults_of(tree, -1 if size is None else size, scroll=scroll)
    faults += [f"cannot specify [retriever] and [{', '.join(clashing)}]"] if clashing else []
    if faults:
        raise InvalidSearchError.of(faults)
    return SearchRequest(
        tree,
        offset,
        size,
        _min_score(body),
        {key: body[key] for key in _BOTH if key in body},
        {key: body[key] for key in (*_PAGE, *_BOTH) if key in body},
    )


def _count(body: Mapping[str, Any], key: str) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        number = whole_number(value)
        value = value if number is None else number
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"[{key}] parameter must be a non-negative integer, found [{value}]")
    if value < 0:
        raise RequestError(f"[{key}] parameter cannot be negative, found [{value}]")
    return value


def _min_score(body: Mapping[str, Any]) -> float | None:
    value = body.get("min_score")
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise RequestError(f"[min_score] must be a number, found [{value}]")
    return value
