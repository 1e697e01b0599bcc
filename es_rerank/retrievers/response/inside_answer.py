"""Adds the ``rerank`` block to the response of a search that ran inside Elasticsearch. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from .answer import SearchStats, Status

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""A value of the header ``Warning`` as Elasticsearch writes it: code, agent, quoted text (RFC 7234, 5.5)."""

_MARK = "[es_rerank] "
"""The plugin's warnings begin with the retriever that they are about."""

_KNOWN = ("requests", "bytes", "bytes_sent", "milliseconds")
"""The keys of the block that mean the same inside and outside."""

_NO_FAILURE = re.compile(
    r"\d+ of \d+ (?:shards failed|documents have no text) "
    r"|of \d+ of \d+ documents the first \d+ passages were read|\d+ passages were cut "
)
"""Warnings of the reranker that say nothing about its scores."""


def warnings_in(header: str | None) -> list[str]:
    """Return the texts in the header ``Warning`` of Elasticsearch, with their escapes undone."""
    return [unquote(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header or "")]


def reasons_in(warnings: Iterable[str]) -> list[str]:
    """Return why a reranker of the plugin did not finish, from the texts of the warnings."""
    said = [warning.removeprefix(_MARK) for warning in warnings if warning.startswith(_MARK)]
    return [text for text in said if not _NO_FAILURE.match(text)]


def inside_answer(
    answer: Mapping[str, Any],
    warning: str | None,
    models: Iterable[str],
    window: int | None,
    stats: SearchStats,
    *,
    reranks: bool,
    scores_hits: bool,
    blended: bool | None,
) -> dict[str, Any]:
    """Return a response of Elasticsearch with the block ``rerank``.

    ``warning``: the header of that name. ``models``: the names of the rerankers that are known. ``window``:
    how many documents the tree can return, None if not known. ``reranks``: whether the tree has a reranker.
    ``scores_hits``: whether the outermost retriever is one, so that each scored hit says its logit.
    ``blended``: whether the first stage has a part in a reranker's scores, None if not known.
    The block has ``inside: true`` and what is known here: it lacks ``candidates``, ``truncated``, ``cached``
    and ``capped``.
    """
    named = list(dict.fromkeys(models))
    reasons = reasons_in(warnings_in(warning))
    hits = (answer.get("hits") or {}).get("hits") or []
    scored = any("rerank.logit" in (hit.get("fields") or {}) for hit in hits)
    # Elasticsearch may fill a page with documents that the tree did not rank. Their score is 0.
    ranked = any((hit.get("_score") or 0) > 0 for hit in hits)
    if scores_hits and ranked and not scored and not reasons:
        reasons = ["the reranker gave no scores"]  # a proxy may drop the header
    block = {
        **({"model": ", ".join(named)} if named else {}),
        **({"score": "blend" if blended else "probability"} if named and blended is not None else {}),
        "status": _status(reasons, scored=scored) if reranks else "fused",
        **({"reason": "; ".join(reasons)} if reasons else {}),
        **({} if window is None else {"window": window}),
        **{key: value for key, value in stats.block().items() if key in _KNOWN},
        "inside": True,
    }
    return {**answer, "rerank": block}


def _status(reasons: list[str], *, scored: bool) -> Status:
    if not reasons:
        return "reranked"
    return "partial" if scored else "first_stage"
