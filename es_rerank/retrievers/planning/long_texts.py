"""Cuts long texts that are not stored as passages: into chunks, or into parts that fit a model's window.

Chunks are cut when the request has a ``chunk_rescorer``, parts otherwise. The asynchronous functions do it in
threads. The only other side effects are reading the clock and calling the model's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...engine.other_threads import text_threads
from ...engine.pool import Rate
from ...errors import DeadlineError
from ...models import LongTextReranker, Reranker
from ...models.unblocked import acut
from ...off_loop import off_loop_if
from ...text.nearest import nearest, query_words
from ...text.strategies import ChunkingSettings, cut
from ...text.watch import TimeUpError, Watch
from ...types import Candidate, Passage
from .text_source import PASSAGE_CAP

_CHUNKING = Rate()
"""Seconds that finding the nearest chunks takes for each character."""


_FEW = 200
"""Candidates whose texts are put together in about a millisecond."""


def chunks(
    query: str, texts: Sequence[str], chunking: ChunkingSettings, size: int, watch: Watch
) -> list[list[Passage]]:
    """Return for each text its ``size`` chunks that are nearest to the query, in the order of the text.

    Raises DeadlineError when ``watch`` ends the work.
    """
    nearest_chunks: list[list[Passage]] = []
    try:
        wanted = query_words(query, watch)
        for text in texts:
            watch()
            nearest_chunks.append(nearest(cut(text, chunking, watch), wanted, size, watch))
    except TimeUpError as error:
        raise DeadlineError(
            f"the deadline came when {len(nearest_chunks)} of {len(texts)} texts were cut"
        ) from error
    return nearest_chunks


async def achunks(
    query: str, texts: Sequence[str], chunking: ChunkingSettings, size: int, deadline: float | None
) -> list[list[Passage]]:
    """Return the same as ``chunks`` without blocking the event loop; cancelling ends the work.

    ``deadline`` is absolute, in seconds of ``time.monotonic()``. Raises DeadlineError when it comes first,
    OverloadError when it would come first because too much work waits.
    """
    with Watch(deadline) as watch:
        (found,) = await text_threads().arun(
            lambda texts: chunks(query, texts, chunking, size, watch),
            [texts],
            length=lambda texts: sum(map(len, texts)),
            rate=_CHUNKING,
            deadline=deadline,
        )
    if found is None:
        raise DeadlineError(f"the deadline came when 0 of {len(texts)} texts were cut")
    return found


def in_parts(
    reranker: Reranker, query: str, candidates: Sequence[Candidate], deadline: float | None = None
) -> list[Candidate]:
    """Return the candidates. A whole text that is longer than the model's window is replaced by its parts.

    The parts become the passages of the candidate. If there are more than ``PASSAGE_CAP`` parts, the rest is
    left out and ``capped`` is true. Texts stay whole for a reranker that is not a LongTextReranker (a service
    over the network), and when the deadline (seconds of ``time.monotonic()``) leaves no time to cut them.
    """
    if not isinstance(reranker, LongTextReranker):
        return list(candidates)
    whole, texts = _whole(candidates)
    candidates = _divided(candidates, whole, reranker.cut(query, texts, deadline=deadline))
    titled, texts = _titled(candidates)
    return _shortened(candidates, titled, reranker.cut(query, texts, deadline=deadline))


async def ain_parts(
    reranker: Reranker, query: str, candidates: Sequence[Candidate], deadline: float | None = None
) -> list[Candidate]:
    """Return the same as ``in_parts`` without blocking the event loop; cancelling ends the work."""
    if not isinstance(reranker, LongTextReranker):
        return list(candidates)
    large = len(candidates) > _FEW
    whole, texts = await off_loop_if(large, _whole, candidates)
    parts = await acut(reranker, query, texts, deadline=deadline)
    candidates = await off_loop_if(large, _divided, candidates, whole, parts)
    titled, texts = await off_loop_if(large, _titled, candidates)
    parts = await acut(reranker, query, texts, deadline=deadline)
    return await off_loop_if(large, _shortened, candidates, titled, parts)


def _whole(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Return the candidates with a whole text, and (context, text) of each."""
    whole = [candidate for candidate in candidates if candidate.whole]
    return whole, [(candidate.context, candidate.passages[0].text) for candidate in whole]


def _divided(
    candidates: Sequence[Candidate], whole: Sequence[Candidate], parts: Sequence[Sequence[Passage]]
) -> list[Candidate]:
    changed = {
        candidate.key: _with_parts(candidate, passages)
        for candidate, passages in zip(whole, parts, strict=True)
    }
    return [changed.get(candidate.key, candidate) for candidate in candidates]


def _titled(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Return the candidates with a context, and (longest passage, context) of each.

    Here the passage is what must be read, and the context is what may be cut.
    """
    titled = [candidate for candidate in candidates if candidate.context and candidate.passages]
    return titled, [(_longest(candidate), candidate.context) for candidate in titled]


def _shortened(
    candidates: Sequence[Candidate], titled: Sequence[Candidate], contexts: Sequence[Sequence[Passage]]
) -> list[Candidate]:
    changed = {
        candidate.key: replace(candidate, context=context[0].text, context_cut=True)
        for candidate, context in zip(titled, contexts, strict=True)
        if len(context) > 1
    }
    return [changed.get(candidate.key, candidate) for candidate in candidates]


def _longest(candidate: Candidate) -> str:
    return max((passage.read for passage in candidate.passages), key=len)


def _with_parts(candidate: Candidate, parts: Sequence[Passage]) -> Candidate:
    if len(parts) < 2:
        return candidate
    capped = candidate.capped or len(parts) > PASSAGE_CAP
    return replace(candidate, passages=tuple(parts[:PASSAGE_CAP]), whole=False, capped=capped)
