"""Reranks the hits of an existing Elasticsearch response. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import RequestError
from ...text.hit_fields import field_passages, field_text
from ...types import Blend, Calibration, Candidate, Passage, Scores
from ..grammar.faults import token_of
from ..grammar.validation import check_read_fields
from ..planning.documents import candidates_of
from ..planning.text_source import PASSAGE_CAP, bounded
from ..ranking.ranked_node import json_score
from ..ranking.rerank import Reranked, rank
from .answer import SearchStats, fields_of


def rescore_candidates(response: dict[str, Any], field: Sequence[str]) -> list[Candidate]:
    """Return the hits of a response as candidates with the texts of the fields in ``field``.

    The texts are those of ``hit_fields.field_text``. A field with stored passages (``field_passages``) gives
    these; the other fields are the context before each passage. If no field has stored passages, the last
    field is the text and may be cut into parts (``long_texts.in_parts``). Raises RequestError when the
    response is not an Elasticsearch response, or no hit has a text in one of the fields.
    """
    check_read_fields(field)
    hits = response.get("hits", {}).get("hits") if isinstance(response.get("hits"), dict) else None
    if not isinstance(hits, list) or not all(isinstance(hit, dict) and "_id" in hit for hit in hits):
        raise RequestError(
            "[response] is not an Elasticsearch search response: [hits.hits] must be a list of hits"
        )
    for number, hit in enumerate(hits):
        _check_hit(number, hit)
    candidates = [
        _with_texts(candidate, field) for candidate in candidates_of([{"_index": "", **hit} for hit in hits])
    ]
    if candidates and not any(candidate.context or candidate.passages for candidate in candidates):
        raise RequestError(
            f"no hit of [response] carries text in [{', '.join(field)}], neither in [_source] nor in "
            "[fields]; search with that field in _source"
        )
    return candidates


def _check_hit(number: int, hit: dict[str, Any]) -> None:
    """Check the types of what is read in a hit. Raises RequestError for what no hit holds."""
    for key, value in hit.items():
        words, is_right = _OF_A_HIT.get(key, ("", None))
        if is_right is not None and not is_right(value):
            raise RequestError(
                f"[response] is not an Elasticsearch search response: [{key}] in [hits.hits] at position "
                f"{number} must be {words}, found {token_of(value)}"
            )


def _is_score(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and -_MOST <= value <= _MOST)  # type: ignore[operator] # a number


_MOST = float(np.finfo(np.float32).max)
"""Scores of Elasticsearch are float32."""

_Check = Callable[[object], bool]
_TEXT: tuple[str, _Check] = ("a text", lambda value: isinstance(value, str))
_OBJECT: tuple[str, _Check] = ("an object", lambda value: value is None or isinstance(value, dict))
_OF_A_HIT: dict[str, tuple[str, _Check]] = {
    "_id": _TEXT,
    "_index": _TEXT,
    "_routing": ("a text", lambda value: value is None or isinstance(value, str)),
    "_score": ("a float32 number or null", _is_score),
    "_source": _OBJECT,
    "fields": _OBJECT,
    "ignored_field_values": _OBJECT,
}
"""What is read in a hit, in words and as a check."""


def _with_texts(candidate: Candidate, field: Sequence[str]) -> Candidate:
    context: list[str] = []
    passages: list[Passage] = []
    last_text = ""
    for name in field:
        if stored := field_passages(candidate.hit, name):
            passages += stored
        elif name == field[-1] and not passages:
            last_text = field_text(candidate.hit, name)
        elif text := field_text(candidate.hit, name):
            context.append(text)
    if last_text:
        passages = [Passage(last_text, 0, 0)]
    return bounded(
        replace(
            candidate,
            context="\n".join(context),
            passages=tuple(passages[:PASSAGE_CAP]),
            whole=bool(last_text),
            capped=len(passages) > PASSAGE_CAP,
        )
    )


def rescored(
    response: dict[str, Any],
    candidates: Sequence[Candidate],
    scores: Scores,
    calibration: Calibration | None,
    stats: SearchStats,
    *,
    blend: Blend | None,
    min_score: float | None = None,
    min_probability: float | None = None,
) -> dict[str, Any]:
    """Return the response with its hits in the order of the reranker and a ``rerank`` block.

    ``blend`` is the part that the scores of the response have in the new ones, None for no part.
    ``stats`` is filled with the counts, and with what the response says of failed shards and timeouts. Raises
    ScoreError when the scores do not fit the candidates.
    """
    ranking = rank(
        candidates,
        scores,
        calibration,
        blend=blend,
        min_score=min_score,
        min_probability=min_probability,
    )
    stats.candidates = stats.window = len(candidates)
    stats.truncated, stats.cached = ranking.truncated, ranking.cached
    stats.left_alone, stats.estimated = ranking.left_alone, ranking.estimated
    stats.capped = sum(candidate.capped for candidate in candidates)
    stats.without_text = sum(not candidate.has_text for candidate in candidates)
    stats.parts.see("response", response)
    if not ranking.complete:
        done = int(scores.done.sum())
        reason = f"the deadline came when {done} of {len(scores)} passages were scored"
        stats.fail(reason, "late", reached=done > 0)
    hits = [_rescored(hit) for hit in ranking.hits]
    shown_hits = {**response["hits"], "max_score": hits[0]["_score"] if hits else None, "hits": hits}
    return {
        **response,
        "took": round(stats.seconds.get("total", 0.0) * 1000),
        "hits": shown_hits,
        "rerank": stats.block(),
    }


def _rescored(hit: Reranked) -> dict[str, Any]:
    score = None if hit.score is None else json_score(hit.score)
    return {
        **hit.candidate.hit,
        "_score": score,
        "fields": {**(hit.candidate.hit.get("fields") or {}), **fields_of(hit)},
    }
