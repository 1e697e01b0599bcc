"""Checks a parsed tree as Elasticsearch's validation does. Parsing has accepted the tree before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...defaults import MAX_QUERY_CHARACTERS, MAX_VALUES, MAX_WINDOWS
from ...errors import RequestError, TooLargeError
from .faults import illegal_argument
from .tree import (
    Compound,
    Linear,
    Pinned,
    Retriever,
    Rrf,
    Standard,
    nodes_of,
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


def check_query_length(name: str, text: str) -> None:
    """Check the length of a query text, which the key ``name`` holds: it is read with each document.

    Raises TooLargeError.
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        raise TooLargeError(
            f"[{name}] has {len(text)} characters, at most {MAX_QUERY_CHARACTERS} are read; shorten it"
        )


def check_windows(root: Retriever) -> None:
    """Check the windows of a tree: how many documents all retrievers take in together.

    Raises RequestError when they are more than ``MAX_WINDOWS``.
    """
    total = sum(
        max(node.window, 0) * (1 + len(node.children))
        for node in nodes_of(root)
        if isinstance(node, Compound)
    )
    if total > MAX_WINDOWS:
        raise RequestError(
            f"the windows of the retrievers hold up to {total} documents together, at most {MAX_WINDOWS} are "
            "read; use smaller windows or fewer retrievers"
        )


def check_filters(root: Retriever) -> None:
    """Check the filters of a tree, each of which is sent with every leaf below it.

    Raises RequestError when they have more than ``MAX_VALUES`` values together.
    """
    total, waiting = 0, [(root, 0)]
    while waiting:
        node, above = waiting.pop()
        if isinstance(node, Compound):
            above += sum(map(_values_in, node.filter))
            waiting.extend((child, above) for child in node.children)
        else:
            total += above
    if total > MAX_VALUES:
        raise RequestError(
            f"the filters of the tree, sent with each leaf below, have {total} values together, at most "
            f"{MAX_VALUES} are sent; use fewer retrievers or shorter filters"
        )


def _values_in(value: Any) -> int:  # noqa: ANN401 any JSON value
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        count += 1
        if isinstance(part, (dict, list)):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return count


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
