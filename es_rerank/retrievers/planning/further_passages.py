"""Adds to the best passage of each document its further good passages. Pure functions, no I/O.

A search names one passage of a document, its best. A question to a long manual needs several: the part about
the cause and the part about the repair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from ...text.hit_fields import field_passages
from ...text.nearest import nearest, query_words
from ...text.pairs import well_formed
from ...text.selection import RankedPassage
from ...types import Passage, Scores
from .passages import passages_of

PER_DOCUMENT = 5
"""So many passages of one document stand where their scores put them. Any others come last."""

_SCORED = 40
"""Most further passages that are scored for a question. With the best passages of ten documents, they are as
many pairs as the default window."""

_COUNTED = 500
"""Most passages of a document whose words are counted. Of more, those with most words of the question."""

_LONGEST = 8_000
"""Most characters of a text that is scored. A reranker reads about 2,000."""


@dataclass(frozen=True, slots=True)
class PassagesOfQuestion:
    """The passages of the hits of a search.

    ``best``: the passages of the first documents, one of each, in the order of the hits. ``further``: further
    passages of the same documents, with the place of their document in ``best``. ``rest``: the passages of
    all other hits. ``question``: the question, as it is scored.
    """

    question: str
    best: list[RankedPassage]
    further: list[tuple[int, RankedPassage]]
    rest: list[RankedPassage]

    @property
    def texts(self) -> list[str]:
        """The texts to score: those of ``best``, then those of ``further``. Empty if nothing is to score."""
        passages = [*self.best, *(passage for _, passage in self.further)]
        return [_read(passage) for passage in passages] if self.further else []

    def ranked(self, scores: Scores | None) -> list[RankedPassage]:
        """Return all passages, best first. ``scores`` are those of ``texts``, None if there are none.

        The order of the documents stays. A further passage comes behind the best passage of its own document,
        and before the first worse best passage of another one. Without a score it comes behind ``best``.
        """
        values = [-float("inf")] * (len(self.best) + len(self.further))
        if scores is not None:
            values = [
                float(value) if done else -float("inf")
                for value, done in zip(scores.values, scores.done, strict=True)
            ]
        places: list[list[tuple[float, RankedPassage]]] = [[] for _ in range(len(self.best) + 1)]
        for (document, passage), value in zip(self.further, values[len(self.best) :], strict=True):
            later = range(document + 1, len(self.best))
            place = next((other for other in later if values[other] < value), len(self.best))
            places[place].append((value, passage))
        ordered: list[RankedPassage] = []
        for place, found in enumerate(places):
            ordered += [passage for _, passage in sorted(found, key=lambda scored: -scored[0])]
            ordered += self.best[place : place + 1]
        return _few_of_a_document([*ordered, *self.rest])


def passages_of_question(
    question: str, response: Mapping[str, Any], fields: Sequence[str], documents: int
) -> PassagesOfQuestion:
    """Return the passages of a response: those of ``passages_of``, and further ones of the first hits.

    At most ``documents`` hits get further passages: of the stored passages of the last of ``fields``, those
    with the words of the question (``nearest``). A hit without ``rerank.passage`` was not reranked, and
    ``passages_of`` gives all its passages already.
    """
    hits = response["hits"]["hits"]
    reranked = list(takewhile(lambda hit: hit.get("fields", {}).get("rerank.passage"), hits))
    first = reranked[: min(documents, _SCORED)]
    words = query_words(well_formed(question))
    best: list[RankedPassage] = []
    further: list[tuple[int, RankedPassage]] = []
    for hit in first:
        of_hit = passages_of({"hits": {"hits": [hit]}}, fields)
        best += of_hit[:1]
        named = {(passage.start, passage.end, passage.text) for passage in of_hit}
        others = [
            passage
            for passage in field_passages(hit, fields[-1])
            if (passage.start, passage.end, passage.text) not in named
        ]
        further += [
            (
                len(best) - 1,
                replace(best[-1], text=text, start=start, end=end, heading=heading),
            )
            for text, start, end, heading in nearest(_with_words(others, words), words, _SCORED // len(first))
        ]
    rest = passages_of({"hits": {"hits": hits[len(first) :]}}, fields)
    return PassagesOfQuestion(well_formed(question), best, further, rest)


def _with_words(passages: list[Passage], words: Counter[str]) -> list[Passage]:
    if len(passages) <= _COUNTED:
        return passages
    texts = [passage.text.lower() for passage in passages]
    most = sorted(
        range(len(passages)), key=lambda place: -sum(word.lower() in texts[place] for word in words)
    )
    return [passages[place] for place in sorted(most[:_COUNTED])]


def _read(passage: RankedPassage) -> str:
    parts = (passage.context[:_LONGEST], passage.heading, passage.text[:_LONGEST])
    return well_formed("\n".join(part for part in parts if part))


def _few_of_a_document(passages: Sequence[RankedPassage]) -> list[RankedPassage]:
    """Return the passages with those last that come after ``PER_DOCUMENT`` others of their document."""
    seen = Counter[tuple[str, str]]()
    early: list[RankedPassage] = []
    late: list[RankedPassage] = []
    for passage in passages:
        document = passage.index, passage.id
        seen[document] += 1
        (early if seen[document] <= PER_DOCUMENT else late).append(passage)
    return [*early, *late]
