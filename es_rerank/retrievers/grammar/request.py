"""Reads a ``_search`` body whose retriever es-rerank runs, and sorts its keys by the requests they go to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidSearchError, RequestError, RetrieverParsingError
from .body_values import read_body_value
from .faults import illegal_argument
from .parsing import parse
from .suggestions import did_you_mean
from .tree import Pinned, Retriever, TextSimilarityReranker, nodes_of
from .validation import check_children, check_filters, check_windows, faults_of

# The keys that Elasticsearch refuses beside a retriever, in the order of its error message (observed on 9.5).
_REFUSED_BESIDE_RETRIEVER = ("query", "knn", "search_after", "terminate_after", "sort", "rescore", "rank")
_AS_IF_ABSENT = {"terminate_after": 0}
"""Values that Elasticsearch takes as if the key were not there."""

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
    retriever then returns its whole window (observed on Elasticsearch 9.5). ``min_score`` is None also where
    a retriever of the tree has a minimum of its own: the body's is then without effect (observed on 9.5).
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

    The keys are read in the order of the body, as Elasticsearch does: the first fault is reported. Raises
    RetrieverParsingError when Elasticsearch's grammar does not know the tree or a key, or does not take a
    value. Raises InvalidSearchError when a key cannot stand beside a retriever. Raises RequestError for
    ``slice``, for a ``min_score`` that would be compared with blended scores, and for windows or filters over
    the limits of ``check_windows`` and ``check_filters``. The tree is within the limits of
    ``unparsed_tree.size_of``.
    """
    read = {key: _read(key, value, elasticsearch_runs) for key, value in body.items()}
    tree: Retriever = read["retriever"]
    check_children(tree)
    check_windows(tree)
    check_filters(tree)
    size = read.get("size")
    clashing = [
        key for key in _REFUSED_BESIDE_RETRIEVER if key in read and read[key] != _AS_IF_ABSENT.get(key)
    ]
    faults = faults_of(tree, -1 if size is None else size, scroll=scroll)
    faults += [f"cannot specify [retriever] and [{', '.join(clashing)}]"] if clashing else []
    if faults:
        raise InvalidSearchError.of(faults)
    min_score = None if any(node.has_minimum for node in nodes_of(tree)) else read.get("min_score")
    if min_score is not None and _is_blended(tree):
        raise illegal_argument(
            "has no fixed meaning with [blend]: the score depends on the window; "
            "use [min_probability] of the reranker, which is compared with the probability of the pair",
            "min_score",
        )
    return SearchRequest(
        tree,
        read.get("from", 0),
        size,
        min_score,
        {key: read[key] for key in _BOTH if key in read},
        {key: read[key] for key in (*_PAGE, *_BOTH) if key in read},
    )


def _is_blended(root: Retriever) -> bool:
    """Return whether the scores of the hits depend on their window."""
    node: Retriever | None = root
    while isinstance(node, Pinned):
        node = node.retriever
    return isinstance(node, TextSimilarityReranker) and node.blend


def _read(key: str, value: Any, runs: Collection[str]) -> Any:  # noqa: ANN401 any JSON value may arrive
    if key not in (*_PAGE, *_BOTH, *_OURS, *_WITHOUT_EFFECT, *_REFUSED_BESIDE_RETRIEVER, "slice"):
        raise RetrieverParsingError(
            f"Unknown key in [{key}].{did_you_mean(key, [*_PAGE, *_BOTH, *_OURS])}", path=key
        )
    if key == "retriever":
        return parse(value, elasticsearch_runs=runs)
    read = read_body_value(key, value)
    if key == "slice":
        raise RequestError(
            "[slice] cannot be combined with a compound retriever, because its window cannot be split; "
            "remove [slice]"
        )
    return read
