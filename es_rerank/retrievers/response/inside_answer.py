"""Adds the ``rerank`` block to the response of a search that ran inside Elasticsearch. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from ...observation import Fallback
from .answer import SearchStats, Status

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""A value of the header ``Warning`` as Elasticsearch writes it: code, agent, quoted text (RFC 7234, 5.5)."""

_MARK = "[es_rerank] "
_MARKS = (_MARK, "[es_rrf] ", "[es_linear] ")
"""The plugin's warnings begin with the retriever that they are about."""

_KNOWN = ("requests", "bytes", "bytes_sent", "milliseconds")
"""The keys of the block that mean the same inside and outside."""

_SHARDS = re.compile(r"(\d+) of \d+ shards failed ")
"""A warning of shards that failed in a search of the first stage."""

_WITHOUT_TEXT = re.compile(
    r"(?:(\d+) of \d+ documents have|none of the (\d+) documents of the window has) (?:no )?text "
)
"""A warning of documents without text: of some, or of all of a window."""

_ABOUT_SCORES = re.compile(r"the model \[.*?\] was not trained on texts in ")
"""A warning that scores mean little (``models.scripts``)."""

_NO_FAILURE = re.compile(
    r"\d+ of \d+ (?:shards failed|documents have no text) "
    r"|of \d+ of \d+ documents the first \d+ passages were read|\d+ passages were cut "
)
"""Warnings of the reranker that say nothing about its scores."""


class Told(NamedTuple):
    """What the headers of an answer tell: the header ``Warning``, and of a plugin the ``rerank`` block's
    ``blend`` and ``order``; None without such a header.
    """

    warning: str | None = None
    blend: str | None = None
    order: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Told:
        """Read the headers of an answer. Their names are found in any case."""
        blend, order = headers.get("x-rerank-blend"), headers.get("x-rerank-order")
        left_alone = "first_stage" in (order or "")
        return cls(
            headers.get("warning"),
            None if blend is None else unquote(blend),
            "first_stage" if left_alone else None,
        )


def warnings_in(header: str | None) -> list[str]:
    """Return the texts in the header ``Warning`` of Elasticsearch, with their escapes undone."""
    return [unquote(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header or "")]


def reasons_in(warnings: Iterable[str]) -> list[str]:
    """Return why a reranker of the plugin did not finish, from the texts of the warnings."""
    said = [warning.removeprefix(_MARK) for warning in warnings if warning.startswith(_MARK)]
    return [text for text in said if not _NO_FAILURE.match(text) and not _ABOUT_SCORES.match(text)]


def _of_the_plugin(warnings: Iterable[str]) -> list[str]:
    """Return what the plugin's retrievers say in warnings, each once, without its mark."""
    said = [text.split("] ", 1)[1] for text in warnings if text.startswith(_MARKS)]
    return list(dict.fromkeys(said))


def inside_answer(
    answer: Mapping[str, Any],
    told: Told,
    models: Iterable[str],
    window: int | None,
    stats: SearchStats,
    *,
    reranks: bool,
    scores_hits: bool,
    blended: bool | None,
) -> dict[str, Any]:
    """Return a response of Elasticsearch with the block ``rerank``.

    ``told``: what its headers tell. ``models``: the names of the rerankers that are known. ``window``:
    how many documents the tree can return, None if not known. ``reranks``: whether the tree has a reranker.
    ``scores_hits``: whether the outermost retriever is one, so that each scored hit says its logit.
    ``blended``: whether the first stage has a part in a reranker's scores, None if not known.
    The block has ``inside: true`` and what is known here: it lacks ``candidates``, ``truncated``, ``cached``
    and ``capped``. ``without_text`` is there if a warning names such documents. ``stats`` gets the status and
    the kinds of the reasons. Shards that failed in the first stage are counted in ``_shards`` too.
    """
    named = list(dict.fromkeys(models))
    warnings = warnings_in(told.warning)
    reasons, said = reasons_in(warnings), _of_the_plugin(warnings)
    lost = [text for text in said if _SHARDS.match(text)]
    lost += stats.parts.reasons()
    about_scores = [text for text in said if _ABOUT_SCORES.match(text)]
    without = sum(int(found[1] or found[2]) for text in said if (found := _WITHOUT_TEXT.match(text)))
    hits = (answer.get("hits") or {}).get("hits") or []
    scored = any("rerank.logit" in (hit.get("fields") or {}) for hit in hits)
    # Elasticsearch may fill a page with documents that the tree did not rank. Their score is 0.
    ranked = any((hit.get("_score") or 0) > 0 for hit in hits)
    if scores_hits and ranked and not scored and not reasons:
        reasons = ["the reranker gave no scores"]  # a proxy may drop the header
    stats.told = _status(reasons, lost, scored=scored) if reranks else "partial" if lost else "fused"
    stats.fallbacks += _kinds(reasons, lost)
    block = {
        **({"model": ", ".join(named)} if named else {}),
        **({"score": "blend" if blended else "probability"} if named and blended is not None else {}),
        **({} if told.blend is None else {"blend": told.blend}),
        **({} if told.order is None else {"order": told.order}),
        "status": stats.told,
        **({"reason": "; ".join([*reasons, *lost])} if reasons or lost else {}),
        **({"warnings": about_scores} if about_scores else {}),
        **({} if window is None else {"window": window}),
        **({"without_text": without} if without else {}),
        **{key: value for key, value in stats.block().items() if key in _KNOWN},
        "inside": True,
    }
    return {**answer, **_with_failed(answer, lost), "rerank": block}


def _with_failed(answer: Mapping[str, Any], lost: Iterable[str]) -> dict[str, Any]:
    """Return ``_shards`` with the shards that failed in the first stage, if they are more than it counts.

    Warnings count them, but do not list their failures.
    """
    counts = [int(found[1]) for text in lost if (found := _SHARDS.match(text))]
    shards = answer.get("_shards")
    if not counts or not shards or max(counts) <= shards["failed"]:
        return {}
    failed = min(max(counts), shards["total"])
    return {"_shards": {**shards, "successful": shards["total"] - failed, "failed": failed}}


def _kinds(reasons: list[str], lost: list[str]) -> list[Fallback]:
    return [*(("inside",) if reasons else ()), *(("incomplete",) if lost else ())]


def _status(reasons: list[str], lost: list[str], *, scored: bool) -> Status:
    if reasons:
        return "partial" if scored else "first_stage"
    return "partial" if lost else "reranked"
