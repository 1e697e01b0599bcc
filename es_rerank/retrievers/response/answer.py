"""Builds the response of a search: an Elasticsearch response in the order of the ranking. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...observation import Fallback
from ...types import Candidate, DocumentKey
from ..grammar.request import SearchRequest
from ..planning.page import PageQuery
from ..ranking.ranked_node import RankedNode, details, explanation, json_score
from ..ranking.rerank import Reranked
from .completeness import Completeness
from .computed import Explain, explained, explained_hits, key_of, of_places

Status = Literal["reranked", "partial", "first_stage", "fused"]


@dataclass(slots=True)
class SearchStats:
    """Statistics of a search. They become the ``rerank`` block of the answer.

    ``models``: names of the rerankers, in the order in which they ran. ``window``: documents that the tree
    can return. ``candidates``: documents given to the rerankers. ``truncated``: passages that were cut to a
    model's window. ``cached``: passages whose scores came from a cache. ``capped``: documents of which not
    all passages were read. ``estimated``: documents that only a cascade's cheap model has read, which come
    after the others. ``blended``: whether the first stage has a part in a reranker's scores.
    ``blends``: the keys of the blends that counted (``types.Calibration``). ``left_alone``: whether a
    reranker left the order of its first stage alone, because it agreed with it too little.
    ``partial``: whether a reranker scored only a part. ``warnings``: what a caller should know about the
    scores, one sentence each. ``fallbacks``: the kinds of the reasons. ``told``: the status that the plugin
    tells. ``forwarded``: whether Elasticsearch ran the search as a whole. ``seconds``: the time of each
    stage, also of those that failed.
    """

    models: list[str] = field(default_factory=list)
    window: int = 0
    candidates: int = 0
    truncated: int = 0
    cached: int = 0
    capped: int = 0
    estimated: int = 0
    without_text: int = 0
    reranked: bool = False
    blended: bool = False
    blends: list[str] = field(default_factory=list)
    left_alone: bool = False
    partial: bool = False
    reason: str | None = None
    fallbacks: list[Fallback] = field(default_factory=list)
    told: Status | None = None
    forwarded: bool = False
    warnings: list[str] = field(default_factory=list)
    parts: Completeness = field(default_factory=Completeness)
    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def fail(self, reason: str, kind: Fallback, *, reached: bool) -> None:
        """Record that a reranker did not finish. ``reached`` is true if it scored some passages."""
        self.fallbacks.append(kind)
        self.reason = reason if self.reason is None else f"{self.reason}; {reason}"
        self.partial |= reached

    def warn(self, sentence: str | None) -> None:
        """Record what a caller should know about the scores, once; None is nothing."""
        if sentence is not None and sentence not in self.warnings:
            self.warnings.append(sentence)

    @property
    def reasons(self) -> list[str]:
        """Return why the answer is incomplete: the rerankers first, then shards. Empty if it is complete."""
        return [*([] if self.reason is None else [self.reason]), *self.parts.reasons()]

    @property
    def status(self) -> Status:
        """Return the status of the search.

        ``first_stage``: no reranker scored anything. ``partial``: some scores are missing, or Elasticsearch
        searched only a part. ``reranked``: all rerankers finished. ``fused``: the tree has no reranker.
        """
        if self.reason is not None and not (self.partial or self.reranked):
            return "first_stage"
        if self.reasons:
            return "partial"
        return "reranked" if self.models else "fused"

    def block(self) -> dict[str, Any]:
        """Return the ``rerank`` block. Times are in milliseconds, sizes in bytes of JSON."""
        return {
            **({"model": ", ".join(self.models)} if self.models else {}),
            "status": self.status,
            **({"reason": "; ".join(self.reasons)} if self.reasons else {}),
            **({"warnings": self.warnings} if self.warnings else {}),
            **({"score": "blend" if self.blended else "probability"} if self.models else {}),
            **({"blend": ", ".join(self.blends)} if self.blends else {}),
            **({"order": "first_stage"} if self.left_alone else {}),
            "window": self.window,
            "candidates": self.candidates,
            "truncated": self.truncated,
            "cached": self.cached,
            "capped": self.capped,
            **({"estimated": self.estimated} if self.estimated else {}),
            "without_text": self.without_text,
            "requests": self.requests,
            "bytes": self.received_bytes,
            "bytes_sent": self.sent_bytes,
            "milliseconds": {stage: round(seconds * 1000, 1) for stage, seconds in self.seconds.items()},
        }


def fields_of(hit: Reranked) -> dict[str, list[Any]]:
    """Return the result of the reranker for a hit in the form of Elasticsearch's ``fields``: each value is an
    array, and what is unknown is left out, such as the score of a first stage that sorts by a field.
    """
    score = json_score(hit.candidate.score)
    fields: dict[str, list[Any]] = {} if score is None else {"rerank.first_stage_score": [score]}
    fields["rerank.first_stage_rank"] = [hit.candidate.rank]
    if hit.logit is not None and hit.probability is not None:
        fields["rerank.logit"] = [json_score(hit.logit)]
        fields["rerank.probability"] = [json_score(hit.probability)]
    if (passage := best_passage(hit)) is not None:
        fields["rerank.passage"] = [passage]
    return fields


def best_passage(hit: Reranked) -> dict[str, Any] | None:
    """Return the passage that an answer shows for a hit, with its offsets if they are known.

    None for a document that was read whole.
    """
    if hit.passage is None or hit.candidate.whole:
        return None
    offsets = {"start": hit.passage.start, "end": hit.passage.end} if hit.passage.end else {}
    return {"text": hit.passage.text, **offsets}


def assemble(
    root: RankedNode,
    window: Sequence[Candidate],
    page: PageQuery,
    fetched: Mapping[str, Any],
    stats: SearchStats,
    request: SearchRequest,
) -> dict[str, Any]:
    """Return the response: the page from Elasticsearch with the scores of the ranking and the ``rerank``
    block.

    ``fetched`` is Elasticsearch's answer to the request for the page. A document that was deleted before this
    request is left out. Shards, timeouts and clusters are those of all requests of the search.
    """
    results = details(root)
    hits = []
    for hit in fetched["hits"]["hits"]:
        candidate = page.candidate(hit.get("_score"))
        if candidate is not None:
            hits.append(_hit(hit, candidate, root, results, page, request))
    other_keys = {key: value for key, value in fetched.items() if key not in ("hits", "took", "pit_id")}
    if "aggregations" in other_keys:
        other_keys["aggregations"] = explained(other_keys["aggregations"], _explain_by(root))
    pit = {"pit_id": fetched["pit_id"]} if "pit_id" in fetched and "pit" in request.common else {}
    total = {"total": fetched["hits"]["total"]} if "total" in fetched["hits"] else {}
    first = page.candidate(fetched["hits"].get("max_score")) if page.whole else next(iter(window), None)
    best = json_score(first.score) if first and hits else None
    return {
        **pit,
        "took": round(stats.seconds.get("total", 0.0) * 1000),
        **other_keys,
        **stats.parts.merged(),
        "hits": {**total, "max_score": best, "hits": hits},
        "rerank": stats.block(),
    }


def _hit(
    hit: Mapping[str, Any],
    candidate: Candidate,
    root: RankedNode,
    results: Mapping[DocumentKey, Reranked],
    page: PageQuery,
    request: SearchRequest,
) -> dict[str, Any]:
    shaped = {**hit, "_score": json_score(candidate.score)}
    reranked = results.get(candidate.key)
    if reranked is not None:
        shaped["fields"] = {**hit.get("fields", {}), **fields_of(reranked)}
    if request.explain:
        where: dict[str, Any] = {
            key: candidate.hit[key] for key in ("_shard", "_node") if key in candidate.hit
        }
        shaped = {**where, **shaped, "_explanation": explanation(root, candidate.key)}
    names = _collapsed_names(request)
    if names:
        shaped["inner_hits"] = {
            name: _group(group, root, page) if name in names else group
            for name, group in hit.get("inner_hits", {}).items()
        }
    return shaped


def _explain_by(root: RankedNode) -> Explain:
    return lambda hit: explanation(root, key_of(hit))


def _group(group: Mapping[str, Any], root: RankedNode, page: PageQuery) -> dict[str, Any]:
    """Return the inner hits of a collapsed group with scores and explanations of the ranking."""
    return explained_hits(of_places(group, page.listed) if page.groups is None else group, _explain_by(root))


def _collapsed_names(request: SearchRequest) -> set[str]:
    """Return the names of inner hits that ``collapse`` creates. Their scores are places in the ranking."""
    collapse = request.page.get("collapse") or {}
    inner = collapse.get("inner_hits") or []
    listed = inner if isinstance(inner, list) else [inner]
    return {group.get("name", collapse.get("field")) for group in listed}
