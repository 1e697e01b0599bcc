"""What the values of labels and of fields of the log mean. docs/metrics.md is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...observation import Fallback, Part, Stage, Trouble
from ..record import Outcome

OUTCOMES: Mapping[Outcome, str] = {
    "reranked": "a search or rerank request, and every text has a score",
    "partial": "a search of which some texts have no score, or some shards gave no answer",
    "first_stage": "a search that kept the order of its first stage, because no reranker scored anything",
    "fused": "a search whose tree has no reranker",
    "forwarded": "Elasticsearch answered it as a whole",
    "answered": "any other request with a status below 400",
    "refused": "status 4xx, of the sidecar or of Elasticsearch; or 503 because the sidecar is not ready. "
    "`es_rerank_refusals_total` has the reasons of the sidecar, `es_rerank_elasticsearch_errors_total` those "
    "of Elasticsearch",
    "late": "its deadline passed (504)",
    "left": "its caller closed the connection (499)",
    "failed": "any other error, most often 5xx",
}

TROUBLES: Mapping[Trouble, str] = {
    "refused": "status 4xx but 429: the request is wrong, or not allowed",
    "rejected": "status 429: a queue of Elasticsearch is full",
    "failed": "status 5xx",
    "timeout": "no answer in time",
    "unreachable": "no connection",
}

FALLBACKS: Mapping[Fallback, str] = {
    "late": "the deadline passed",
    "overload": "too much work waited for the model",
    "unknown_model": "no reranker of this name is served",
    "failed": "the reranker failed",
    "no_text": "documents have no text to score",
    "incomplete": "Elasticsearch searched a part of the shards only",
    "inside": "the plugin could not reach its sidecar",
}

STAGES: Mapping[Stage, str] = {
    "mapping": "ask Elasticsearch for mappings and settings of the indices",
    "point_in_time": "open or close a point in time",
    "embed": "embed the query",
    "first_stage": "run the searches of the tree's leaves",
    "explain": "explain the hits of the leaves",
    "passages": "fetch the texts to score",
    "cut": "cut long texts into parts that fit the model",
    "rerank": "score texts",
    "rescore": "run a `rescorer` over the ranking",
    "page": "fetch the hits of the answer",
    "aggregations": "compute aggregations over the ranking",
    "groups": "fetch the groups of a `collapse`",
    "elasticsearch": "a search or another request that Elasticsearch answers as a whole",
}

PARTS: Mapping[Part, str] = {
    "tokenization": "make tokens of the texts",
    "queue": "wait until the first batch begins",
    "inference": "from the beginning of the first batch to the end of the last",
}

FAILURES: Mapping[str, str] = {
    "deadline": "the deadline passed",
    "overloaded": "too much work waits",
    "unhealthy": "the models are loading",
    "batch_size": "too many or too long texts",
    "validation": "another status 4xx",
    "inference": "another status 5xx",
    "left": "the caller closed the connection",
}

CONNECTIONS: Mapping[str, str] = {
    "slow": "headers or body came too slowly",
    "unread": "the caller did not read its answer",
    "evicted": "it made room for another",
    "refused": "its request was refused before it was read: all are busy, the sidecar stops, or headers are "
    "too large",
    "cut": "the sidecar stopped before the answer was complete",
}

_TEXTS = {"single": "one text", "batch": "any other number"}

VALUES: Mapping[tuple[str, str], Mapping[Any, str]] = {
    ("es_rerank_outcomes", "outcome"): OUTCOMES,
    ("es_rerank_searches", "outcome"): OUTCOMES,
    ("es_rerank_fallbacks", "reason"): FALLBACKS,
    ("es_rerank_elasticsearch_errors", "kind"): TROUBLES,
    ("es_rerank_stage_duration_seconds", "stage"): STAGES,
    ("es_rerank_connections_ended", "reason"): CONNECTIONS,
    ("te_request_failure", "err"): FAILURES,
    ("te_request_count", "method"): _TEXTS,
    ("te_request_success", "method"): _TEXTS,
}
"""The values of each label of a closed set, by metric and label."""
