"""Checks a parsed tree as Elasticsearch's validation does. Parsing has accepted the tree before."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import RequestError
from .faults import illegal_argument
from .tree import (
    Compound,
    Linear,
    Pinned,
    Retriever,
    Rrf,
    Standard,
)

_MOST_READ_FIELDS = 100
_LONGEST_FIELD = 1_000


def check_read_fields(fields: Sequence[str]) -> None:
    """Check the fields that a reranker reads. Raises RequestError when there are more than 100, or when a
    name has more than 1,000 characters: each is looked up in every hit.
    """
    if len(fields) > _MOST_READ_FIELDS:
        raise RequestError(
            f"[field] names {len(fields)} fields, at most {_MOST_READ_FIELDS} are read; name fewer"
        )
    longest = max((len(name) for name in fields), default=0)
    if longest > _LONGEST_FIELD:
        raise RequestError(
            f"[field] holds a name of {longest} characters, at most {_LONGEST_FIELD} are read; check the name"
        )


def faults_of(node: Retriever, size: int, *, scroll: bool = False) -> list[str]:
    """Return the errors that Elasticsearch's validation reports for a tree, in its order.

    Observed on Elasticsearch 9.5. ``size`` is the ``size`` of the request. ``scroll`` says whether the
    request asks for a scroll.
    """
    if not isinstance(node, Compound):
        return []
    faults = []
    if size > node.window:
        faults.append(
            f"[{node.kind}] requires [{node.window_key}: {node.window}] be greater than or equal to "
            f"[size: {size}]"
        )
    if scroll:
        faults.append(f"cannot specify [{node.kind}] and [scroll]")
    if node.window < 0:
        faults.append(f"[{node.window_key}] parameter cannot be negative, found [{node.window}]")
    for child in node.children:
        faults += faults_of(child, size, scroll=scroll)
        if isinstance(child, Compound) and node.window > child.window:
            faults.append(
                f"[{node.kind}] requires [{node.window_key}: {node.window}] to be smaller than or equal to "
                f"its sub retriever's {child.kind} [{child.window_key}: {child.window}]"
            )
    return faults + (_fusion_faults(node) if isinstance(node, (Rrf, Linear)) else [])


def _fusion_faults(node: Rrf | Linear) -> list[str]:
    """Return the errors in the multi-field format, in Elasticsearch's order (observed on 9.5)."""
    faults = []
    given = "fields" in node.model_fields_set
    if node.query is None and given:
        return [f"[{node.kind}] [query] must be provided when [fields] is specified"]
    if node.query is not None:
        if not node.query:
            faults.append(f"[{node.kind}] [query] cannot be empty")
        if given and not node.fields:
            faults.append(f"[{node.kind}] [fields] cannot be empty")
        if node.retrievers:
            faults.append(f"[{node.kind}] cannot combine [retrievers] and [query]")
        if isinstance(node, Linear) and node.normalizer is None:
            faults.append("[linear] [normalizer] must be provided when [query] is specified")
    elif not node.retrievers:
        faults.append(f"[{node.kind}] must provide [retrievers] or [query]")
    return faults


def check_children(node: Retriever, path: str = "retriever", *, filtered: bool = False) -> None:
    """Check the standard retrievers below compound retrievers. ``filtered``: a retriever above has a filter.

    Raises RetrieverParsingError when one has ``search_after`` or ``terminate_after``, and when a pinned
    retriever stands over one that has neither a query nor a filter.
    """
    if not isinstance(node, Compound):
        return
    path, filtered = f"{path}.{node.kind}", filtered or bool(node.filter)
    for child in node.children:
        if isinstance(child, Standard):
            key = next(
                (key for key in ("search_after", "terminate_after") if getattr(child, key) is not None), None
            )
            if key is not None:
                raise illegal_argument(f"[{key}] cannot be used in children of compound retrievers", path)
            if isinstance(node, Pinned) and child.query is None and not (filtered or child.filter):
                raise illegal_argument("pinned retriever requires retriever with associated query", path)
        check_children(child, path, filtered=filtered)
