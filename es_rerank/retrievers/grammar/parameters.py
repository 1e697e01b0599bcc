"""The query parameters of a search: which there are, how elasticsearch-py spells them, and where each of them goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Those that belong to the choice of shards go where the point in time is opened, and to every search that has none.
OF_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_throttled", "ignore_unavailable")
OF_SHARDS = (*OF_INDICES, "allow_partial_search_results", "preference", "routing")
# Those that stand before each search of an _msearch, and those of its address (RestMultiSearchAction).
OF_HEADERS = (*OF_SHARDS, "ccs_minimize_roundtrips", "request_cache", "search_type")
OF_MSEARCH = ("max_concurrent_shard_requests", "pre_filter_shard_size")
# Those that shape the page alone.
OF_PAGE = (
    "typed_keys",
    "rest_total_hits_as_int",
    "include_named_queries_score",
    "_source_includes",
    "_source_excludes",
    "_source_exclude_vectors",
    "force_synthetic_source",
)

SEARCH_PARAMETERS = frozenset({*OF_HEADERS, *OF_MSEARCH, *OF_PAGE, "batched_reduce_size", "scroll"})
"""The query parameters of _search that a request may carry beside its body; everything else is a body key."""

FORMATTING = frozenset({"error_trace", "filter_path", "human", "pretty"})
"""They shape how an answer is written, and an answer here is not text."""

ALIASES = {
    "from_": "from",
    "source": "_source",
    "source_includes": "_source_includes",
    "source_excludes": "_source_excludes",
    "source_exclude_vectors": "_source_exclude_vectors",
}
"""How elasticsearch-py spells body keys and query parameters that are Python keywords or private names."""


_LONGEST_NUMBER = 20
"""Characters of a 64-bit integer: longer ones are refused before they are read, which takes quadratic time."""


def whole_number(text: str) -> int | None:
    """Return the integer that a text writes, with a minus sign or without; None for any other text and for longer numbers."""
    digits = text.removeprefix("-")
    return int(text) if len(text) <= _LONGEST_NUMBER and digits.isdecimal() else None


def given(parameters: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return those of the parameters that are among the names."""
    return {name: parameters[name] for name in names if name in parameters}


def split_parameters(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (body keys, query parameters) of keyword arguments as elasticsearch-py spells them; None means not given.

    A query in the address (``q``) is a query beside the body's retriever, and refused as one.
    """
    found = {
        ALIASES.get(key, key): value
        for key, value in options.items()
        if value is not None and key not in FORMATTING
    }
    if "q" in found:
        found["query"] = found.pop("q")
    return {key: value for key, value in found.items() if key not in SEARCH_PARAMETERS}, given(
        found, SEARCH_PARAMETERS & found.keys()
    )


def written(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as an address takes them."""
    return {
        key: str(value).lower()
        if isinstance(value, bool)
        else ",".join(value)
        if isinstance(value, (list, tuple))
        else value
        for key, value in parameters.items()
    }
