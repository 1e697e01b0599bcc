"""The steps by which one reranker scores its window. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import DeadlineError, OverloadError
from ...models import LongTextReranker
from ...models.scripts import script_warning
from ...observation import fallback_of
from ...types import Blend, Calibration, Candidate, Scores
from ..grammar.tree import TextSimilarityReranker
from ..planning.first_stage import WindowOrigin
from ..planning.text_source import PASSAGE_CAP, TextSource
from ..ranking.rerank import Ranking, first_stage_order, first_stage_scores, rank, texts_of
from ..response.answer import SearchStats
from .commands import AdmitTexts, Context, ScoreTexts, SplitLongTexts, Steps
from .window_texts import WindowTexts

MORE_TIME = (
    "allow more time (X-Rerank-Timeout-Ms for the sidecar, timeout_s in Python), a smaller rank_window_size, "
    "or allow_rerank_failures"
)
"""What a caller can do against a deadline that came too soon."""

_WORD, _SHORT_WORD = 10, 2
"""Most characters of a word on average: of English with its space, and of writing without spaces."""


def rerank_window(
    node: TextSimilarityReranker,
    candidates: list[Candidate],
    texts: WindowTexts,
    context: Context,
    origin: WindowOrigin,
) -> Steps[Ranking]:
    """Return the ranking of candidates, which have their texts, by the reranker of ``node``.

    ``origin`` chooses the blend, if ``node`` asks for one. If ``allow_rerank_failures`` is set and the
    reranker fails or is late, the first-stage order stays and the statistics say so. Else the error of the
    reranker, or DeadlineError, is raised. The order stays too if no candidate has a text: there is nothing to
    compare.
    """
    stats, reranker = context.stats, context.served.reranker(node.inference_id)
    stats.blended |= node.blend
    without = sum(not candidate.has_text for candidate in candidates)
    stats.without_text += without
    if (unread := texts.without_text(node, candidates)) is not None:
        stats.fail(unread, "no_text", reached=without < len(candidates))
    if without == len(candidates):
        return first_stage_order(candidates)
    try:
        yield from _admitted(node, candidates, texts.sources[id(node)])
        candidates = yield from texts.chunked(node, candidates)
    except (DeadlineError, OverloadError) as error:
        if not node.allow_rerank_failures:
            raise _with_remedy(error) from error
        stats.fail(str(error), fallback_of(error), reached=False)
        return first_stage_order(candidates)
    try:
        if _may_be_long(candidates) and isinstance(reranker, LongTextReranker):
            candidates = yield SplitLongTexts(node.inference_text, candidates, node.inference_id)
        if node.aggregation.kind == "first":
            candidates = [
                replace(candidate, passages=candidate.passages[:1], capped=False) for candidate in candidates
            ]
        texts_read = texts_of(candidates)
        calibration = reranker.calibration if node.blend else None
        expected = None if calibration is None else calibration.blend(*origin)
        scores: Scores = yield ScoreTexts(
            node.inference_text,
            texts_read,
            node.inference_id,
            whole=not node.allow_rerank_failures,
            first_stage=first_stage_scores(candidates, expected),
        )
        stats.warn(script_warning(reranker, node.inference_text, texts_read))
        # A service tells the calibration of its model with its first scores.
        counts = node.blend and bool(scores.done.any())
        blend = chosen_blend(reranker.calibration, origin, stats) if counts else None
        ranking = rank(
            candidates,
            scores,
            reranker.calibration,
            blend=blend,
            min_score=node.min_score,
            min_probability=node.min_probability,
            aggregation=node.aggregation,
        )
    # A reranker may be code of the user, so any exception can occur.
    except Exception as error:
        if not node.allow_rerank_failures:
            raise
        stats.fail(f"the reranker failed: {error}", fallback_of(error), reached=False)
        return first_stage_order(candidates)
    stats.capped += sum(candidate.capped for candidate in candidates)
    stats.truncated += ranking.truncated
    stats.cached += ranking.cached
    stats.estimated += ranking.estimated
    stats.left_alone |= ranking.left_alone
    if ranking.complete:
        stats.reranked = True
        return ranking
    return _late(node, candidates, ranking, scores, stats)


def chosen_blend(calibration: Calibration | None, origin: WindowOrigin, stats: SearchStats) -> Blend | None:
    """Return a model's blend for windows of an origin, None if it has none. ``stats`` gets its key."""
    key = None if calibration is None else calibration.blend_key(origin.kind, origin.embedder)
    if calibration is None or key is None:
        return None
    if key not in stats.blends:
        stats.blends.append(key)
    return calibration.blends[key]


def _may_be_long(candidates: Sequence[Candidate]) -> bool:
    return any(candidate.whole or candidate.context for candidate in candidates)


def _admitted(
    node: TextSimilarityReranker, candidates: Sequence[Candidate], source: TextSource
) -> Steps[None]:
    """Admit what will be scored of candidates that are cut first. Else the scoring admits it."""
    if source.chunking is None and not _may_be_long(candidates):
        return
    texts = texts_of(candidates)
    most_parts: int | None = 1 if node.aggregation.kind == "first" else PASSAGE_CAP
    size = getattr(source.chunking, "max_chunk_size", None)
    if source.chunking is not None and size is not None:
        texts, most_parts = [_about(text, size * (source.nearest or 1)) for text in texts], None
    yield AdmitTexts(
        node.inference_text, texts, node.inference_id, most_parts, whole=not node.allow_rerank_failures
    )


def _about(text: str, words: int) -> str:
    """Return about as many words of a text. Where no spaces are between words, each has two characters."""
    found = max(text.count(" ") + 1, len(text) // (_WORD if text.isascii() else _SHORT_WORD))
    return text[: len(text) * words // found] if found > words else text


def _with_remedy(error: DeadlineError | OverloadError) -> DeadlineError | OverloadError:
    """Return the error for the caller. An overload passes by itself."""
    return error if isinstance(error, OverloadError) else DeadlineError(f"{error}; {MORE_TIME}")


def _late(
    node: TextSimilarityReranker,
    candidates: list[Candidate],
    ranking: Ranking,
    scores: Scores,
    stats: SearchStats,
) -> Ranking:
    done = int(scores.done.sum())
    reason = f"the deadline came when {done} of {len(scores)} passages were scored"
    if not node.allow_rerank_failures:
        raise DeadlineError(f"{reason}; {MORE_TIME}")
    stats.fail(reason, "late", reached=done > 0)
    return ranking if done else first_stage_order(candidates)
