"""The query parameters of a search: names, spelling in elasticsearch-py, and the requests they belong to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...errors import RequestError

# Parameters that choose shards. They go to the request that opens a point in time. Those of NOT_IN_PIT go to
# every search without one: the point in time holds them, or Elasticsearch refuses them beside it.
OF_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_throttled", "ignore_unavailable")
OF_SHARDS = (*OF_INDICES, "preference", "routing", "_slice", "allow_partial_search_results")
NOT_IN_PIT = (*OF_INDICES, "preference", "routing", "_slice", "ccs_minimize_roundtrips")
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
    "suggest_field",
    "suggest_mode",
    "suggest_size",
    "suggest_text",
)
# Parameters of a query in the URL. Elasticsearch refuses them without one, and a query beside a retriever.
OF_QUERY_STRING = ("analyzer", "analyze_wildcard", "default_operator", "df", "lenient")

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
    "route_slice": "_slice",
}
"""From the spelling in elasticsearch-py to Elasticsearch's name, where the two differ."""

_SPELLED = {name: argument for argument, name in ALIASES.items()}

_SWITCHES = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "ccs_minimize_roundtrips",
        "ignore_throttled",
        "ignore_unavailable",
        "request_cache",
    }
)
_WORDS = {
    "expand_wildcards": ("", "open", "closed", "hidden", "none", "all"),
    "search_type": ("query_then_fetch", "dfs_query_then_fetch"),
}
_SHOWN = 100
"""Most characters of a value that an error message repeats."""

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


def as_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as keyword arguments in the spelling of elasticsearch-py."""
    return {_SPELLED.get(name, name): value for name, value in parameters.items()}


def split_parameters(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (body keys, query parameters) for keyword arguments in the spelling of elasticsearch-py.

    An argument that is None counts as not given. The parameter ``q`` (a query in the URL) is returned as the
    body key ``query``, so that it is refused beside a retriever as a ``query`` in the body is. Parameters of
    a query in the URL are left out (see ``check_parameters``).
    """
    arguments = {
        ALIASES.get(key, key): value
        for key, value in options.items()
        if value is not None and key not in FORMATTING and key not in OF_QUERY_STRING
    }
    if "q" in arguments:
        arguments["query"] = arguments.pop("q")
    body_keys = {key: value for key, value in arguments.items() if key not in SEARCH_PARAMETERS}
    return body_keys, given(arguments, SEARCH_PARAMETERS & arguments.keys())


_CHECKED = frozenset({*_SWITCHES, *OF_MSEARCH, *_WORDS})


def check_parameters(options: Mapping[str, Any]) -> None:
    """Check query parameters as Elasticsearch does, before the first request.

    Raises RequestError for a parameter of a query in the URL without ``q``, for a parameter of a suggestion
    without ``suggest_field``, for that one without ``suggest_text``, and for a value that Elasticsearch does
    not take.
    """
    present = {ALIASES.get(name, name): value for name, value in options.items() if value is not None}
    suggestions = [name for name in OF_PAGE if name.startswith("suggest_") and name != "suggest_field"]
    for names, needed, sentence in (
        (OF_QUERY_STRING, "q", "missing query string parameter 'q'"),
        (suggestions, "suggest_field", "missing 'suggest_field' parameter"),
        # Elasticsearch 9.5 itself answers a null_pointer_exception with status 500.
        (("suggest_field",), "suggest_text", "missing 'suggest_text' parameter"),
    ):
        stray = [name for name in names if name in present]
        if stray and needed not in present:
            raise RequestError(f"the request contains parameters [{', '.join(stray)}] but {sentence}")
    for name, value in present.items():
        if name not in _CHECKED:
            continue
        written = str(_url_value(value))
        if name in _SWITCHES and written not in {"true", "false", ""}:
            raise RequestError(
                f"Failed to parse value [{written[:_SHOWN]}] as only [true] or [false] are allowed "
                f"for [{name}]"
            )
        if name in OF_MSEARCH and ((number := whole_number(written)) is None or number < 1):
            raise RequestError(f"[{name}] must be a whole number from 1 on, found [{written[:_SHOWN]}]")
        if name in _WORDS and not set(written.split(",")).issubset(_WORDS[name]):
            words = ", ".join(filter(None, _WORDS[name]))
            raise RequestError(f"[{name}] has no value [{written[:_SHOWN]}]; use {words}")


def url_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as a URL holds them: booleans as ``true``/``false``, lists joined by commas."""
    return {key: _url_value(value) for key, value in parameters.items()}


def as_header(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as the header line of a search in an ``_msearch`` holds them.

    A parameter that stands in a URL without a value is true.
    """
    return {
        key: "true" if key in _SWITCHES and value == "" else value
        for key, value in given(parameters, OF_HEADERS).items()
    }


def _url_value(value: Any) -> Any:  # noqa: ANN401 the type depends on the parameter
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, (list, tuple)) else value
