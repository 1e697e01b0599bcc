"""The query parameters of searches on the page. Elasticsearch's documentation explains them at length."""

from __future__ import annotations

from .parts import Schema, flag, text, whole

_OF_INDICES: dict[str, tuple[str, Schema]] = {
    "allow_no_indices": ("Whether a pattern may match no index.", flag()),
    "expand_wildcards": (
        "Which indices a pattern matches: `open`, `closed`, `hidden`, `none` or `all`.",
        text(),
    ),
    "ignore_throttled": ("Whether frozen indices are left out.", flag()),
    "ignore_unavailable": ("Whether indices that are missing or closed are left out.", flag()),
}

_OF_SHARDS: dict[str, tuple[str, Schema]] = {
    **_OF_INDICES,
    "ccs_minimize_roundtrips": ("Whether a remote cluster reduces its part of a search by itself.", flag()),
    "include_named_queries_score": ("Whether `matched_queries` has the scores of named queries.", flag()),
    "index": ("The index, where the path names none.", text()),
    "routing": ("The value that chooses the shards.", text()),
    "search_type": (
        "Whose statistics of words count.",
        text(enum=["query_then_fetch", "dfs_query_then_fetch"]),
    ),
    "rest_total_hits_as_int": ("Whether `hits.total` is a number.", flag()),
    "typed_keys": ("Whether the names of aggregations begin with their type.", flag()),
    "filter_path": ("Which parts of the answer are sent, such as `hits.hits._id`.", text()),
    "_slice": ("The slice of the shards that is searched.", text()),
    "max_concurrent_shard_requests": ("How many shards of a node are searched at a time.", whole(minimum=1)),
    "pre_filter_shard_size": (
        "From how many shards on they are looked at before the search.",
        whole(minimum=1),
    ),
}

SEARCH_PARAMETERS: dict[str, tuple[str, Schema]] = {
    "from": ("How many hits are left out at the beginning.", whole(minimum=0)),
    "size": ("How many hits are returned: 10, if neither the URL nor the body says it.", whole(minimum=0)),
    "q": ("A query in the URL. It has no place beside a retriever.", text()),
    "sort": ("Fields to sort by, separated by commas.", text()),
    "_source": ("Whether `_source` is returned, or which fields of it.", text()),
    "_source_includes": ("Fields of `_source` that are returned.", text()),
    "_source_excludes": ("Fields of `_source` that are left out.", text()),
    "_source_exclude_vectors": ("Whether vectors are left out of `_source`.", flag()),
    "docvalue_fields": ("Fields that are read from their doc values.", text()),
    "stored_fields": ("Stored fields that are returned.", text()),
    "track_total_hits": ("Whether all hits are counted, or up to which number.", text()),
    "track_scores": ("Whether scores are computed when hits are sorted by fields.", flag()),
    "explain": ("Whether each score is explained.", flag()),
    "version": ("Whether each hit has its version.", flag()),
    "seq_no_primary_term": ("Whether each hit has its sequence number.", flag()),
    "timeout": ("How long each shard may search, such as `2s`.", text()),
    "terminate_after": ("How many documents each shard collects at most.", whole(minimum=0)),
    "stats": ("Groups of statistics that count the search.", text()),
    "preference": ("Which copies of the shards are searched.", text()),
    "request_cache": ("Whether the request cache is used.", flag()),
    "allow_partial_search_results": ("Whether an answer without some shards is allowed.", flag()),
    "batched_reduce_size": ("How many results of shards are reduced at a time.", whole(minimum=2)),
    "scroll": ("How long a scroll is kept. A search that es-rerank runs has none.", text()),
    "force_synthetic_source": ("Whether `_source` is made from the index.", flag()),
    "suggest_field": ("The field for suggestions.", text()),
    "suggest_mode": ("Which suggestions are made.", text(enum=["always", "missing", "popular"])),
    "suggest_size": ("How many suggestions are made.", whole(minimum=1)),
    "suggest_text": ("The text for suggestions.", text()),
    "analyzer": ("The analyzer of `q`.", text()),
    "analyze_wildcard": ("Whether words with wildcards in `q` are analysed.", flag()),
    "default_operator": ("How the words of `q` are joined.", text(enum=["AND", "OR"])),
    "df": ("The field that `q` searches where it names none.", text()),
    "lenient": ("Whether values of a wrong type in `q` are ignored.", flag()),
    **_OF_SHARDS,
}
"""Those of ``_search``: the description and the schema of each."""

MSEARCH_PARAMETERS: dict[str, tuple[str, Schema]] = {
    **_OF_SHARDS,
    "max_concurrent_searches": ("How many searches run at a time.", whole(minimum=1)),
}
"""Those of ``_msearch``."""
