"""The query parameters of a search: names, spelling in elasticsearch-py, and the requests they belong to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Parameters that choose shards. They go to the request that opens a point in time. Those of NOT_IN_PIT go to
# every search without one: the point in time holds them.
OF_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_throttled", "ignore_unavailable")
NOT_IN_PIT = (*OF_INDICES, "preference", "routing")
OF_SHARDS = (*NOT_IN_PIT, "allow_partial_search_results")
# In an _msearch, OF_HEADERS go into the header line of each search and OF_MSEARCH into the URL. Observed on
# Elasticsearch 9.5: a header line with another key is answered 400, "key [...] is not supported in the
# metadata section".
OF_HEADERS = (*OF_SHARDS, "ccs_minimize_roundtrips", "request_cache", "search_type")
OF_MSEARCH = ("max_concurrent_shard_requests", "pre_filter_shard_size")
# Parameters that change only the page of hits. They go to the request that fetches the page.
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
"""The query parameters of ``_search``. Every other name is a key of the body."""

FORMATTING = frozenset({"error_trace", "filter_path", "human", "pretty"})
"""Query parameters that change how Elasticsearch writes the answer as text. The clients here return objects,
so these parameters are not sent with a search that es-rerank runs."""

ALIASES = {
    "from_": "from",
    "source": "_source",
    "source_includes": "_source_includes",
    "source_excludes": "_source_excludes",
    "source_exclude_vectors": "_source_exclude_vectors",
}
"""From the spelling in elasticsearch-py to Elasticsearch's name, where the two differ."""

_LONGEST_NUMBER = 20
"""Maximum characters of a 64-bit integer. Longer texts are refused before they are parsed: to parse a number
takes time that grows with the square of its length."""


def whole_number(text: str) -> int | None:
    """Return the integer that a text holds, or None if it holds none or is longer than 20 characters."""
    digits = text.removeprefix("-")
    return int(text) if len(text) <= _LONGEST_NUMBER and digits.isdecimal() else None


def given(parameters: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the entries of ``parameters`` whose name is in ``names``."""
    return {name: parameters[name] for name in names if name in parameters}


def split_parameters(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (body keys, query parameters) for keyword arguments in the spelling of elasticsearch-py.

    An argument that is None counts as not given. The parameter ``q`` (a query in the URL) is returned as the
    body key ``query``, so that it is refused beside a retriever as a ``query`` in the body is.
    """
    arguments = {
        ALIASES.get(key, key): value
        for key, value in options.items()
        if value is not None and key not in FORMATTING
    }
    if "q" in arguments:
        arguments["query"] = arguments.pop("q")
    body_keys = {key: value for key, value in arguments.items() if key not in SEARCH_PARAMETERS}
    return body_keys, given(arguments, SEARCH_PARAMETERS & arguments.keys())


def url_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as a URL holds them: booleans as ``true``/``false``, lists joined by commas."""
    return {key: _url_value(value) for key, value in parameters.items()}


def _url_value(value: Any) -> Any:  # noqa: ANN401 the type depends on the parameter
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, (list, tuple)) else value
