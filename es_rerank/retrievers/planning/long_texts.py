"""Long texts that no index has cut: read in the chunks that a request asks for, or whole, in parts of a model's window.

Pure but for the clock and the model's tokenizer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ...errors import DeadlineError
from ...models import LongTextReranker, Reranker
from ...text.nearest import asked, nearest
from ...text.strategies import Strategy, cut
from ...types import Candidate, Passage
from .text_source import PASSAGE_CAP


class _TimeUpError(Exception):
    """The work is to end."""


class Watch:
    """Tells work when it is to end: at ``deadline``, a moment of ``time.monotonic()``, or where nobody waits for it any more."""

    def __init__(self, deadline: float | None = None) -> None:
        self._deadline = deadline
        self._ended = False

    def end(self) -> None:
        """Let the work end, from whichever thread."""
        self._ended = True

    def __call__(self) -> None:
        """Do nothing while the work may go on."""
        if self._ended or (self._deadline is not None and time.monotonic() > self._deadline):
            raise _TimeUpError


def chunks(
    query: str, texts: Sequence[str], chunking: Strategy, size: int, watch: Watch
) -> list[list[Passage]]:
    """Return, of each text, the ``size`` chunks that are nearest to the query, in the text's order.

    Raises DeadlineError as soon as ``watch`` says so.
    """
    found: list[list[Passage]] = []
    try:
        wanted = asked(query, watch)
        for text in texts:
            watch()
            found.append(nearest(cut(text, chunking, watch), wanted, size, watch))
    except _TimeUpError as error:
        raise DeadlineError(f"the deadline came when {len(found)} of {len(texts)} texts were cut") from error
    return found


def in_parts(
    reranker: Reranker, query: str, candidates: Sequence[Candidate], deadline: float | None = None
) -> list[Candidate]:
    """Return the candidates, those whose whole text is longer than the model reads at once with its parts as passages.

    Parts beyond the cap are left out, which is marked. A reranker that does not say how much it reads, a service over
    the network, gets texts as they are; so do all that the deadline, a moment of ``time.monotonic()``, leaves no time for.
    """
    whole = [candidate for candidate in candidates if candidate.whole]
    if not whole or not isinstance(reranker, LongTextReranker):
        return list(candidates)
    parts = reranker.cut(
        query, [(candidate.context, candidate.passages[0].text) for candidate in whole], deadline=deadline
    )
    cut = {candidate.key: _with_parts(candidate, each) for candidate, each in zip(whole, parts, strict=True)}
    return [cut.get(candidate.key, candidate) for candidate in candidates]


def _with_parts(candidate: Candidate, parts: Sequence[Passage]) -> Candidate:
    if len(parts) < 2:
        return candidate
    return replace(
        candidate, passages=tuple(parts[:PASSAGE_CAP]), whole=False, capped=len(parts) > PASSAGE_CAP
    )
