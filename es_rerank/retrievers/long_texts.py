"""Long texts that no index has cut: read whole, in as many parts as the model's window asks for. Pure but for the model's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..models import LongTextReranker, Reranker
from ..types import Candidate, Passage
from .plan import PASSAGE_CAP


def in_parts(reranker: Reranker, query: str, candidates: Sequence[Candidate], deadline: float | None = None) -> list[Candidate]:
    """Return the candidates, those whose whole text is longer than the model reads at once with its parts as passages.

    Parts beyond the cap are left out, which is marked. A reranker that does not say how much it reads, a service over
    the network, gets texts as they are; so do all that the deadline, a moment of ``time.monotonic()``, leaves no time for.
    """
    whole = [candidate for candidate in candidates if candidate.whole]
    if not whole or not isinstance(reranker, LongTextReranker):
        return list(candidates)
    parts = reranker.cut(query, [(candidate.context, candidate.passages[0].text) for candidate in whole], deadline=deadline)
    cut = {candidate.key: _with_parts(candidate, each) for candidate, each in zip(whole, parts, strict=True)}
    return [cut.get(candidate.key, candidate) for candidate in candidates]


def _with_parts(candidate: Candidate, parts: Sequence[Passage]) -> Candidate:
    if len(parts) < 2:
        return candidate
    return replace(candidate, passages=tuple(parts[:PASSAGE_CAP]), whole=False, capped=len(parts) > PASSAGE_CAP)
