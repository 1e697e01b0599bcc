"""An ordinary Elasticsearch response, better ordered. Pure: dictionaries and rankings in, a dictionary out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .rerank import Ranking, Reranked

Status = Literal["reranked", "partial", "first_stage"]


@dataclass(slots=True)
class Account:
    """What a search cost and how it went; becomes the answer's ``rerank`` block."""

    model: str = ""
    window: int = 0
    candidates: int = 0
    truncated: int = 0
    cached: int = 0
    capped: int = 0
    status: Status = "reranked"
    reason: str | None = None
    requests: int = 0
    received_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        """Return the ``rerank`` block; times in milliseconds."""
        return {
            "model": self.model,
            "status": self.status,
            **({"reason": self.reason} if self.reason else {}),
            "window": self.window,
            "candidates": self.candidates,
            "truncated": self.truncated,
            "cached": self.cached,
            "capped": self.capped,
            "requests": self.requests,
            "bytes": self.received_bytes,
            "milliseconds": {stage: round(seconds * 1000, 1) for stage, seconds in self.seconds.items()},
        }


def fields_of(hit: Reranked) -> dict[str, list[Any]]:
    """Return what the reranker says of a hit, as Elasticsearch's ``fields``: always arrays."""
    fields: dict[str, list[Any]] = {
        "rerank.first_stage_score": [hit.candidate.score],
        "rerank.first_stage_rank": [hit.candidate.rank],
    }
    if hit.logit is not None:
        fields["rerank.logit"] = [hit.logit]
    if hit.model_logit is not None and hit.model_logit != hit.logit:
        fields["rerank.model_logit"] = [hit.model_logit]
    if hit.passage is not None:
        offsets = {"start": hit.passage.start, "end": hit.passage.end} if hit.passage.end else {}
        fields["rerank.passage"] = [{"text": hit.passage.text, **offsets}]
    return fields


def page_of(ranking: Ranking, offset: int, size: int) -> list[Reranked]:
    """Return one page of the window; past its end it is empty."""
    return ranking.hits[offset : offset + size]


def score_of(hit: Reranked, status: Status) -> float | None:
    """Return ``_score``: the probability, the first stage's score when nothing was reranked, None when not reached."""
    return hit.candidate.score if status == "first_stage" else hit.probability


def assemble(first: Mapping[str, Any], ranking: Ranking, page: Sequence[Reranked], fetched: Sequence[Mapping[str, Any]], account: Account) -> dict[str, Any]:
    """Return the response: totals, shards and aggregations of the first stage, the page's hits as fetched, our order.

    A hit that was deleted between the two requests is no hit any more and is left out.
    """
    by_id = {(hit["_index"], hit["_id"]): hit for hit in fetched}
    hits = []
    for reranked in page:
        hit = by_id.get((reranked.candidate.index, reranked.candidate.id))
        if hit is not None:
            hits.append({**hit, "_score": score_of(reranked, account.status), "fields": {**hit.get("fields", {}), **fields_of(reranked)}})
    rest = {key: value for key, value in first.items() if key not in ("hits", "took")}
    shown = {"max_score": score_of(ranking.hits[0], account.status) if ranking.hits else None, "hits": hits}
    total = {"total": first["hits"]["total"]} if "total" in first["hits"] else {}
    return {"took": round(account.seconds.get("total", 0.0) * 1000), **rest, "hits": {**total, **shown}, "rerank": account.block()}
